# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# coopdl.rb -- the part of the module Coopdl that is simpler in Ruby than in C.
#
# What must hold: the waiter is there before the first expiry, in no group and
# under no interrupt mask of the thread that happened to start it, and again in
# a forked child.

require "monitor"
require "timeout"

unless RUBY_ENGINE == "ruby" && RUBY_VERSION.match?(/\A3\.[1-4]\./)
  raise LoadError, "coopdl needs CRuby 3.1 to 3.4, and this is #{RUBY_ENGINE} #{RUBY_VERSION}"
end
if ENV["RUBY_MN_THREADS"] == "1" && (RUBY_VERSION.split(".").map(&:to_i) <=> [3, 3]) >= 0
  raise LoadError, "coopdl: RUBY_MN_THREADS=1 moves threads from one native thread to another, and " \
                   "a deadline belongs to one: unset it"
end

# Deadlines that a block cannot miss: blocking calls of any library end by then,
# and so does code that computes.
module Coopdl
  # The exception inside the block. It is no StandardError, so that `rescue => e`
  # does not catch it; outside the block it has become a Timeout::Error.
  ExitException =
    if defined?(Timeout::ExitException)
      Timeout::ExitException
    else
      Class.new(Exception) do # rubocop:disable Lint/InheritException
        def exception(*)
          self
        end
      end
    end

  # The names that Python's module gives to the same two.
  DeadlineReached = ExitException
  DeadlineExceeded = Timeout::Error

  # The exception in the main thread at a budget's end, and in a forked child when a block of its
  # parent has expired: the process exits, through its ensure clauses.
  class DeadlineExit < SystemExit
  end

  # The facts about the cut that an error of Coopdl.timeout carries (Timeout::Error#coopdl). Each is
  # nil where it is not known.
  #
  # - limit: the seconds given
  # - deadline, ended: the deadline, and when the block had ended, in seconds of
  #   Process::CLOCK_MONOTONIC
  # - thread, place: the thread, and the place in its code where the block was
  # - forced: whether the clean-up was ended as well, since it took longer than the grace
  # - call, target, library, waited: the call that the deadline has ended first, its target, the
  #   library that has made it, and for how many seconds it had waited
  Cut = Struct.new(:limit, :deadline, :ended, :thread, :place, :forced,
                   :call, :target, :library, :waited, keyword_init: true)

  # In a rescue or ensure clause, of whatever method or block.
  CLAUSE = /\A(?:rescue|ensure) in /
  private_constant :CLAUSE

  class << self
    private

    # Whether the thread is still handling the exception: it is in a rescue or
    # ensure clause that it was not in when that was raised. (`$!` of another
    # thread cannot be read; the clauses on its stack can.)
    def handling?(thread, exception)
      before = exception.backtrace_locations&.reverse || []
      now = thread.backtrace_locations&.reverse || []
      now.each_with_index.any? do |place, index|
        CLAUSE.match?(place.label) && before[index]&.label != place.label
      end
    end

    # Whether the thread is in any rescue or ensure clause.
    def in_clause?(thread)
      (thread.backtrace_locations || []).any? { |place| CLAUSE.match?(place.label) }
    end

    # Whether the thread is in a call that Thread#wakeup does not end.
    def wakeable?(thread)
      place = thread.backtrace_locations&.first
      place && !/(?:\A|[#.])(?:sleep|wait|stop)\z/.match?(place.label)
    end

    def describe(error, limit, deadline, thread, forced, facts)
      ended = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      call, target, library, waited = facts
      cut = Cut.new(limit: limit, deadline: deadline, ended: ended, thread: thread,
                    place: error.backtrace&.first, forced: forced,
                    call: call, target: target, library: library, waited: waited).freeze
      return if error.frozen?

      error.extend(Described) unless error.respond_to?(:coopdl)
      error.instance_variable_set(:@coopdl, cut)
    end

    # Ruby prints nothing for an exit. This one was an error.
    def report(exit)
      error = Timeout::Error.new([exit.message, ended_first].compact.join(" "))
      error.set_backtrace(exit.backtrace)
      $stderr.write(error.full_message)
    end

    def start_waiter
      Thread.handle_interrupt(Object => :immediate) do
        @waiter = waiter = Thread.new { wait_and_serve }
        waiter.name = "coopdl"
        waiter.report_on_exception = false
        waiter.thread_variable_set(:"\0__detached_thread__", true)
        ThreadGroup::Default.add(waiter) unless waiter.group.enclosed?
      end
    end

    attr_reader :waiter

    # A fiber scheduler has timers of its own.
    def timeout_by(scheduler, seconds, klass, message, block)
      return scheduler.timeout_after(seconds, klass, message, &block) if klass

      exception = ExitException.new(message)
      begin
        scheduler.timeout_after(seconds, exception, message, &block)
      rescue ExitException => e
        raise unless exception.equal?(e)

        raise Timeout::Error, message
      end
    end
  end

  # An error that says what was cut.
  module Described
    # @return [Coopdl::Cut, nil] nil where Coopdl did not raise it
    attr_reader :coopdl
  end
  private_constant :Described
  Timeout::Error.include(Described)

  # Has the waiter started anew in a forked child.
  module Forking
    def _fork
      child = super
      Coopdl.send(:after_fork) if child == 0
      child
    end
  end
  private_constant :Forking
  Process.singleton_class.prepend(Forking)
end

require "coopdl/coopdl"
require "coopdl/stacks" if ENV["COOPDL_STACKS"]
