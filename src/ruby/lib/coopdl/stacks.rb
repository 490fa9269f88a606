# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# stacks.rb -- Ruby's own stacks at the deadline, for `coopdl --stacks` (COOPDL_STACKS: at which
# time).
#
# A thread writes the backtraces of all others to a file without a name, whose title has the
# id of this process; the command finds that among our descriptors. It needs the GVL: beside C
# code that keeps it nothing is written.
#
# What must hold: no trouble here is the program's.
module Coopdl
  # Writes them, here and in each forked child.
  module Stacks
    private

    def after_fork
      super
      write_stacks_later
    end

    def write_stacks_later
      left = Integer(ENV.fetch("COOPDL_STACKS", "0")) / 1e9 - Process.clock_gettime(Process::CLOCK_MONOTONIC)
      return unless left.positive?

      @stacks_file&.close # the parent's
      fd = stacks_file
      @stacks_file = fd.negative? ? nil : IO.for_fd(fd, "w")
      write_stacks_in(left) if @stacks_file
    rescue ArgumentError, SystemCallError
      nil
    end

    def write_stacks_in(seconds)
      writer = Thread.new do
        sleep(seconds)
        @stacks_file.write(stacks_of(Thread.list - [Thread.current, waiter]))
        @stacks_file.flush
      end
      writer.name = "coopdl stacks"
      writer.report_on_exception = false
      writer.thread_variable_set(:"\0__detached_thread__", true)
      ThreadGroup::Default.add(writer) unless writer.group.enclosed?
    end

    def stacks_of(threads)
      threads.map do |thread|
        lines = (thread.backtrace || []).map { |line| "  #{line}\n" }
        "thread #{thread.native_thread_id} (#{thread.name || thread.inspect}):\n#{lines.join}"
      end.join
    end
  end
  private_constant :Stacks
  singleton_class.prepend(Stacks)
  send(:write_stacks_later)
end
