# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_contract.rb -- what Coopdl.timeout promises, without and with an expiry;
# the same for Timeout.timeout put on it.

require_relative "support"
require "coopdl/timeout"
require "rational"

class Contract < CoopdlTest
  Own = Class.new(StandardError)

  def test_is_preloaded
    assert_predicate Coopdl, :preloaded?
  end

  def test_gives_what_the_block_gives
    assert_equal [5, :ok], Coopdl.timeout(5) { |seconds| [seconds, :ok] }
    assert_equal Thread.current, Coopdl.timeout(5) { Thread.current }
  end

  def test_zero_and_nil_are_no_limit
    [0, 0.0, 0r, nil].each do |limit|
      given = Coopdl.timeout(limit) { |seconds| [seconds, Coopdl.remaining] }
      assert_equal [limit, nil], given
    end
  end

  def test_bad_limits
    [-1, -0.5, -1r, -(2**70), Float::NAN].each do |limit|
      assert_raises(ArgumentError, limit.inspect) { Coopdl.timeout(limit) { flunk } }
    end
    assert_raises(NoMethodError) { Coopdl.timeout("5") { flunk } }
    odd = Object.new
    def odd.zero? = false
    assert_raises(ArgumentError, TypeError) { Coopdl.timeout(odd) { flunk } }
    assert_raises(ArgumentError) { Coopdl.timeout }
    assert_raises(LocalJumpError) { Coopdl.timeout(1) }
  end

  def test_limits_of_all_kinds
    [3, 3.0, 3r, 2**70, Float::INFINITY].each do |limit|
      left = Coopdl.timeout(limit) { Coopdl.remaining }
      limit > 1e9 ? assert_nil(left) : assert_in_delta(limit, left, 0.5)
    end
  end

  def test_error_outside_internal_inside
    inside = nil
    assert_expires(0.02) do
      sleep
    rescue => e
      flunk "rescue => e caught #{e.inspect}"
    rescue Exception => e
      inside = e
      raise
    end
    assert_instance_of Timeout::ExitException, inside
    refute_kind_of StandardError, inside
  end

  def test_message_and_place
    error = assert_raises(Timeout::Error) { Coopdl.timeout(0.02, nil, "too late") { sleep } }
    assert_equal "too late", error.message
    assert_match(/sleep/, error.backtrace.first)
    assert_equal "execution expired",
                 assert_raises(Timeout::Error) { Coopdl.timeout(0.02) { loop {} } }.message
  end

  def test_own_class_inside_and_outside
    inside = nil
    error = assert_raises(Own) do
      Coopdl.timeout(0.02, Own, "own") do
        sleep
      rescue Own => e
        inside = e
        raise
      end
    end
    assert_same inside, error
    assert_equal "own", error.message
  end

  def test_own_class_may_be_rescued
    assert_equal(:rescued, Coopdl.timeout(0.02, Own) do
      sleep
    rescue Own
      :rescued
    end)
  end

  def test_own_class_that_cannot_be_made
    needy = Class.new(StandardError) { def initialize(one, two) = super(one + two) }
    assert_raises(ArgumentError) { Coopdl.timeout(0.02, needy) { sleep } }
  end

  def test_what_is_raised_in_the_block_passes
    assert_raises(Own) { Coopdl.timeout(5) { raise Own } }
    error = assert_raises(Timeout::Error) { Coopdl.timeout(5) { raise Timeout::Error, "mine" } }
    assert_equal "mine", error.message
    assert_equal 3, catch(:out) { Coopdl.timeout(5) { throw :out, 3 } }
    assert_equal(4, Coopdl.timeout(5) { break 4 })
    assert_raises(SystemExit) { Coopdl.timeout(5) { exit } }
  end

  def test_nested_the_earliest_rules
    reached = false
    assert_expires(0.02) do
      Coopdl.timeout(5) { sleep }
    ensure
      reached = true
    end
    assert reached

    assert_equal(:inner, Coopdl.timeout(5) do
      Coopdl.timeout(0.02) { sleep }
    rescue Timeout::Error
      sleep 0.05 # nothing more comes
      :inner
    end)
  end

  def test_nested_an_inner_one_does_not_claim_the_outer
    inner = nil
    assert_expires(0.02) do
      Coopdl.timeout(5) { sleep }
    rescue Exception => e
      inner = e
      raise
    end
    assert_instance_of Timeout::ExitException, inner
  end

  def test_remaining_and_deadline
    assert_nil Coopdl.remaining
    assert_nil Coopdl.deadline
    Coopdl.timeout(5) do
      assert_in_delta 5, Coopdl.remaining, 0.5
      assert_in_delta now + 5, Coopdl.deadline, 0.5
    end
    assert_nil Coopdl.remaining
  end

  def test_shield
    finished = nil
    assert_raises(Timeout::Error) do
      Coopdl.timeout(0.02) do
        Coopdl.shield do
          assert_nil Coopdl.remaining
          sleep 0.1
          spin 0.05
          finished = now
        end
        sleep
      end
    end
    assert_operator now - finished, :<, LATEST
  end

  def test_a_limit_inside_a_shield
    Coopdl.timeout(5) { Coopdl.shield { assert_expires(0.02) { sleep } } }
  end

  def test_check
    assert_nil Coopdl.check!
    assert_nil(Coopdl.timeout(5) { Coopdl.check! })
    assert_expires(0.02) do
      Thread.handle_interrupt(Exception => :never) do
        spin(0.05)
        Coopdl.check!
        flunk "it went on"
      end
    end
  end

  def test_fibers_leave_in_any_order
    left = []
    fiber = Fiber.new { Coopdl.timeout(30) { Fiber.yield } && nil }
    Coopdl.timeout(20) { fiber.resume }
    Coopdl.timeout(10) do
      fiber.resume
      left << Coopdl.remaining
    end
    assert_in_delta 10, left.first, 0.5
    assert_nil Coopdl.remaining
  end

  def test_an_outer_scope_that_ends_first_leaves_the_inner_standing
    fiber = Fiber.new { Coopdl.timeout(0.05) { Fiber.yield; sleep } }
    Coopdl.timeout(20) { fiber.resume }
    begun = now
    assert_raises(Timeout::Error) { fiber.resume }
    assert_operator now - begun, :<, LATEST
    assert_nil Coopdl.remaining
  end

  def test_enumerator_next
    silent = Object.new
    def silent.each = sleep
    assert_expires(0.02) { silent.to_enum.next }
  end

  def test_in_a_trap_handler
    done = []
    before = trap(:USR1) do
      Coopdl.timeout(0.02) { sleep }
    rescue Timeout::Error => e
      done << e
    end
    Process.kill(:USR1, Process.pid)
    until_then = now + 5
    sleep 0.01 until done.any? || now > until_then
    assert_equal 1, done.size
  ensure
    trap(:USR1, before)
  end

  def test_masked_is_raised_when_unmasked
    slept = false
    assert_raises(Own) do
      Thread.handle_interrupt(Own => :never) do
        Coopdl.timeout(0.02, Own) do
          spin 0.05
          slept = true
          Thread.handle_interrupt(Own => :immediate) { sleep }
        end
      end
    end
    assert slept
  end

  def test_masked_throughout_is_raised_at_the_end
    assert_raises(Own) do
      Thread.handle_interrupt(Own => :never) { Coopdl.timeout(0.02, Own) { spin 0.05 } }
    end
  end

  def test_masked_throughout_is_not_raised_again
    Thread.handle_interrupt(Own => :never) do
      assert_raises(Own) { Coopdl.timeout(0.02, Own) { spin 0.05 } }
      Thread.handle_interrupt(Own => :immediate) { Thread.pass }
    end
  end

  def test_the_waiter_stands_apart
    group = ThreadGroup.new
    in_thread do
      group.add(Thread.current)
      Coopdl.timeout(5) {}
    end
    assert_empty group.list
    waiter = Thread.list.find { |thread| thread.name == "coopdl" }
    assert_equal ThreadGroup::Default, waiter.group
  end

  def test_a_killed_waiter_is_replaced
    waiter = Thread.list.find { |thread| thread.name == "coopdl" }
    waiter&.kill&.join
    assert_expires(0.02) { spin 5 }
  end

  def test_a_fiber_scheduler_has_its_own_timers
    scheduler = Object.new
    def scheduler.method_missing(*) = nil
    def scheduler.respond_to_missing?(*) = true
    def scheduler.timeout_after(*given) = [given[0], given[2], yield]
    result = in_thread do
      Fiber.set_scheduler(scheduler)
      answer = nil
      Fiber.new(blocking: false) { answer = Coopdl.timeout(5, Own, "late") { :block } }.resume
      Fiber.set_scheduler(nil)
      answer
    end
    assert_equal [5, "late", :block], result
  end
end

class OnTimeout < CoopdlTest
  # What the program puts in place of Ruby's scheduler is asked, and given what stdlib gives.
  def replaced_by(scheduler)
    original = Fiber.method(:current_scheduler)
    verbose, $VERBOSE = $VERBOSE, nil
    Fiber.define_singleton_method(:current_scheduler) { scheduler }
    yield
  ensure
    Fiber.define_singleton_method(:current_scheduler, original)
    $VERBOSE = verbose
  end

  def test_a_scheduler_that_the_program_has_put_there
    given = nil
    scheduler = Object.new
    scheduler.define_singleton_method(:timeout_after) do |*all, &block|
      given = all
      block.call(all.first)
    end
    replaced_by(scheduler) { assert_equal [5, :ok], Timeout.timeout(5) { |s| [s, :ok] } }
    assert_equal [5, "execution expired"], given.values_at(0, 2)
    assert_instance_of Timeout::ExitException, given[1]
    replaced_by(scheduler) { Timeout.timeout(5, IOError, "late") {} }
    assert_equal [5, IOError, "late"], given

    scheduler.define_singleton_method(:timeout_after) { |_, exception, *| raise exception }
    replaced_by(scheduler) { assert_raises(Timeout::Error) { Timeout.timeout(5) { flunk } } }
    [nil, Object.new].each do |other|
      replaced_by(other) { assert_raises(Timeout::Error) { Timeout.timeout(0.02) { sleep } } }
    end
  end

  def test_module_and_included
    assert_equal [5, :ok], Timeout.timeout(5) { |seconds| [seconds, :ok] }
    assert_in_delta 5, Timeout.timeout(5) { Coopdl.remaining }, 0.5
    assert_in_delta 5, Timeout::timeout(5) { Coopdl.remaining }, 0.5
    including = Class.new do
      include Timeout
      def run = timeout(5) { Coopdl.remaining }
    end
    assert_in_delta 5, including.new.run, 0.5
    assert_raises(NoMethodError) { including.new.timeout(5) {} }
  end

  def test_raises
    error = assert_raises(Timeout::Error) { Timeout.timeout(0.02, nil, "late") { spin 5 } }
    assert_equal "late", error.message
    assert_raises(ArgumentError) { Timeout.timeout(-1) { flunk } }
  end

  def test_error_can_be_given_another_message
    error = assert_raises(Timeout::Error) { raise Timeout::Error.new("a"), "b" }
    assert_equal "b", error.message
  end
end

Tap.run
