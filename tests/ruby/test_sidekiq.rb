# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_sidekiq.rb -- the page's example under Sidekiq, with a Redis server that this starts; and
# ActiveJob.

require_relative "support"
require_relative "engines"
require "coopdl/sidekiq"
require "fileutils"

class SidekiqTest < CoopdlTest
  include Engines

  REDIS = "/usr/bin/redis-server"
  SIDEKIQ = "/usr/bin/sidekiq"
  THREADS = 4

  # One for all tests: Sidekiq 7 keeps to the first that it is told.
  SOCKET = File.join(Dir.tmpdir, "coopdl-redis-#{Process.pid}")

  # Beside the page's: what it does is seen in Redis.
  JOBS = <<~'RUBY'
    class Say
      include Sidekiq::Worker

      def perform(text = Coopdl.remaining.inspect) = Sidekiq.redis { |redis| redis.rpush("said", text) }
    end

    # A handle of libcurl's closes its descriptors when it is collected.
    class Collect
      include Sidekiq::Worker

      def perform = Sidekiq.redis { |redis| redis.rpush("said", GC.start.inspect) }
    end

    class Ask
      include Sidekiq::Worker

      # What is sent, from a job with a deadline.
      def perform
        Say.set(deadline_travels: true).perform_async
        Say.perform_async
        Say.set(deadline_travels: true).perform_in(0.01)
      end
    end
  RUBY

  def setup
    super
    skip "no redis-server, no sidekiq, or no typhoeus" unless
      File.exist?(REDIS) && File.exist?(SIDEKIQ) && Gem.try_activate("typhoeus.rb")
    require "sidekiq"
    require "sidekiq/api"
    Redis.silence_deprecations = true if defined?(Redis) # up to Sidekiq 6
    start_redis
    write_examples("sidekiq.md")
  end

  def teardown
    super
    FileUtils.rm_f(SOCKET)
  end

  def start_redis
    socket = SOCKET
    FileUtils.rm_f(socket)
    start(REDIS, "--port", "0", "--unixsocket", socket, "--save", "", log: path("redis.log"))
    until_true { UNIXSocket.new(socket).close || true rescue false }
    @url = "unix://#{socket}"
    Sidekiq.configure_client { |client| client.redis = { url: @url, size: 1 } }
  end

  def sidekiq(threads)
    File.write(path("jobs.rb"), JOBS, mode: "a")
    @pid = start(RbConfig.ruby, SIDEKIQ, "-r", "./jobs.rb", "-c", threads.to_s, REDIS_URL: @url)
  end

  # Jobs by the names of their classes, which are in the other process only.
  def push(name, *args, **options)
    Sidekiq::Client.push({ "class" => name, "args" => args, **options.transform_keys(&:to_s) })
  end

  def said(count)
    until_true { Sidekiq.redis { |redis| redis.llen("said") } >= count }
    Sidekiq.redis { |redis| redis.lpop("said", count) }
  end

  # How long jobs of no work take; none hangs then.
  def quick
    begun = now
    50.times { |number| push("Say", number) }
    said(50)
    now - begun
  end

  def test_under_sidekiq
    sidekiq(THREADS)
    ten_of_fifty
    a_thousand
    what_travels
    assert_nil Process.wait(@pid, Process::WNOHANG)
  end

  # Ten hang, and are to be tried again; the other forty are done.
  def ten_of_fifty
    50.times do |number|
      number % 5 == 0 ? push("Total", @silent.url, deadline: 0.3, retry: 3) : push("Say", number)
    end
    assert_equal 40, said(40).uniq.size
    retries = until_true { Sidekiq::RetrySet.new.to_a.then { |jobs| jobs if jobs.size == 10 } }
    assert_equal [["Total", "Timeout::Error"]], retries.map { |job| job.item.values_at("class", "error_class") }.uniq
  end

  # Then Sidekiq has what it had, and is as fast. What is left of libcurl's last handle on the stack of
  # a thread is not collected.
  def a_thousand
    took = quick
    collect
    threads, descriptors = holds(@pid)
    1000.times { push("Total", @silent.url, deadline: 0.01, retry: false) }
    until_true { Sidekiq::Queue.new.size == 0 && @silent.open == 0 }
    assert_operator quick, :<, 5 * took + 1
    until_true { holds(@pid)[0] <= threads }
    until_true do
      collect
      holds(@pid)[1] <= descriptors + 2 * THREADS
    end
  end

  def collect
    push("Collect")
    said(1)
  end

  # What is left to who sends a job, if the job asks for it; with none left it is not begun.
  def what_travels
    push("Ask", deadline: 20)
    rest = said(3).map { |text| Float(text) }.sort
    assert_operator rest[0], :<=, 20
    assert_operator rest[1], :>, 20
    assert_operator rest[2], :<=, 300
    push("Say", coopdl_deadline: Coopdl::Sidekiq.clock(Sidekiq.redis_pool) - 1)
    until_true { File.read(path("log")).include?("coopdl: not begun: its deadline was over") }
    assert_equal 0, Sidekiq.redis { |redis| redis.llen("said") }
  end

  # Two jobs hang, and no thread is left for the third.
  def test_without
    without("jobs.rb", /coopdl/i)
    sidekiq(2)
    2.times { push("Total", @silent.url) }
    until_true { @silent.open == 2 }
    push("Say", "third")
    sleep 1.5
    assert_equal 0, Sidekiq.redis { |redis| redis.llen("said") }
    assert_equal 2, @silent.open
  end
end

class ConcurrentRubyTest < CoopdlTest
  # As the page has it: the thread of a pool that works for a block ends when the block does.
  def test_a_future
    begin
      require "concurrent"
    rescue LoadError
      skip "no concurrent-ruby"
    end
    future = nil
    assert_expires(0.2) do
      left = Coopdl.remaining
      future = Concurrent::Promises.future { Coopdl.timeout(left) { sleep } }
      future.value!
    end
    assert_kind_of Timeout::Error, future.reason(LATEST)
  end
end

class ActiveJobTest < CoopdlTest
  def setup
    require "active_job"
    require "coopdl/active_job"
    ActiveJob::Base.logger = nil
  rescue LoadError
    skip "no activejob"
  end

  def job_class(&perform)
    Class.new(ActiveJob::Base) do
      include Coopdl::ActiveJob
      define_method(:perform, &perform)
    end
  end

  in_both("late") do
    late = job_class { sleep }
    late.deadline 0.1
    begun = now
    assert_raises(Timeout::Error) { late.perform_now }
    assert_operator now - begun, :>=, 0.1
    assert_operator now - begun, :<, 0.1 + LATEST
    assert_nil Coopdl.deadline
  end

  def test_what_a_class_says
    rest = job_class { Coopdl.remaining }
    assert_nil rest.new.perform_now
    rest.deadline 60
    assert_in_delta 60, rest.new.perform_now, LATEST
    assert_in_delta 60, Class.new(rest).new.perform_now, LATEST
  end

  def test_discard_on
    late = job_class { sleep }
    late.deadline 0.05
    late.discard_on(Timeout::Error) { |_, error| @discarded = error }
    late.perform_now
    assert_kind_of Timeout::Error, @discarded
  end
end

Tap.run
