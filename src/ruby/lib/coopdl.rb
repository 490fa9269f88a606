# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# coopdl.rb -- what of the module Coopdl is simpler in Ruby than in C.
#
# What must hold: the waiter is there before the first expiry, in no group and
# under no interrupt mask of the thread that happened to start it, and again in
# a forked child.

require "timeout"

# Deadlines that a block cannot miss: blocking calls of any library end by then,
# and so does code that computes.
module Coopdl
  # What is raised inside the block. It is no StandardError, so that `rescue => e`
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

  # In a rescue or ensure clause, of whatever method or block.
  CLAUSE = /\A(?:rescue|ensure) in /
  private_constant :CLAUSE

  class << self
    private

    # Whether the thread is still handling the exception: it is in a rescue or
    # ensure clause that it was not in when that was raised. (`$!` of another
    # thread cannot be read; the clauses on its stack can.)
    def at_work?(thread, exception)
      before = exception.backtrace_locations&.reverse || []
      now = thread.backtrace_locations&.reverse || []
      now.each_with_index.any? do |place, index|
        CLAUSE.match?(place.label) && before[index]&.label != place.label
      end
    end

    def start_waiter
      Thread.handle_interrupt(Object => :immediate) do
        waiter = Thread.new { wait_and_serve }
        waiter.name = "coopdl"
        waiter.report_on_exception = false
        waiter.thread_variable_set(:"\0__detached_thread__", true)
        ThreadGroup::Default.add(waiter) unless waiter.group.enclosed?
      end
    end

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
