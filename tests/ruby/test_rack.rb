# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_rack.rb -- deadlines in headers, the clients that send them, the middleware by itself, and the
# page's example under Puma.

require_relative "support"
require_relative "engines"
require "coopdl/rack"
require "net/http"
require "stringio"

class PropagateTest < CoopdlTest
  def test_what_is_written_and_read
    { 0 => "0", 0.0019 => "1", 1.5 => "1500" }.each do |seconds, text|
      assert_equal text, Coopdl::Propagate.text(seconds)
      assert_equal text.to_i / 1000.0, Coopdl::Propagate.seconds(text)
    end
    { 0 => "0n", 0.5 => "500000u", 200 => "200000m", 1e10 => "2777777H" }.each do |seconds, text|
      assert_equal text, Coopdl::Propagate.text(seconds, "grpc-timeout")
      assert_operator Coopdl::Propagate.seconds(text, "grpc-timeout"), :<=, seconds
    end
  end

  def test_what_is_wrong
    ["", "-1", "1s", "1e3", " 1", "1\n"].each do |text|
      error = assert_raises(ArgumentError) { Coopdl::Propagate.left({ Coopdl::Propagate::HEADER => text }) }
      assert_equal "invalid header X-Deadline-Remaining-Ms: #{text.inspect}; " \
                   "accepted is a number of milliseconds", error.message
    end
  end

  def test_there_and_back
    assert_empty Coopdl::Propagate.headers
    Coopdl.timeout(60) do
      sent = Coopdl::Propagate.headers(hop: 20)
      assert_operator Coopdl::Propagate.left(sent), :<=, 40
      assert_equal({ "X-Deadline-Remaining-Ms" => "0" }, Coopdl::Propagate.headers(hop: 61))
      Coopdl::Propagate.from_headers(sent) { assert_operator Coopdl.remaining, :<=, 40 }
    end
    rack = { "HTTP_X_DEADLINE_REMAINING_MS" => "50000" }
    Coopdl::Propagate.from_headers(rack, at_most: 10) { assert_operator Coopdl.remaining, :<=, 10 }
    Coopdl::Propagate.from_headers({}) { assert_nil Coopdl.remaining }
  end
end

class ClientTest < CoopdlTest
  # It answers a request with the header that came.
  def echo
    server = TCPServer.new("127.0.0.1", 0)
    answers = Thread.new do
      connection = server.accept
      head = connection.gets("\r\n\r\n")
      body = head[/^x-deadline-remaining-ms: (.*)\r$/i, 1].to_s
      connection.write("HTTP/1.1 200 OK\r\nContent-Length: #{body.size}\r\nConnection: close\r\n\r\n#{body}")
      connection.close
    end
    yield URI("http://127.0.0.1:#{server.local_address.ip_port}/")
  ensure
    answers.kill.join
    server.close
  end

  def assert_sent(&block)
    sent = echo { |uri| Coopdl.timeout(60) { block.call(uri) } }
    assert_includes 1..59_990, Integer(sent)
  end

  def test_net_http
    assert_sent { |uri| Net::HTTP.get(uri, Coopdl::Propagate.headers) }
  end

  def test_faraday
    begin
      require "faraday"
    rescue LoadError
      skip "no faraday"
    end
    assert_sent do |uri|
      Faraday.new.get(uri) { |request| request.headers.update(Coopdl::Propagate.headers) }.body
    end
  end
end

class MiddlewareTest < CoopdlTest
  LEFT = ->(_) { [200, {}, [Coopdl.remaining.inspect]] }

  def call(app = LEFT, env = {}, **options)
    @errors = StringIO.new
    status, _, body = Coopdl::Rack.new(app, **options)
                                  .call({ "REQUEST_METHOD" => "GET", "PATH_INFO" => "/it",
                                          "rack.errors" => @errors, **env })
    [status, body.join]
  end

  # What was left to the application.
  def left(env = {}, **options) = Float(call(LEFT, env, **options)[1])

  in_both("late") do
    begun = now
    assert_equal [504, "the deadline of 0.1 s was exceeded\n"], call(->(_) { sleep }, service_timeout: 0.1)
    assert_operator now - begun, :>=, 0.1
    assert_match(/\Acoopdl: GET \/it: the deadline of 0\.1 s was exceeded, in .*:\d+:in `sleep'\n\z/,
                 @errors.string)
    assert_nil Coopdl.deadline
  end

  def test_an_inner_limit_is_the_applications
    assert_raises(Timeout::Error) { call(->(_) { Coopdl.timeout(0.05) { sleep } }) }
    assert_raises(ArgumentError) { call(->(_) { raise ArgumentError }) }
  end

  def test_the_limits
    assert_in_delta 15, left, LATEST
    assert_in_delta 3, left(service_timeout: 3), LATEST
    assert_equal "nil", call(service_timeout: false)[1]
    assert_in_delta 2, left({ "HTTP_X_DEADLINE_REMAINING_MS" => "2000" }), LATEST
    assert_in_delta 15, left({ "HTTP_X_DEADLINE_REMAINING_MS" => "90000" }), LATEST
    assert_in_delta 15, left({ "HTTP_X_DEADLINE_REMAINING_MS" => "2000" }, header: nil), LATEST
  end

  def test_the_variables_of_rack_timeout
    ENV["RACK_TIMEOUT_SERVICE_TIMEOUT"] = "7"
    assert_in_delta 7, left, LATEST
    assert_in_delta 3, left(service_timeout: 3), LATEST
  ensure
    ENV.delete("RACK_TIMEOUT_SERVICE_TIMEOUT")
  end

  def test_what_has_waited
    since = ->(seconds) { { "HTTP_X_REQUEST_START" => format("t=%.3f", Time.now.to_f - seconds) } }
    assert_in_delta 10, left(since[20]), LATEST
    assert_in_delta 15, left(since[20], service_past_wait: true), LATEST
    assert_in_delta 15, left({ **since[20], "CONTENT_LENGTH" => "1" }), LATEST
    assert_equal [503, "the request is older than 30 s\n"], call(LEFT, since[40])
    assert_equal [503, "the request is older than 30 s\n"], call(LEFT, since[40], service_timeout: 0)
    assert_equal "nil", call(LEFT, since[20], service_timeout: 0)[1]
    assert_in_delta 15, left(since[40], wait_timeout: false), LATEST
  end

  def test_a_header_that_is_wrong
    status, text = call(LEFT, { "HTTP_X_DEADLINE_REMAINING_MS" => "soon" })
    assert_equal 400, status
    assert_includes text, 'invalid header X-Deadline-Remaining-Ms: "soon"; accepted is'
  end

  def test_what_is_wrong_is_said_at_once
    assert_raises(ArgumentError) { Coopdl::Rack.new(LEFT, service_timeout: -1) }
    assert_raises(ArgumentError) { Coopdl::Rack.new(LEFT, service_timeout: "soon") }
    error = assert_raises(ArgumentError) { Coopdl::Rack.new(LEFT, timeout: 1) }
    assert_includes error.message, "unknown: timeout; accepted are service_timeout,"
  end

  def test_term_on_timeout
    output, = ruby(<<~PROGRAM, "-rcoopdl/rack")
      trap(:TERM) { puts "TERM" }
      app = Coopdl::Rack.new(->(_) { sleep }, service_timeout: 0.05, term_on_timeout: 2)
      3.times { |number| puts number; app.call({ "rack.errors" => $stderr }) }
    PROGRAM
    assert_equal %w[0 1 TERM 2], output.lines(chomp: true).grep(/\A(\d|TERM)\z/)
  end
end

# Starts Puma.
module Pumas
  include Engines

  PUMA = "/usr/bin/puma"

  # Its pid and its port.
  def start_puma(file, threads, **options)
    port = TCPServer.open("127.0.0.1", 0) { |server| server.local_address.ip_port }
    pid = start(RbConfig.ruby, PUMA, "--threads", "#{threads}:#{threads}",
                "--bind", "tcp://127.0.0.1:#{port}", file, **options)
    until_true { TCPSocket.new("127.0.0.1", port).close || true rescue false }
    [pid, port]
  end
end

class PumaTest < CoopdlTest
  include Pumas

  WELL = ["200", "all is well\n"].freeze
  LATE = ["504", "the deadline of 1 s was exceeded\n"].freeze

  def setup
    super
    skip "no puma, or no typhoeus" unless File.exist?(PUMA) && Gem.try_activate("typhoeus.rb")
    write_examples("rack.md")
    # A handle of libcurl's that was in use closes its descriptors when it is collected.
    File.write(path("config.ru"), <<~RACKUP, mode: "a")
      map("/collect") { run ->(_) { [200, {}, [GC.start.inspect]] } }
    RACKUP
    @hangs = "/total?#{@silent.url}"
  end

  def puma(threads)
    @pid, @port = start_puma("config.ru", threads)
  end

  # Once, and not again as Net::HTTP does by itself.
  def get(path, headers = {})
    Net::HTTP.start("127.0.0.1", @port, read_timeout: TIMEOUT, max_retries: 0) do |http|
      answer = http.get(path, headers)
      [answer.code, answer.body]
    end
  end

  def get_all(paths, ...) = paths.map { |path| Thread.new { get(path, ...) } }.map(&:value)

  def late_in(milliseconds, count)
    Array.new(8) do
      Thread.new { Array.new(count) { get(@hangs, { "X-Deadline-Remaining-Ms" => milliseconds.to_s }) } }
    end.flat_map(&:value)
  end

  def quick
    begun = now
    50.times { get("/") }
    now - begun
  end

  # Of fifty ten hang. After them, and after a thousand more, Puma has what it had, and is as fast.
  # What is left of libcurl's last handle on the stack of a thread is not collected.
  def test_fifty_and_a_thousand
    puma(8)
    late_in(200, 2)
    (threads, descriptors), took = holds(@pid), quick
    paths = Array.new(50) { |number| number % 5 == 0 ? @hangs : "/" }
    get_all(paths).zip(paths) { |answer, path| assert_equal path == "/" ? WELL : LATE, answer }
    assert_equal [["504", "the deadline of 0.01 s was exceeded\n"]], late_in(10, 125).uniq
    until_true { @silent.open == 0 }
    assert_operator quick, :<, 5 * took + 1
    get("/collect")
    assert_operator holds(@pid)[0], :<=, threads
    assert_operator holds(@pid)[1], :<=, descriptors + 2 * 8
    assert_equal 10, File.read(path("log")).scan("coopdl: GET /total: the deadline of 1 s").size
  end

  # Two requests that hang, and no thread is left for the third.
  def test_without
    without("config.ru", /coopdl/i)
    puma(2)
    waiting = Array.new(2) { TCPSocket.new("127.0.0.1", @port) }
    waiting.each { |socket| socket.write("GET #{@hangs} HTTP/1.0\r\n\r\n") }
    until_true { @silent.open == 2 }
    third = TCPSocket.new("127.0.0.1", @port)
    third.write("GET / HTTP/1.0\r\n\r\n")
    assert_nil third.wait_readable(1.5)
  ensure
    [*waiting, third].compact.each(&:close)
  end
end

# The page's servers in a row. The way is given more time than it takes, so that a busy machine does not
# need longer.
class HopsTest < CoopdlTest
  include Pumas

  LIMIT = LOADED ? 20 : 5
  HOP = LIMIT / 5.0
  CLIENTS = {
    "net" => "Net::HTTP.get(URI(ENV[\"NEXT\"]), Coopdl::Propagate.headers)",
    "faraday" => "Faraday.get(ENV[\"NEXT\"], nil, Coopdl::Propagate.headers).body"
  }.freeze

  def setup
    super
    skip "no puma" unless File.exist?(PUMA)
    skip "no faraday" unless Gem.try_activate("faraday.rb")
    write_examples("rack.md")
  end

  # One that asks the next with this client; its URL.
  def hop(name, client, following = nil)
    text = File.read(path("hop.ru"))
    assert_includes text, CLIENTS["net"]
    text = text.sub(CLIENTS["net"], CLIENTS[client]).sub(".headers", ".headers(hop: #{HOP})")
    File.write(path("#{name}.ru"), "require \"#{client == "net" ? "net/http" : client}\"\n#{text}")
    _, port = start_puma("#{name}.ru", 2, log: path("#{name}.log"), **(following ? { NEXT: following } : {}))
    "http://127.0.0.1:#{port}/"
  end

  # What it has said of this.
  def said(name, what)
    Float(until_true { File.read(path("#{name}.log"))[/^#{what} (.+)$/, 1] })
  end

  def test_three
    names = %w[third second first]
    url = names.zip(%w[net net faraday]).reduce(nil) { |following, (name, client)| hop(name, client, following) }
    left, answer = nil
    Coopdl.timeout(LIMIT) do
      left = Coopdl.deadline
      answer = Net::HTTP.get_response(URI(url), Coopdl::Propagate.headers(hop: HOP))
    end
    assert_equal "200", answer.code # the last one's 504 came in time to who had asked it
    deadlines = names.map { |name| said(name, "deadline") }
    ended = names.map { |name| said(name, "ended") }
    assert_equal deadlines.sort, deadlines
    assert_operator deadlines.last, :<=, left
    assert_equal ended.sort, ended
    assert_operator ended.first, :>=, deadlines.first
    assert_operator ended.last, :<, left
  end

  # The last one works on, behind the deadline of who asked.
  def test_without_the_header
    url = hop("alone", "net")
    assert_raises(Timeout::Error) do
      Coopdl.timeout(1) { Net::HTTP.start("127.0.0.1", URI(url).port, max_retries: 0) { |http| http.get("/") } }
    end
    said("alone", "deadline")
    sleep 0.5
    refute_includes File.read(path("alone.log")), "ended"
  end
end

Tap.run
