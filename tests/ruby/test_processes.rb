# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_processes.rb -- whole processes: their ends, their children, a budget;
# and what happens without the library.

require_relative "support"

class Processes < CoopdlTest
  PREAMBLE = 'require "coopdl/timeout"; '

  # A program in a process of its own that is to print this and end well.
  def assert_prints(expected, program, *options, **more)
    output, status, took = ruby(PREAMBLE + program, *options, **more)
    assert_equal expected, output
    assert_predicate status, :success?
    took
  end

  def test_exit_inside_scopes
    took = assert_prints "", <<~'PROGRAM'
      Thread.new { Coopdl.timeout(30) { sleep } }
      Coopdl.timeout(30) { exit }
    PROGRAM
    assert_operator took, :<, 5
  end

  def test_exit_with_expired_scopes
    assert_prints "", <<~'PROGRAM'
      5.times { Thread.new { Coopdl.timeout(0.01) { begin; sleep; ensure; sleep; end } } }
      sleep 0.1
      exit
    PROGRAM
  end

  # Ruby code that makes an exception runs in the thread that waits for expiries.
  def test_exit_while_an_exception_is_made
    took = assert_prints "", <<~'PROGRAM'
      class Slow < StandardError
        def self.exception(*) = sleep
      end
      Thread.new { Coopdl.timeout(0.01, Slow) { sleep } }
      sleep 0.1
    PROGRAM
    assert_operator took, :<, 5
  end

  # Threads that are timed out all the time, and swallow it, at the moment of exit.
  def test_exit_in_the_middle_of_it_all
    10.times do
      took = assert_prints "", <<~'PROGRAM'
        8.times do
          Thread.new do
            loop do
              Coopdl.timeout(rand * 0.003) do
                sleep
              rescue Exception
                sleep 0.001
              end
            rescue Exception
              next
            end
          end
        end
        sleep rand * 0.05
      PROGRAM
      assert_operator took, :<, 5
    end
  end

  def test_end_with_a_waiter
    assert_prints "", "Coopdl.timeout(30) {}"
  end

  def test_fork_without_a_scope
    assert_prints "raised\n", <<~'PROGRAM'
      Coopdl.timeout(30) {}
      child = fork do
        Coopdl.timeout(0.05) { loop {} }
      rescue Timeout::Error
        puts "raised"
      end
      Process.wait(child)
    PROGRAM
  end

  def test_fork_inside_a_scope
    assert_prints "child\nparent\n", <<~'PROGRAM'
      begin
        Coopdl.timeout(0.3) do
          child = fork do
            loop {}
          ensure
            puts "child"
            $stdout.flush
            exit!
          end
          Coopdl.shield { Process.wait(child) }
          loop {}
        end
      rescue Timeout::Error
        puts "parent"
      end
    PROGRAM
  end

  def test_fork_while_other_threads_have_scopes
    assert_prints "raised\n" * 3, <<~'PROGRAM'
      20.times { Thread.new { loop { Coopdl.timeout(0.001) { sleep } rescue nil } } }
      3.times do
        child = fork do
          Coopdl.timeout(0.05) { loop {} }
        rescue Timeout::Error
          puts "raised"
        end
        Process.wait(child)
      end
    PROGRAM
  end

  def test_budget
    program = "def work = while true; end\nbegin; work; ensure; puts 'cleaned up'; end"
    [program, program.sub("while true; end", "sleep")].each do |text|
      output, status, took = ruby(text, "-rcoopdl", environment: { "COOPDL_BUDGET" => "500ms" })
      assert_includes output, "cleaned up\n"
      assert_includes output, "execution expired (Timeout::Error)"
      assert_match(/-e:1:in `work'/, output)
      assert_equal 1, status.exitstatus
      assert_operator took, :>=, 0.5
      assert_operator took, :<, 3
    end
  end

  # libcurl looks names up in a thread of its own, which is kicked as well.
  def test_budget_with_threads_that_are_not_rubys
    program = <<~'PROGRAM'
      require "fiddle"
      libc = Fiddle.dlopen(nil)
      create = Fiddle::Function.new(libc["pthread_create"], [Fiddle::TYPE_VOIDP] * 4, Fiddle::TYPE_INT)
      thread = Fiddle::Pointer.malloc(8)
      seconds = Fiddle::Pointer.new(30)
      raise "no thread" unless create.call(thread, nil, libc["sleep"], seconds) == 0
      sleep
    PROGRAM
    output, status, = ruby(program, "-rcoopdl", environment: { "COOPDL_BUDGET" => "500ms" })
    assert_includes output, "execution expired (Timeout::Error)"
    assert_equal 1, status.exitstatus
  end

  def test_budget_with_the_command
    skip "meson.build names no command" unless ENV["COOPDL"]
    output, status, = Open3.capture2e({ "LD_PRELOAD" => nil }, ENV["COOPDL"], "--ruby", "500ms",
                                      RbConfig.ruby, "-e", "def work\nwhile true; end\nend\nwork")
    assert_match(/-e:2:in `work': execution expired \(Timeout::Error\)/, output)
    assert_equal 124, status.exitstatus
  end

  def test_the_command_keeps_rubyopt
    skip "meson.build names no command" unless ENV["COOPDL"]
    output, = Open3.capture2e({ "LD_PRELOAD" => nil, "RUBYOPT" => "-W0" },
                              ENV["COOPDL"], "--ruby", "20s", RbConfig.ruby,
                              "-e", 'p $VERBOSE, defined?(Coopdl), ENV["RUBYOPT"]')
    assert_equal "nil\n\"constant\"\n\"-rcoopdl -W0\"\n", output
  end

  TYPHOEUS = <<~'PROGRAM'
    require "socket"
    require "typhoeus"
    server = TCPServer.new("127.0.0.1", 0)
    url = "http://127.0.0.1:#{server.local_address.ip_port}/"
    begun = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    begin
      Timeout.timeout(1) { Typhoeus.get(url) }
    rescue Timeout::Error => e
      puts "#{e.class} #{Process.clock_gettime(Process::CLOCK_MONOTONIC) - begun}"
    end
  PROGRAM

  def typhoeus
    require "typhoeus"
  rescue LoadError
    skip "there is no typhoeus"
  end

  def test_typhoeus_raises_with_the_library
    typhoeus
    output, = ruby(TYPHOEUS, "-rcoopdl/timeout")
    assert_match(/\ATimeout::Error \d/, output)
    assert_operator output[/\d\S*/].to_f, :>=, 1
    assert_operator output[/\d\S*/].to_f, :<, 1 + LATEST
    note "Timeout.timeout(1) { Typhoeus.get(url) }: #{output}"
  end

  def test_typhoeus_hangs_without_it
    typhoeus
    output, status, took = ruby(TYPHOEUS, "-rtimeout", environment: { "LD_PRELOAD" => nil },
                                                       seconds: 4)
    assert_equal "(killed after 4 s)", output
    assert_predicate status, :signaled?
    note "without the library it was still there after #{took.round(1)} s"
  end

  def test_cost
    output, = ruby(<<~'PROGRAM', seconds: 30)
      require "coopdl"
      def cost(count)
        begun = Process.clock_gettime(Process::CLOCK_MONOTONIC)
        count.times { yield }
        (Process.clock_gettime(Process::CLOCK_MONOTONIC) - begun) / count * 1e6
      end
      Coopdl.timeout(10) {}
      p cost(50_000) { Coopdl.timeout(10) {} }, cost(2_000) { Timeout.timeout(10) {} }
    PROGRAM
    ours, stdlib = output.lines.map(&:to_f)
    note format("timeout(10) {}: Coopdl %.2f us, stdlib %.2f us", ours, stdlib)
    assert_operator ours * 10, :<, stdlib
  end
end

Tap.run
