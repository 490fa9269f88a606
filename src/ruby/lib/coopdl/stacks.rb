# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# stacks.rb -- Ruby's own stacks at the deadline, for `coopdl --stacks` (COOPDL_STACKS: at which
# time).
#
# A thread writes the backtraces of all others to a file without a name, whose title has the
# id of this process; the command finds that among our descriptors. It needs the GVL, which a
# thread that computes keeps for 100 ms: so it begins a little earlier. Beside C code that keeps
# the GVL nothing is written. What is seen only after calls were cut says so.
#
# What must hold: no trouble here is the program's.
module Coopdl
  # Writes them, here and in each forked child.
  module Stacks
    AHEAD = 0.15 # seconds

    private

    def after_fork
      super
      write_stacks_later
    end

    def write_stacks_later
      left = Integer(ENV.fetch("COOPDL_STACKS", "0")) / 1e9 - Process.clock_gettime(Process::CLOCK_MONOTONIC)
      return unless left.positive?

      left = [left - AHEAD, 0].max
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
        stacks = stacks_of(Thread.list - [Thread.current, waiter])
        late = Coopdl.remaining&.zero? ? "(these are of after calls were cut)\n" : ""
        @stacks_file.write(late + stacks)
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
