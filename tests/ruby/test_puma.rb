# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_puma.rb -- requests that hang in libcurl, under puma: each is ended, and its
# thread answers the next one.

require_relative "support"
require "net/http"
require "tmpdir"

%w[puma typhoeus].each do |name|
  require name
rescue LoadError
  puts "1..1", "ok 1 - Puma # SKIP there is no #{name}"
  exit!
end

class UnderPuma < CoopdlTest
  LIMITS = <<~'RUBY'
    require "coopdl"
    require "socket"
    require "typhoeus"

    class Deadline
      def initialize(app, seconds)
        @app, @seconds = app, seconds
      end

      def call(env) = Coopdl.timeout(@seconds) { @app.call(env) }
    end

    # As rack-timeout does.
    class Raising < Deadline
      def call(env)
        thread = Thread.current
        other = Thread.new { sleep @seconds; thread.raise("raised by another") }
        @app.call(env)
      ensure
        other.kill
      end
    end
  RUBY

  HANGS = <<~'RUBY'
    silent = TCPServer.new("127.0.0.1", 0)
    run(lambda do |env|
      Typhoeus.get("http://127.0.0.1:#{silent.local_address.ip_port}/") if env["PATH_INFO"] == "/hang"
      [200, {}, ["all is well"]]
    end)
  RUBY

  # The port of a puma with two threads.
  def puma(*limits)
    Dir.mktmpdir do |directory|
      file = File.join(directory, "config.ru")
      File.write(file, [LIMITS, *limits, HANGS].join("\n"))
      IO.popen([RbConfig.ruby, "-S", "puma", "-b", "tcp://127.0.0.1:0", "-t", "2:2", "-e", "production",
                file], err: %i[child out]) do |output|
        port = Coopdl.timeout(60) do
          output.each_line.lazy.filter_map { |line| line[%r{http://127\.0\.0\.1:(\d+)}, 1] }.first
        end
        assert port, "puma has not started"
        yield port.to_i
      ensure
        Process.kill(:KILL, output.pid)
      end
    end
  end

  def get(port, path)
    Net::HTTP.start("127.0.0.1", port, read_timeout: 10 * LATEST, max_retries: 0) { |http| http.get(path) }
  end

  def assert_answers(port, limit)
    5.times do
      begun = now
      assert_equal "500", get(port, "/hang").code
      assert_operator now - begun, :>=, limit
    end
    assert_equal "all is well", get(port, "/").body
  end

  def test_a_request_that_hangs
    puma("use Deadline, 0.1") { |port| assert_answers(port, 0.1) }
  end

  def test_inside_a_limit_that_raises_from_another_thread
    puma("use Raising, 0.1", "use Deadline, 0.2") { |port| assert_answers(port, 0.2) }
  end
end

Tap.run
