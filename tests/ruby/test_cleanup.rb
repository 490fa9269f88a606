# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_cleanup.rb -- what runs behind a deadline: how long, and what is never
# interrupted half-way.

require_relative "support"
require "coopdl/timeout"
require "monitor"

class CleanUp < CoopdlTest
  LIMIT = 0.05
  GRACE = 0.2
  Own = Class.new(StandardError)

  # The block is to end behind the grace, and not before, by a forced error.
  def assert_forced(klass = nil, &block)
    begun = now
    error = assert_raises(klass || Timeout::Error) do
      Coopdl.timeout(LIMIT, klass, grace: GRACE, &block)
    end
    late = now - begun - LIMIT - GRACE
    assert_operator late, :>=, 0
    assert_operator late, :<, LATEST
    assert_predicate error.coopdl, :forced
    note "#{name}: #{(late * 1000).round} ms behind the grace"
  end

  # The block is as a peer that is gone leaves it; its clean-up then does what is given.
  def self.ends_behind_the_grace(name, klass = nil, &clean_up)
    in_both(name) do
      assert_forced(klass) do
        sleep
      ensure
        instance_exec(&clean_up)
      end
    end
  end

  ends_behind_the_grace("ensure_that_sleeps") { sleep }
  ends_behind_the_grace("ensure_that_computes") { loop {} }
  ends_behind_the_grace("ensure_that_reads") { IO.pipe { |reader, _| reader.read } }
  ends_behind_the_grace("ensure_that_takes_a_mutex") { 2.times { (@mutex ||= Mutex.new).lock } rescue sleep }
  ends_behind_the_grace("ensure_with_a_given_class", Own) { sleep }
  ends_behind_the_grace("ensure_that_rescues_once_more") do
    sleep
  rescue Exception
    sleep
  end
  ends_behind_the_grace("two_of_them") do
    sleep
  ensure
    sleep
  end

  in_both("rescue_that_waits") do
    assert_forced do
      sleep
    rescue Exception
      sleep
    end
  end

  # As net-ssh: `ensure` asks the same dead peer to close.
  in_both("a_peer_that_is_gone") do
    silent_server do |port|
      assert_forced do
        socket = TCPSocket.new("127.0.0.1", port)
        begin
          socket.read
        ensure
          socket.read
          socket.close
        end
      end
    end
  end

  # With a C library: what is cut once and tries again is cut again.
  def test_a_library_in_the_clean_up
    begin
      require "typhoeus"
    rescue LoadError
      skip "there is no typhoeus"
    end
    silent_server do |port|
      get = -> { Typhoeus.get("http://127.0.0.1:#{port}/") }
      assert_forced do
        get.call
      ensure
        5.times { get.call }
      end
    end
  end

  in_both("no_limit") do
    done = nil
    error = assert_raises(Timeout::Error) do
      Coopdl.timeout(0.02, grace: nil) do
        sleep
      ensure
        sleep 0.3
        done = true
      end
    end
    assert done
    refute_predicate error.coopdl, :forced
  end

  in_both("a_grace_that_is_kept") do
    done = nil
    error = assert_raises(Timeout::Error) do
      Coopdl.timeout(0.02, grace: 30) do
        sleep
      ensure
        spin 0.2
        sleep 0.2
        done = true
      end
    end
    assert done
    refute_predicate error.coopdl, :forced
  end

  in_both("a_shield_in_the_clean_up_is_one") do
    done = nil
    assert_raises(Timeout::Error) do
      Coopdl.timeout(0.02, grace: 0.02) do
        sleep
      ensure
        Coopdl.shield { sleep 0.3; done = true }
      end
    end
    assert done
  end

  # The peer is slow to say good-bye, and meanwhile the limit around all of it passes.
  def self.goes_on_behind_an_outer_limit(name, &clean_up)
    in_both(name) do
      done = nil
      begun = now
      error = assert_raises(Timeout::Error) do
        Coopdl.timeout(0.2) do
          Coopdl.timeout(0.1) do
            sleep
          ensure
            instance_exec(&clean_up)
            done = true
          end
          flunk
        end
      end
      assert done
      assert_operator now - begun, :>=, 0.2
      assert_equal 0.2, error.coopdl.limit
    end
  end

  goes_on_behind_an_outer_limit("a_clean_up_that_sleeps_behind_an_outer_limit") { sleep 0.3 }
  goes_on_behind_an_outer_limit("a_clean_up_that_computes_behind_an_outer_limit") { spin 0.3 }
  goes_on_behind_an_outer_limit("a_clean_up_that_waits_for_a_peer_behind_an_outer_limit") do
    silent_server do |port|
      TCPSocket.open("127.0.0.1", port) { |socket| socket.wait_readable(0.3) }
    end
  end

  # The outer limit holds once the inner one has been raised outside, and where its exception was
  # swallowed; and a clean-up that hangs ends by the earlier of the two graces.
  in_both("an_outer_limit_behind_an_inner_one") do
    assert_expires(0.1) do
      Coopdl.timeout(0.02) { sleep }
    rescue Timeout::Error
      loop {}
    end
    assert_expires(0.2) do
      Coopdl.timeout(0.1, grace: nil) do
        begin
          sleep
        rescue Exception
          :swallowed
        end
        loop {}
      end
    end
    [[0.2, nil], [nil, 0.2]].each do |inner, outer|
      begun = now
      assert_raises(Timeout::Error) do
        Coopdl.timeout(0.1, grace: outer) do
          Coopdl.timeout(0.05, grace: inner) { begin; sleep; ensure; sleep; end }
        end
      end
      assert_operator now - begun, :>=, 0.25
      assert_operator now - begun, :<, 0.3 + LATEST
    end
  end

  # Rescued for good: what follows is no clean-up, though it is in an ensure clause.
  in_both("a_given_class_that_was_rescued") do
    result = Coopdl.timeout(0.02, Own, grace: 0.02) do
      begin
        sleep
      rescue Own
        :handled
      end
      sleep 0.2
      begin
        :work
      ensure
        sleep 0.4
      end
    end
    assert_equal :work, result
  end

  def test_the_grace_is_5_seconds
    begun = now
    error = assert_raises(Timeout::Error) do
      Coopdl.timeout(0.02) do
        sleep
      ensure
        sleep
      end
    end
    assert_predicate error.coopdl, :forced
    assert_operator now - begun, :>=, 5.02
    assert_operator now - begun, :<, 5.02 + LATEST
  end

  def test_graces
    assert_equal :ok, Coopdl.timeout(5, grace: 0) { :ok }
    [-1, -0.5, Float::NAN].each do |grace|
      assert_raises(ArgumentError, grace.inspect) { Coopdl.timeout(5, grace: grace) { flunk } }
    end
    assert_raises(TypeError) { Coopdl.timeout(5, grace: "5") { flunk } }
    assert_raises(ArgumentError) { Coopdl.timeout(5, graces: 5) { flunk } }
  end

  # Who is joined is inside the deadline of who joins.
  def joined(way)
    inside = ended = nil
    worker = Thread.new do
      sleep
    rescue Exception => e
      inside = e
      raise
    ensure
      ended = true
    end
    worker.report_on_exception = false
    assert_forced do
      sleep
    ensure
      worker.public_send(way)
    end
    assert_ends(worker)
    assert_kind_of Coopdl::ExitException, inside
    assert ended
  end

  def assert_ends(thread)
    until_then = now + 5
    sleep 0.01 while thread.alive? && now < until_then
    refute_predicate thread, :alive?
  end

  in_both("a_joined_thread") { joined(:join) }
  in_both("a_thread_whose_value_is_awaited") { joined(:value) }

  in_both("a_chain_of_joined_threads") do
    last = Thread.new { sleep }
    middle = Thread.new { last.join }
    [last, middle].each { |thread| thread.report_on_exception = false }
    Thread.pass until middle.stop? && last.stop?
    assert_forced do
      sleep
    ensure
      middle.join
    end
    assert_ends(last)
    assert_ends(middle)
  end

  # In a Ruby that has had no scope before: the last join began outside every deadline.
  def test_a_chain_that_is_older_than_the_first_scope
    output, = ruby(<<~RUBY, "-rcoopdl")
      last = Thread.new { sleep }
      middle = Thread.new { last.join }
      [last, middle].each { |thread| thread.report_on_exception = false }
      Thread.pass until middle.stop? && last.stop?
      begin
        Coopdl.timeout(0.05, grace: 0.05) do
          sleep
        ensure
          middle.join
        end
      rescue Timeout::Error
        100.times { last.alive? && sleep(0.05) }
      end
      print [last, middle].map(&:alive?)
    RUBY
    assert_equal "[false, false]", output
  end

  # Its exception does not end libcurl's wait: its calls are cut. What runs on its native thread
  # after it is not.
  in_both("a_joined_thread_in_a_library") do
    begin
      require "typhoeus"
    rescue LoadError
      skip "there is no typhoeus"
    end
    silent_server do |port|
      worker = Thread.new { Typhoeus.get("http://127.0.0.1:#{port}/") }
      worker.report_on_exception = false
      Thread.pass until worker.stop?
      assert_forced do
        sleep
      ensure
        worker.join
      end
      assert_ends(worker)
      assert_nil(in_thread { sleep 0.2; Coopdl.remaining })
      IO.pipe { |reader, _| assert_nil in_thread { reader.wait_readable(0.2) } }
    end
  end

  # A thread that is joined in time, and one that nobody joins, go on.
  def test_threads_that_are_not_joined_go_on
    other = Thread.new { sleep }
    assert_forced do
      sleep
    ensure
      sleep
    end
    assert_predicate other, :alive?
    assert_expires(0.02) { other.join }
    assert_predicate other, :alive?
  ensure
    other.kill.join
  end

  ROUNDS = rounds(300)

  # As rubygems' `require`, and all that includes MonitorMixin: the code between `enter` and the
  # clause that undoes it.
  def left_locked(rounds = ROUNDS)
    monitor = Monitor.new
    left = expired = 0
    rounds.times do
      begin
        Coopdl.timeout(rand * 0.002) do
          loop do
            yield monitor
          end
        end
      rescue Timeout::Error
        expired += 1
      end
      left += 1 if monitor.mon_owned?
      monitor.exit while monitor.mon_owned?
    end
    assert_equal rounds, expired
    assert_equal 0, left
  end

  in_both("nothing_is_left_locked_by_enter") do
    left_locked do |monitor|
      monitor.enter
      spin 0.0001
      begin
        spin 0.0001
      ensure
        monitor.exit
      end
    end
  end

  in_both("nothing_is_left_locked_by_try_enter") do
    left_locked { |monitor| monitor.try_enter && (spin 0.0001; monitor.exit) }
  end

  in_both("nothing_is_left_locked_by_a_mixin") do
    mixed = Object.new.extend(MonitorMixin)
    monitor = Monitor.new
    left_locked do |outer|
      mixed.mon_enter
      monitor.mon_enter
      outer.enter
      spin 0.0001
      outer.exit
      monitor.mon_exit
      mixed.mon_exit
    end
    refute_predicate mixed, :mon_locked?
    refute_predicate monitor, :mon_locked?
  end

  # The waiter looks at the thread's monitors, and loses the interpreter before it has sent; the
  # thread does not wait for that any longer (HAND_OVER).
  in_both("a_monitor_is_entered_as_the_exception_is_sent") do
    delivery = Coopdl.send(:const_get, :Delivery)
    Process.wait(child = fork do # nothing gives the method back
      # Not by `prepend`: Ruby 3.1 crashes where objects were extended by the module and are gone.
      made = delivery.instance_method(:exception)
      delivery.define_method(:exception) do |*arguments|
        made.bind_call(self, *arguments).tap do
          sleep 0.02 + rand * 0.1 if Thread.current.name == "coopdl"
        end
      end
      left_locked(20) { |monitor| monitor.enter; spin 0.0001; monitor.exit }
      exit!(0)
    rescue Minitest::Assertion
      exit!(1)
    end)
    assert_equal [child, 0], [$?.pid, $?.exitstatus]
  end

  # Calls its block with a monitor that another thread has as long as that runs.
  def with_monitor_of_another
    monitor = Monitor.new
    held = Queue.new
    holder = Thread.new { monitor.enter; held << 1; sleep }
    held.pop
    yield monitor
  ensure
    holder.kill.join
  end

  # A throw (ours, or one of another exception behind it) gives it back, too.
  in_both("a_throw_out_of_enter") do
    with_monitor_of_another do |monitor|
      10.times do
        assert_raises(Timeout::Error) do
          Coopdl.timeout(0.005, grace: 0.02) do
            monitor.enter
          rescue Exception
            monitor.enter
          end
        end
      end
    end
    left_locked { |other| other.enter; spin 0.0001; other.exit } # what is held is counted right
  end

  # The lock of rubygems is free and `require` works, here and in other threads.
  def test_require
    lock = Kernel.const_get(:RUBYGEMS_ACTIVATION_MONITOR)
    left = 0
    self.class.rounds(100).times do |round|
      begin
        Timeout.timeout(rand * 0.01) do
          loop do
            require "coopdl/there/is/no/such/#{round}"
          rescue LoadError
            next
          end
        end
      rescue Timeout::Error
        left += 1 if lock.mon_locked?
      end
    end
    assert_equal 0, left
    assert Thread.new { require "English" || true }.join(5)
  end

  in_both("a_wait_inside_a_monitor_ends") do
    monitor = Monitor.new
    note_late = assert_expires(0.02, latest: 2 * LATEST) do
      monitor.enter
      begin
        sleep
      ensure
        monitor.exit
      end
    end
    note "#{name}: #{(note_late * 1000).round} ms late"
    refute_predicate monitor, :mon_locked?
  end

  # Entered outside the block and left outside it: there is nothing that the exception may come
  # between.
  in_both("computing_in_a_block_inside_a_monitor_ends_at_its_deadline") do
    monitor = Monitor.new
    monitor.enter
    assert_expires(0.02) { loop {} }
    assert_expires(0.02) { loop { monitor.enter; monitor.exit } }
    assert_predicate monitor, :mon_owned?
    monitor.exit
  end

  # The outer block's monitor is left alone; the inner block's deadline is its own.
  in_both("a_block_inside_a_monitor_inside_a_block") do
    monitor = Monitor.new
    inner = nil
    assert_expires(0.1) do
      monitor.enter
      begin
        inner = assert_expires(0.02) { loop {} }
        spin 0.2
      ensure
        monitor.exit
      end
      sleep
    end
    assert inner
    refute_predicate monitor, :mon_locked?
  end

  in_both("a_monitor_that_another_has") do
    with_monitor_of_another do |monitor|
      assert_expires(0.02) { monitor.enter }
      refute_predicate monitor, :mon_owned?
    end
  end

  def test_computing_inside_a_monitor_ends_with_the_grace
    monitor = Monitor.new
    begun = now
    assert_raises(Timeout::Error) do
      Coopdl.timeout(LIMIT, grace: GRACE) do
        monitor.enter
        loop {}
      end
    end
    assert_operator now - begun, :>=, LIMIT + GRACE
    assert_operator now - begun, :<, LIMIT + GRACE + LATEST
  ensure
    monitor.exit if monitor.mon_owned?
  end

  def test_monitors_are_as_they_were
    monitor = Monitor.new
    assert_raises(ThreadError) { monitor.exit }
    assert monitor.try_enter
    assert_equal false, in_thread { monitor.try_enter }
    monitor.exit
    %i[enter exit try_enter].each do |name|
      assert_equal Monitor, Monitor.instance_method(name).owner
      assert_equal 0, Monitor.instance_method(name).arity
    end
    assert_equal(-1, Thread.instance_method(:join).arity)
    assert_nil Thread.new { sleep 0.2 }.join(0.01)
    assert_equal 7, Thread.new { 7 }.value
  end
end

Tap.run
