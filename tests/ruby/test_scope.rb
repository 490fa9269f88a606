# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_scope.rb -- the handle of a scope: move_on_after, cancel, and what an error
# says of its cut.

require_relative "support"
require "io/wait"
require "net/http"
require "coopdl/timeout"

class Scopes < CoopdlTest
  def test_move_on_after_gives_what_the_block_gives
    scope = nil
    assert_equal(4, Coopdl.move_on_after(5) { |given| scope = given; 4 })
    assert_kind_of Coopdl::Scope, scope
    refute_predicate scope, :expired?
    assert_raises(LocalJumpError) { Coopdl.move_on_after(1) }
    assert_raises(ArgumentError) { Coopdl.move_on_after(-1) { flunk } }
  end

  in_both("move_on_after_ends_silently") do
    begun = now
    scope = cleaned = nil
    assert_nil(Coopdl.move_on_after(0.05) do |given|
      scope = given
      sleep
    ensure
      cleaned = true
    end)
    assert cleaned
    assert_predicate scope, :expired?
    assert_in_delta begun + 0.05, scope.deadline, 0.05
    assert_operator now - begun, :>=, 0.05
    assert_operator now - begun, :<, 0.05 + LATEST
  end

  # Swallowed, computing, cut in C: silent all the same.
  in_both("move_on_after_whatever_it_is_in") do
    assert_nil(Coopdl.move_on_after(0.02) { loop {} })
    assert_nil(Coopdl.move_on_after(0.02) { begin; sleep; rescue Exception; 3; end })
    IO.pipe do |reader, _|
      assert_nil(Coopdl.move_on_after(0.02) do
        Thread.handle_interrupt(Exception => :never) { reader.read }
      end)
    end
  end

  def test_move_on_after_lets_errors_pass
    assert_raises(IOError) { Coopdl.move_on_after(5) { raise IOError } }
    error = assert_raises(IOError) do
      Coopdl.move_on_after(0.02) do
        sleep
      ensure
        raise IOError, "of the clean-up"
      end
    end
    assert_equal "of the clean-up", error.message
  end

  def test_move_on_after_leaves_an_outer_one_its_expiry
    reached = false
    assert_expires(0.02) do
      Coopdl.move_on_after(5) { sleep }
      reached = true
    end
    refute reached
  end

  in_both("cancel_from_another_thread") do
    [-> { sleep }, -> { loop { Thread.pass } }, -> { Queue.new.pop },
     -> { loop { begin; sleep; rescue Exception; next; end } }].each do |body|
      begun = now
      asked = nil
      result = Coopdl.move_on_after(30) do |scope|
        Thread.new { sleep 0.02; asked = now; scope.cancel; scope.cancel }
        body.call
      end
      assert_nil result
      assert_operator now, :>=, asked
      assert_operator now - begun, :<, LATEST
    end
  end

  in_both("cancel_a_timeout") do
    begun = now
    error = assert_raises(Timeout::Error) do
      Coopdl.timeout(30) do
        scope = Coopdl.scope
        Thread.new { scope.cancel }
        sleep
      end
    end
    assert_operator now - begun, :<, LATEST
    assert_operator error.coopdl.deadline, :<, begun + LATEST
  end

  in_both("cancel_from_within") do
    went_on = false
    assert_nil(Coopdl.move_on_after(nil) do |scope|
      scope.cancel
      sleep
      went_on = true
    end)
    refute went_on
  end

  # The outer one's end is the inner one's, and only then.
  in_both("cancel_the_outer_one") do
    inner = after = nil
    assert_nil(Coopdl.move_on_after(30) do |outer|
      Coopdl.move_on_after(20) do
        inner = :begun # before the canceller: its thread may run at once
        Thread.new { outer.cancel }
        sleep
      end
      after = true
    end)
    assert_equal :begun, inner
    assert_nil after
  end

  # One that has ended, is ending, or has been cancelled: nothing strays.
  def test_cancel_at_the_wrong_moment
    scope = nil
    Coopdl.move_on_after(30) { |given| scope = given }
    assert_nil scope.cancel
    refute_predicate scope, :expired?
    done = 0
    rounds = self.class.rounds(500)
    rounds.times do
      canceller = nil
      Coopdl.move_on_after(30) do |given|
        canceller = Thread.new { given.cancel }
        spin(rand * 0.0003)
      end
      canceller&.join # it may be quicker than its name is given
      done += 1
    end
    sleep 0.05
    assert_equal rounds, done
    assert_nil Coopdl.remaining
  end

  def test_scope
    assert_nil Coopdl.scope
    Coopdl.timeout(5) do
      outer = Coopdl.scope
      assert_same outer, Coopdl.scope
      Coopdl.move_on_after(3) { |inner| assert_same inner, Coopdl.scope }
      Coopdl.shield { assert_same outer, Coopdl.scope }
      assert_same outer, Coopdl.scope
    end
    assert_nil Coopdl.scope
    assert_raises(NoMethodError, TypeError) { Coopdl::Scope.new }
  end

  def test_what_a_cut_was
    begun = now
    error = assert_raises(Timeout::Error) { Timeout.timeout(0.05) { sleep } }
    cut = error.coopdl
    assert_equal [0.05, Thread.current, false], [cut.limit, cut.thread, cut.forced]
    assert_in_delta begun + 0.05, cut.deadline, 0.05
    assert_operator cut.ended, :>=, cut.deadline
    assert_match(/test_scope.rb:\d+:in .*sleep/, cut.place)
    assert_predicate cut, :frozen?

    own = Class.new(StandardError)
    IO.pipe do |reader, _|
      error = assert_raises(own) do
        Thread.handle_interrupt(own => :never) { Coopdl.timeout(0.02, own) { reader.read } }
      end
      assert_equal 0.02, error.coopdl.limit
    end
    assert_nil Timeout::Error.new.coopdl
  end

  # How an exchange with a server that never answers ends.
  # Ruby 3.3 looks up the address in another thread: beside threads that compute, a thread has the
  # lock back after hundreds of milliseconds, and is in no call meanwhile.
  def cut_at_a_server(port, *arguments)
    TCPSocket.open("127.0.0.1", port) do |socket|
      assert_raises(Timeout::Error) do
        Timeout.timeout(LOADED ? 2 : 0.2, *arguments) { socket.read(1) }
      end
    end
  end

  in_both("what_was_stuck") do
    silent_server do |port|
      error = cut_at_a_server(port)
      cut = error.coopdl
      assert_equal "tcp 127.0.0.1:#{port}", cut.target
      assert_includes %w[poll ppoll read], cut.call
      assert_match(/\A(libruby|ruby)/, cut.library)
      assert_operator cut.waited, :>, 0 unless cut.waited.nil?
      assert_match(/\Aexecution expired in #{cut.call}\(\) on #{cut.target}.*, called by libruby/,
                   error.message)
    end
  end

  # Ruby ends these by a pipe of its own, as soon as the exception is sent.
  in_both("what_was_stuck_in_a_wait_of_rubys") do
    silent_server do |port|
      Net::HTTP.start("127.0.0.1", port) do |http|
        TCPSocket.open("127.0.0.1", port) do |socket|
          [-> { socket.wait_readable(30) },
           -> { IO.select([socket], nil, nil, 30) },
           -> { http.get("/") }].each_with_index do |wait, i|
            error = assert_raises(Timeout::Error) { Timeout.timeout(LOADED ? 2 : 0.2) { wait.call } }
            assert_equal "tcp 127.0.0.1:#{port}", error.coopdl.target, "wait #{i}"
          end
        end
      end
    end
  end

  # These Ruby does by a call that says nothing of them.
  in_both("a_wait_of_rubys_for_nothing_outside_is_in_no_call") do
    mutex, reader, _writer = Mutex.new, *IO.pipe
    holder = Thread.new { mutex.synchronize { sleep } }
    Thread.pass until holder.stop? && mutex.locked?
    [-> { sleep }, -> { Queue.new.pop }, -> { mutex.lock }, -> { holder.join },
     -> { Enumerator.new { sleep }.next }].each_with_index do |wait, i|
      error = assert_raises(Timeout::Error) { Timeout.timeout(0.05) { wait.call } }
      assert_equal ["execution expired", nil], [error.message, error.coopdl.call], "wait #{i}"
    end
    error = assert_raises(Timeout::Error) { Timeout.timeout(LOADED ? 2 : 0.2) { IO.select([reader]) } }
    assert_equal "pipe", error.coopdl.target
  ensure
    holder.kill.join
  end

  def test_what_computes_was_in_no_call
    error = assert_raises(Timeout::Error) { Timeout.timeout(0.05) { loop {} } }
    assert_equal [nil] * 4, error.coopdl.to_h.values_at(:call, :target, :library, :waited)
    assert_equal "execution expired", error.message
  end

  def test_a_message_of_the_programs_is_left_alone
    silent_server do |port|
      error = cut_at_a_server(port, nil, "too late")
      assert_equal "too late", error.message
      assert_equal "tcp 127.0.0.1:#{port}", error.coopdl.target
    end
  end

  def test_both_languages_have_the_names
    assert_same Coopdl::ExitException, Coopdl::DeadlineReached
    assert_same Timeout::Error, Coopdl::DeadlineExceeded
    refute_operator Coopdl::DeadlineReached, :<, StandardError
  end

  def test_another_ractor_is_refused
    output, = ruby(<<~'PROGRAM', "-W0")
      require "coopdl/timeout"
      ractor = Ractor.new { Timeout.timeout(1) { 1 } rescue $!.class }
      p ractor.respond_to?(:value) ? ractor.value : ractor.take
    PROGRAM
    assert_equal "Ractor::UnsafeError\n", output
  end

  def test_threads_that_change_their_native_thread_are_refused
    skip "this Ruby has none" if (RUBY_VERSION.split(".").map(&:to_i) <=> [3, 3]) < 0
    output, = ruby('begin; require "coopdl"; rescue LoadError => e; puts e.message; end',
                   environment: { "RUBY_MN_THREADS" => "1" })
    assert_match(/\Acoopdl: RUBY_MN_THREADS=1 .*: unset it\n\z/, output)
  end
end

Tap.run
