# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_memory.rb -- all of the API (memory.rb) while others look at the memory: a
# garbage collection at every allocation, and valgrind. Both at once take minutes:
# with COOPDL_STRICT=1.
#
# valgrind's check for values that nobody has set is off: Ruby looks for objects in
# whatever lies on its stacks. So it reads beyond their ends too. And where another
# thread runs while a handler does on an alternate stack, as when ours wakes the waiter,
# valgrind takes the interrupted thread's own stack for freed memory. What Ruby, and
# libc's wait for a futex, do on a stack is no error of ours.

require_relative "support"
require "tmpdir"

class Memory < CoopdlTest
  PROGRAM = File.join(__dir__, "memory.rb")

  def assert_ok(*command)
    output, status = bounded_run(*command, seconds: 250)
    assert_equal "ok\n", output
    assert_predicate status, :success?
  end

  def test_gc_stress
    assert_ok(RbConfig.ruby, PROGRAM, "stress")
  end

  def under_valgrind(*arguments)
    skip "there is no valgrind" unless system("valgrind", "--version", out: File::NULL, err: File::NULL)
    Dir.mktmpdir do |directory|
      assert_ok("valgrind", "--quiet", "--fair-sched=try", "--undef-value-errors=no",
                "--log-file=#{directory}/%p", RbConfig.ruby, PROGRAM, *arguments)
      logs = Dir.glob("#{directory}/*").map { |path| File.read(path) }
      assert_operator logs.size, :>=, 2, "the child's is missing"
      errors = logs.flat_map { |log| log.gsub(/^==\d+== ?/, "").split(/\n\n+/) }.grep(/^ +at 0x/)
      assert_empty(errors.reject { |error| others_on_a_stack?(error) })
    end
  end

  def others_on_a_stack?(error)
    error[/^ +at .*/].match?(/libruby|__futex_abstimed_wait/) && error.match?(/is on thread \d+'s stack/)
  end

  def test_valgrind = under_valgrind

  def test_valgrind_and_gc_stress
    skip "it takes minutes: COOPDL_STRICT=1" unless ENV["COOPDL_STRICT"] == "1"
    under_valgrind("stress")
  end
end

Tap.run
