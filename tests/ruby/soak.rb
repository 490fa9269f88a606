# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# soak.rb -- eight threads that are timed out all the time, in whatever they may be
# in: what must never happen is counted.
#
#     soak.rb [SECONDS] [--load N]
#
# For so long (15 by default), beside N busy processes and, with a load, two
# threads that compute. In TAP; each count that is not 0 fails:
#   early   a Timeout::Error before its deadline
#   stray   an exception of ours outside its block or in a clean-up, or another than was to come
#   lost    a block that ended LOST s behind its deadline, or without its error
#   locked  a lock that its block did not give back
#   hung    the process did not end when it was to

require "coopdl/timeout"
require "monitor"
require "socket"

$stdout.sync = true

# Each of the threads has the interpreter for 100 ms at a time, and under load takes longer to get it.
LOADED = ARGV.include?("--load")
LOST = LOADED ? 60.0 : 20.0
THREADS = 8
Own = Class.new(StandardError)
%w[typhoeus pg].each { |name| require name rescue LoadError }

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

def spin(seconds)
  until_then = now + seconds
  nil while now < until_then
end

class Soak
  attr_reader :counts, :rounds, :notes

  def initialize(seconds)
    @until = now + seconds
    @counts = %i[early stray lost locked].to_h { |name| [name, 0] }
    @rounds = Hash.new(0)
    @notes = []
    @record = Mutex.new
    @shared = Mutex.new
    @monitor = Monitor.new
    @silent = TCPServer.new("127.0.0.1", 0)
    @port = @silent.local_address.ip_port
  end

  def run
    threads = Array.new(THREADS) { Thread.new { round while now < @until } }
    threads.each do |thread|
      thread.join([@until + LOST - now, 0].max) || count(:lost, thread.backtrace&.join("\n"))
    end
  end

  private

  def count(name, why)
    Coopdl.shield do
      @record.synchronize do
        @counts[name] += 1
        @notes << "#{name}: #{why}" if @notes.size < 20
      end
    end
  end

  # What is rare costs most.
  RARE = %i[fork_a_child run_a_command collect library].freeze
  OFTEN = %i[wait compute pop lock signalled read fiber enumerator swallow clean_up inner_clean_up handle
             nested enter shielded given moved cancelled thrown].freeze

  def round
    kind = rand(100).zero? ? RARE.sample : OFTEN.sample
    limit = rand * 0.005
    begun = now
    ours = false
    begin
      Coopdl.timeout(limit, grace: LOST / 2) { send(kind) }
    rescue Timeout::Error => e
      ours = true
      count(:early, "#{kind} #{e.full_message(highlight: false)}") if now < begun + limit
    end
    count(:lost, kind) if now - begun > limit + LOST
    count(:lost, "#{kind} went on") if !ours && now - begun > limit + 1
    spin(rand * 0.0001)
    check_locks(kind)
    @rounds[kind] += 1
  rescue Exception => e
    count(:stray, "#{kind} #{e.full_message(highlight: false)}")
  end

  def check_locks(kind)
    mine = [@shared.owned?, @monitor.mon_owned?]
    return if mine.none?

    count(:locked, "#{kind} #{mine}")
    @shared.unlock if @shared.owned?
    @monitor.exit while @monitor.mon_owned?
  end

  def wait = sleep
  def compute = spin(rand * 0.01)
  def pop = Queue.new.pop
  def lock = loop { @shared.synchronize { spin(rand * 0.001) } }

  def signalled
    mutex = Mutex.new
    mutex.synchronize { ConditionVariable.new.wait(mutex) }
  end

  def read = IO.pipe { |reader, _| reader.read }
  def fiber = Fiber.new { Fiber.yield(1); sleep }.tap(&:resume).resume

  def enumerator
    endless = Enumerator.new { |yielder| loop { yielder << spin(0.0001) } }
    loop { endless.next }
  end

  def swallow
    sleep
  rescue Exception
    :swallowed
  end

  def clean_up
    sleep
  ensure
    say_good_bye
  end

  def inner_clean_up
    Coopdl.timeout(rand * 0.005) { clean_up }
  rescue Timeout::Error
    sleep # the inner one's
  end

  # In an ensure clause behind our exception, for less than the grace.
  def say_good_bye
    left_in_peace = false
    sleep 0.001
    spin 0.0005
    @shared.synchronize { spin 0.0001 }
    left_in_peace = true
  ensure
    count(:stray, "in a clean-up: #{$!&.full_message(highlight: false)}") unless left_in_peace
  end

  def handle
    raise IOError
  rescue IOError
    sleep
  end

  def nested
    Coopdl.timeout(rand * 0.005) { Coopdl.timeout(rand * 0.005) { sleep } }
  rescue Timeout::Error
    sleep # the inner ones'
  end

  def enter
    loop do
      @monitor.enter
      spin 0.00005
      @monitor.exit
    end
  end

  def shielded
    Coopdl.shield { spin(rand * 0.003) }
    sleep
  end

  def given
    Coopdl.timeout(rand * 0.003, Own) { sleep }
  rescue Own
    sleep
  end

  def moved
    Coopdl.move_on_after(rand * 0.003) { loop {} }
    sleep
  end

  def cancelled
    Coopdl.move_on_after(30) do |scope|
      Thread.new { scope.cancel }
      sleep
    end
    sleep
  end

  def thrown = catch(:out) { spin(rand * 0.005); throw :out }

  def fork_a_child
    child = Coopdl.shield { fork { exit!(0) } }
    sleep
  ensure
    Process.wait(child) if child
  end

  def run_a_command = system("sleep", "0.05", err: File::NULL)

  # With GC.stress all threads crawl until this one has its turn again: beside load, also of others
  # on the machine, for a minute; less so without major collections (1).
  def collect
    return GC.start if LOADED

    GC.stress = 1
    2.times { Object.new }
  ensure
    GC.stress = false
  end

  def library
    if defined?(PG) && rand(2).zero?
      PG.connect(host: "127.0.0.1", port: @port, user: "u")
    elsif defined?(Typhoeus)
      Typhoeus.get("http://127.0.0.1:#{@port}/")
    else
      sleep
    end
  end
end

# Until its parent is gone.
def busy
  parent = Process.pid
  fork { spin 0.1 while Process.ppid == parent }
end

# The soak itself, in a process of its own: its end is to be seen as well.
def child(seconds, load, report)
  $stderr.reopen(report)
  soak = Soak.new(seconds)
  computing = Array.new(load.zero? ? 0 : 2) { Thread.new { loop { spin 0.01; Thread.pass } } }
  soak.run
  computing.each(&:kill)
  Marshal.dump([soak.counts, soak.rounds.to_a, soak.notes], report)
  report.flush
end

load = ARGV.include?("--load") ? ARGV.delete_at(ARGV.index("--load") + 1).to_i : 0
ARGV.delete("--load")
seconds = (ARGV[0] || 15).to_f
others = Array.new(load) { busy } # before the pipe, whose end they would keep open
reader, writer = IO.pipe
soaked = fork do
  reader.close
  child(seconds, load, writer)
  exit # with threads that are still in scopes, perhaps
end
writer.close
begin
  ended = Thread.new { reader.read }
  output = ended.join(seconds + 4 * LOST) ? ended.value : nil
  hung = Thread.new { Process.wait(soaked) }.join(LOST).nil?
ensure
  [soaked, *others].each do |pid|
    Process.kill(:KILL, pid)
    Process.wait(pid)
  rescue Errno::ESRCH, Errno::ECHILD
    next
  end
end

start = output&.index("\x04\b".b)
counts, rounds, notes = start ? Marshal.load(output.byteslice(start..)) : [{ lost: 1 }, [], [output.inspect]]
counts[:hung] = hung ? 1 : 0
puts "1..#{counts.size}", "# #{seconds} s, load #{load}, #{rounds.sum { |_, count| count }} rounds"
notes.each { |note| note.each_line { |line| puts "# #{line.chomp}" } }
counts.each_with_index do |(name, count), index|
  puts "#{"not " unless count.zero?}ok #{index + 1} - #{name}: #{count}"
end
exit!(counts.values.all?(&:zero?) ? 0 : 1)
