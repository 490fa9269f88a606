# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_races.rb -- expiries at the worst moments; what was swallowed; clean-up.

require_relative "support"

class Races < CoopdlTest
  ROUNDS = rounds(5_000) # in each kind of thread

  # Both ends of the block, its inside, its ensure and rescue: wherever it falls.
  in_both("nothing_is_raised_after_the_block") do
    ended = Hash.new(0)
    ROUNDS.times do |round|
      limit = rand * 0.0004
      work = rand * 0.0004
      outcome =
        begin
          Coopdl.timeout(limit) { round.odd? ? spin(work) : sleep(work) }
          :in_time
        rescue Timeout::Error
          :expired
        end
      ended[outcome] += 1
      spin(rand * 0.0001)
    end
    sleep 0.2 # for a late one to turn up
    note "#{ended}"
    ended.each_value { |count| assert_operator count, :>, ROUNDS / 20 } unless LOADED
    assert_equal ROUNDS, ended.values.sum
    assert_nil Coopdl.remaining
  end

  in_both("an_error_at_the_deadline") do
    outcomes = Hash.new(0)
    attempts = self.class.rounds(500)
    attempts.times do
      Coopdl.timeout(0.001) do
        spin(0.0008 + rand * 0.0004)
        raise IOError, "mine"
      end
    rescue IOError, Timeout::Error => e
      outcomes[e.class] += 1
    end
    assert_equal attempts, outcomes.values.sum
    note "#{outcomes}"
  end

  in_both("swallowed_in_a_sleep") do
    swallowed = 0
    note_late "swallowed", (assert_expires(0.02) do
      loop do
        sleep
      rescue Exception
        swallowed += 1
      end
    end)
    assert_operator swallowed, :>=, 1
  end

  in_both("swallowed_while_computing") do
    note_late "swallowed", (assert_expires(0.02) do
      loop do
        while true; end
      rescue Exception
        next
      end
    end)
  end

  in_both("swallowed_in_another_rescue") do
    assert_expires(0.02) do
      raise IOError
    rescue IOError
      loop do
        sleep
      rescue Exception
        next
      end
    end
  end

  in_both("swallowed_inside_another_limit") do
    Coopdl.timeout(30) do
      swallowed = 0
      assert_expires(0.02) do
        loop do
          sleep
        rescue Exception
          swallowed += 1
        end
      end
      assert_operator swallowed, :>=, 1
    end
  end

  in_both("swallowed_and_returned") do
    assert_expires(0.02) do
      sleep
    rescue Exception
      :normally
    end
  end

  in_both("a_cut_call_whose_error_was_swallowed") do
    cut = nil
    reader, = IO.pipe
    assert_expires(0.02) do
      Thread.handle_interrupt(Exception => :never) do
        reader.read
      rescue SystemCallError => e
        cut = e
      end
      :normally
    end
    assert_kind_of Errno::ETIMEDOUT, cut
  ensure
    reader.close
  end

  in_both("the_error_of_a_cut_call_is_the_cause") do
    reader, = IO.pipe
    error = assert_raises(Timeout::Error) do
      Thread.handle_interrupt(Exception => :never) { Coopdl.timeout(0.02) { reader.read } }
    end
    assert_kind_of Errno::ETIMEDOUT, error.cause
  ensure
    reader.close
  end

  # It sleeps, does I/O, computes, and handles exceptions of its own.
  def clean_up(done)
    sleep 0.05
    IO.pipe do |reader, writer|
      writer << "x"
      Thread.new { sleep 0.02; writer.close }
      done << reader.read
    end
    begin
      raise IOError
    rescue IOError
      done << :handled
    end
    spin 0.15
    done << :end
  end

  def assert_cleaned_up(done)
    assert_equal ["x", :handled, :end], done
  end

  in_both("ensure_is_left_in_peace") do
    done = []
    assert_expires(0.02) do
      sleep
    ensure
      clean_up(done)
    end
    assert_cleaned_up(done)
  end

  in_both("rescue_is_left_in_peace") do
    done = []
    assert_expires(0.02) do
      spin 5
    rescue Exception
      clean_up(done)
      raise
    end
    assert_cleaned_up(done)
  end

  in_both("an_error_of_the_clean_up_passes") do
    error = assert_raises(IOError) do
      Coopdl.timeout(0.02) do
        sleep
      rescue Exception
        raise IOError, "mine"
      end
    end
    assert_kind_of Coopdl::ExitException, error.cause
  end

  # Of two exceptions that it is let have at once Ruby 3.1 raises one and forgets the other.
  in_both("forgotten_behind_another") do
    thread = Thread.current
    assert_expires(0.02) do
      begin
        Thread.handle_interrupt(Object => :never) do
          Thread.new { thread.raise(IOError) }.join
          spin 0.05
        end
      rescue IOError
        :handled
      end
      loop {}
    end
  end

  # It is no clean-up of ours that runs when the deadline passes.
  in_both("an_expiry_in_ensure") do
    went_on = false
    assert_expires(0.02) do
      raise IOError
    ensure
      sleep
      went_on = true
    end
    refute went_on
  end

  in_both("an_expiry_in_rescue") do
    went_on = false
    assert_expires(0.02) do
      raise IOError
    rescue IOError
      spin 5
      went_on = true
    end
    refute went_on
  end

  # Threads that compute wait for their turn, up to 0.1 s for each of the others.
  def test_a_hundred_threads
    late = Queue.new
    threads = Array.new(100) do |number|
      Thread.new do
        5.times do |round|
          limit = 0.02 + rand * 0.1
          late << assert_expires(limit, latest: 10) { number % 10 == round ? loop {} : sleep }
        end
      end
    end
    threads.each(&:value)
    assert_equal 500, late.size
    note_late "of 100 threads, the worst", Array.new(500) { late.pop }.max
  end

  # Ruby's own makes two owners of a descriptor when an exception comes behind `initialize`: the
  # collector closes what may be another thread's by then.
  def test_pipes_have_one_owner
    threads = Array.new(2) do
      Thread.new do
        self.class.rounds(400).times do
          assert_raises(Timeout::Error) do
            Coopdl.timeout(0.0005 + rand * 0.002) { loop { IO.pipe { |reader, _| reader.fileno } } }
          end
        end
      end
    end
    threads.each { |thread| thread.report_on_exception = false }
    threads.each(&:value)
    GC.start
  end

  def test_pipe_is_as_it_was
    pipe = IO.method(:pipe)
    assert_equal [IO.singleton_class, :pipe, -1], [pipe.owner, pipe.name, pipe.arity]
    reader = File.pipe("UTF-16LE:UTF-8", binmode: true) { |one, _| one }
    assert_instance_of File, reader
    assert_raises(ArgumentError) { IO.pipe(binmode: true, textmode: true) }
    ends = nil
    assert_equal :value, IO.pipe { |pair| ends = pair; :value }
    assert ends.all?(&:closed?)
    ends = nil
    assert_equal(:thrown, catch(:out) { IO.pipe { |pair| ends = pair; throw :out, :thrown } })
    assert ends.all?(&:closed?)
    IO.pipe { |reader, writer| reader.close; writer.close }
    refute IO.pipe.each(&:close).any? { |io| !io.closed? }
    assert_raises(ArgumentError) { IO.pipe("a", "b", "c") }
  end

  # The waiter has the interpreter when it is woken, and did wait for itself then: 0.12 s each time.
  def test_ten_threads_that_wait
    late = Queue.new
    threads = Array.new(10) do
      Thread.new { 30.times { late << assert_expires(0.02 + rand * 0.02) { sleep } } }
    end
    threads.each(&:value)
    assert_equal 300, late.size
    median = Array.new(300) { late.pop }.sort[150]
    note_late "of 10 threads, the median", median
    assert_operator median, :<, LOADED ? LATEST : 0.06
  end

  def note_late(what, late)
    note "#{what}: #{(late * 1000).round(2)} ms late"
  end

  def test_killing_the_thread
    thread = Thread.new { Coopdl.timeout(30) { sleep } }
    Thread.pass until thread.stop?
    thread.kill
    assert thread.join(5)
    assert_nil thread.value
  end

  def test_an_enumerator_that_is_given_up
    in_thread do
      enumerator = Enumerator.new { |yielder| Coopdl.timeout(0.1) { yielder << 1 } }
      assert_equal 1, enumerator.next
      enumerator = nil
      GC.start
      # As with stdlib's, whatever runs when it expires gets it.
      raised = 0
      begin
        sleep 0.5
      rescue Exception
        (raised += 1) < 10 ? retry : raise
      end
      assert_includes 1..2, raised
      assert_expires(0.02) { sleep }
    end
  end

  # What was sent is not raised after what check! has raised, nor after the block.
  in_both("check_while_it_is_masked") do
    20.times do
      assert_expires(0.002) do
        Thread.handle_interrupt(Exception => :never) do
          spin 0.005
          begin
            Coopdl.check!
          ensure
            Thread.handle_interrupt(Exception => :immediate) { spin 0.002 }
          end
        end
      end
      Thread.pass
    end
  end

  in_both("a_limit_in_the_clean_up") do
    inner = nil
    assert_expires(0.02) do
      sleep
    ensure
      inner = assert_expires(0.02) { sleep }
    end
    assert inner
  end

  in_both("a_limit_after_an_own_class_was_rescued") do
    own = Class.new(StandardError)
    Coopdl.timeout(0.02, own) do
      begin
        sleep
      rescue own
        :handled
      end
      assert_expires(0.02) { sleep }
    end
  end

  in_both("nested_scopes_that_expire_together") do
    done = []
    20.times do
      assert_expires(0.005) do
        Coopdl.timeout(0.005) { Coopdl.timeout(0.006) { sleep } }
      ensure
        sleep 0.02
        done << 1
      end
    end
    assert_equal 20, done.size
  end

  in_both("gc_stress") do
    4.times do |round|
      GC.stress = true
      begin
        Coopdl.timeout(0.01) { round.odd? ? sleep : loop {} }
        flunk "it went on"
      rescue Timeout::Error => e
        assert_match(/\Aexecution expired(?: in .*)?\z/, e.message)
      ensure
        GC.stress = false
      end
    end
  end

  in_both("compaction") do
    skip "this ruby does not compact" unless GC.respond_to?(:compact)
    20.times do |round|
      assert_expires(0.01) do
        GC.compact
        round.odd? ? sleep : loop {}
      end
    end
  end
end

Tap.run
