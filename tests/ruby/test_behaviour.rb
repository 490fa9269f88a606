# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_behaviour.rb -- what ends: computing, waiting in Ruby, in the system, in C
# libraries.

require_relative "behaviour"
require "net/http"
require "resolv"
require "tempfile"

class Ends < Behaviour
  ends("loop") { bounded { while true; end } }
  ends("big_numbers") { bounded { (1..200_000).reduce(:*) } }
  # With a reference to a group, which no Ruby memoises.
  ends("regex") { bounded { /\A(a+)+\1?\z/.match?("#{"a" * 40}!") } }
  ends("sleep") { bounded { sleep } }
  ends("sleep_with_a_time") { bounded { sleep 30 } }

  ends("socket_read") do
    silent_server { |port| TCPSocket.open("127.0.0.1", port) { |socket| bounded { socket.read } } }
  end
  ends("accept") do
    TCPServer.open("127.0.0.1", 0) { |server| bounded { server.accept } }
  end
  ends("connect") do
    full_server { |address| bounded { address.connect } }
  end
  ends("select") do
    IO.pipe { |reader, _| bounded { IO.select([reader]) } }
  end
  ends("popen") do
    IO.popen(%w[cat], "r+") { |pipe| bounded { pipe.read } }
  end
  ends("gets_from_a_fifo") do
    Dir.mktmpdir do |directory|
      fifo = File.join(directory, "fifo")
      File.mkfifo(fifo)
      File.open(fifo, File::RDWR) { |file| bounded { file.gets } }
    end
  end
  # Any signal ends File.open with EINTR, such as that of a child of another test which has ended.
  ends("opening_a_fifo") do
    Dir.mktmpdir do |directory|
      File.mkfifo(fifo = File.join(directory, "fifo"))
      bounded do
        File.open(fifo)
      rescue Errno::EINTR
        retry
      end
    end
  end
  # A child that is being started at that very moment has no deadline: it ends by itself.
  ends("system") { bounded { system("sleep", "5", err: File::NULL) } }
  ends("backticks") { bounded { `sleep 5 2>/dev/null` } }
  ends("process_wait") do
    child = Process.spawn("sleep", "5")
    bounded { Process.wait(child) }
  ensure
    Process.kill(:KILL, child)
    Process.wait(child)
  end

  ends("queue") { bounded { Queue.new.pop } }
  ends("condition_variable") do
    mutex = Mutex.new
    bounded { mutex.synchronize { ConditionVariable.new.wait(mutex) } }
    refute_predicate mutex, :locked?
  end
  ends("mutex") do
    mutex = Mutex.new
    held = Queue.new
    holder = Thread.new { mutex.synchronize { held << 1; sleep } }
    held.pop
    bounded { mutex.lock }
    refute_predicate mutex, :owned?
  ensure
    holder.kill.join
  end
  ends("join") do
    thread = Thread.new { sleep }
    bounded { thread.join }
  ensure
    thread.kill.join
  end
  ends("flock") do
    Tempfile.create do |file|
      file.flock(File::LOCK_EX)
      File.open(file.path) { |other| bounded { other.flock(File::LOCK_EX) } }
    end
  end

  ends("net_http") do
    silent_server { |port| bounded { Net::HTTP.get("127.0.0.1", "/", port) } }
  end
  ends("resolv") do
    UDPSocket.open do |silent|
      silent.bind("127.0.0.1", 0)
      port = silent.local_address.ip_port
      dns = Resolv::DNS.new(nameserver_port: [["127.0.0.1", port]], search: [], ndots: 1)
      bounded { dns.getaddress("coopdl.test") }
      dns.close
    end
  end

  if library("typhoeus")
    ends("typhoeus") do
      silent_server { |port| bounded { Typhoeus.get("http://127.0.0.1:#{port}/") } }
    end
    # As rack-timeout does: what another thread has raised comes when the call has been cut.
    in_both("thread_raise_of_another") do
      silent_server do |port|
        begun = now
        raised_in = Thread.current
        Thread.new { sleep 0.02; raised_in.raise(IOError, "another's") }
        error = assert_raises(Timeout::Error, IOError) do
          Coopdl.timeout(0.2) { Typhoeus.get("http://127.0.0.1:#{port}/") }
        end
        assert_equal "another's", [error, error.cause].grep(IOError).first&.message
        assert_operator now - begun, :>=, 0.2
        assert_operator now - begun, :<, 0.2 + LATEST
        sleep 0.05
      end
    end
    ends("typhoeus_hydra") do
      silent_server do |port|
        hydra = Typhoeus::Hydra.new
        3.times { hydra.queue(Typhoeus::Request.new("http://127.0.0.1:#{port}/")) }
        bounded { hydra.run }
      end
    end
  end
  if library("pg")
    ends("pg") do
      silent_server { |port| bounded { PG.connect(host: "127.0.0.1", port: port, user: "u") } }
    end
  end
  # Debian's mysql2 0.5.3 crashes when a client is freed that was interrupted before it was set up:
  # what is timed begins after that.
  if library("mysql2")
    ends("mysql2") do
      test = self
      client = Class.new(Mysql2::Client) do
        define_method(:connect) { |*arguments| test.bounded { super(*arguments) } }
      end
      silent_server { |port| client.new(host: "127.0.0.1", port: port).close }
    end
  end
  if library("redis")
    ends("redis") do
      silent_server do |port|
        bounded { Redis.new(host: "127.0.0.1", port: port, timeout: 60).ping }
      end
    end
  end
  if library("ffi")
    module Libc
      extend FFI::Library
      ffi_lib FFI::Library::LIBC
      attach_function :poll, %i[pointer int int], :int
      attach_function :released_poll, :poll, %i[pointer int int], :int, blocking: true
    end
    # As libcurl does: it goes on when it was interrupted, and not on any other error.
    ends("ffi") { bounded { nil while Libc.poll(nil, 0, -1) < 0 } }
    ends("ffi_blocking") { bounded { nil while Libc.released_poll(nil, 0, -1) < 0 } }
  end
end

Tap.run
