# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# engines.rb -- programs that tests start and end (Puma, Sidekiq, Redis), the examples of docs/ that
# they run, and a server that never answers.

require "tmpdir"

module Engines
  DOCS = File.expand_path("../../docs", __dir__)
  TIMEOUT = CoopdlTest::LOADED ? 60 : 20

  # Takes connections, reads, and never answers; `open` is how many it has.
  class Silent
    def initialize
      @server = TCPServer.new("127.0.0.1", 0)
      @lock = Mutex.new
      @open = 0
      @accepts = Thread.new { loop { keep(@server.accept) } }
    end

    def open = @lock.synchronize { @open }

    def url = "http://127.0.0.1:#{@server.local_address.ip_port}/"

    def close
      @accepts.kill.join
      @server.close
    end

    private

    def keep(connection)
      count(1)
      Thread.new do
        loop { connection.readpartial(4096) }
      rescue SystemCallError, EOFError
        connection.close
        count(-1)
      end
    end

    def count(number) = @lock.synchronize { @open += number }
  end

  def setup
    super
    @started = []
    @directory = Dir.mktmpdir
    @silent = Silent.new
  end

  def teardown
    @started.reverse_each { |pid| kill(pid) }
    @silent.close
    FileUtils.remove_entry(@directory)
    super
  end

  def kill(pid)
    Process.kill(:KILL, pid)
    Process.wait(pid)
  rescue Errno::ECHILD, Errno::ESRCH
    nil # it has been waited for
  end

  def path(name) = File.join(@directory, name)

  # The files that the examples of a page say they are: their first lines are their names.
  def write_examples(page)
    text = File.read(File.join(DOCS, page))
    text.scan(/^```\w+\n(# (\S+\.\w+)\n.*?)^```$/m) { |example, name| File.write(path(name), example) }
  end

  # A file of the page, without the lines that `pattern` matches.
  def without(name, pattern)
    kept = File.readlines(path(name)).partition { |line| pattern.match?(line) }
    refute_empty kept[0]
    File.write(path(name), kept[1].join)
  end

  # Starts a program; what it says is in `log`.
  def start(*command, log: path("log"), **environment)
    pid = Process.spawn(environment.transform_keys(&:to_s), *command, chdir: @directory,
                        in: File::NULL, %i[out err] => log)
    @started << pid
    pid
  end

  # Runs a program to its end; what it says, and its status.
  def finish(*command, **environment)
    pid = start(*command, log: path("said"), **environment)
    until_true { Process.wait(pid, Process::WNOHANG) }
    [File.read(path("said")), $?.exitstatus]
  end

  def until_true
    give_up = now + TIMEOUT
    sleep 0.01 until (found = yield) || now > give_up
    assert found, "it does not become true: #{caller(1, 1).first}"
    found
  end

  # How many threads and how many sockets, pipes and files a process has.
  def holds(pid) = %w[task fd].map { |what| Dir.children("/proc/#{pid}/#{what}").size }
end
