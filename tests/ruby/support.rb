# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# support.rb -- clocks, servers that never answer, and other Ruby processes.

require_relative "tap"
require "coopdl"
require "minitest/test"
require "open3"
require "rbconfig"
require "socket"

class CoopdlTest < Minitest::Test
  # Beside others that compute each thread waits for its turn, for seconds.
  LOADED = ENV["COOPDL_LOAD"].to_i > 0

  # How late an expiry may be: the machine is shared. What it was is printed.
  LATEST = LOADED ? 20.0 : 1.0

  # How often what may fail at some moments is tried.
  def self.rounds(idle) = LOADED ? [idle / 20, 20].max : idle

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end

  def note(text)
    puts "# #{text}"
  end

  def spin(seconds)
    until_then = now + seconds
    nil while now < until_then
  end

  # The block is to end by its limit with this exception; how late it did.
  def assert_expires(limit, klass = Timeout::Error, latest: LATEST, &block)
    begun = now
    error = assert_raises(klass) { Coopdl.timeout(limit, &block) }
    late = now - begun - limit
    assert_operator late, :>=, 0, "early: #{error.full_message}"
    assert_operator late, :<, latest
    late
  end

  # Defines a test for the main thread and one for another.
  def self.in_both(name, &body)
    define_method("test_#{name}_in_the_main_thread", &body)
    define_method("test_#{name}_in_another_thread") { in_thread { instance_exec(&body) } }
  end

  def in_thread(&block)
    thread = Thread.new(&block)
    thread.report_on_exception = false
    thread.value
  end

  # A port that takes connections (the kernel does) and never answers.
  def silent_server
    server = TCPServer.new("127.0.0.1", 0)
    yield server.local_address.ip_port
  ensure
    server&.close
  end

  # A port where connecting waits: its queue is full.
  def full_server
    server = Socket.new(:INET, :STREAM)
    server.bind(Addrinfo.tcp("127.0.0.1", 0))
    server.listen(0)
    address = server.local_address
    clients = Array.new(4) do
      Socket.new(:INET, :STREAM).tap { |client| client.connect_nonblock(address, exception: false) }
    end
    yield address
  ensure
    clients&.each(&:close)
    server&.close
  end

  # Runs a program in a Ruby of its own, bounded: its output, its status, and how long it took.
  def ruby(program, *options, environment: {}, seconds: LOADED ? 120 : 20)
    begun = now
    [*bounded_run(environment, RbConfig.ruby, *options, "-e", program, seconds: seconds), now - begun]
  end

  def bounded_run(*command, seconds:)
    output = +""
    status = nil
    Open3.popen2e(*command) do |input, both, child|
      input.close
      reader = Thread.new { output << both.read }
      output << "(killed after #{seconds} s)" unless child.join(seconds)
    ensure
      Process.kill(:KILL, child.pid) if child.alive?
      status = child.value
      reader.join
    end
    [output, status]
  end
end
