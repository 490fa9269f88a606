# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# coopdl/check.rb -- `ruby -rcoopdl/check` prints whether a deadline will be kept by this
# Ruby, and exits: with 0 if it will, else with 1.
#
# A line for each thing, `ok` or `no`, under the same names as those of `coopdl --check`;
# the last is the verdict. What is said was tried in a child: this Ruby with the library
# preloaded, as the command would start it. `no` in another line may be no obstacle.
#
# What must hold: it ends in bounded time. Ruby's own reads go through the wrappers; what
# goes past them is libc's read by Fiddle, from libc's own handle, as Ruby's FFI does it.

require "coopdl"
require "etc"
require "open3"
require "rbconfig"

module Coopdl
  # The report. Nobody calls it: to require this file is to ask for it.
  class Check
    TIMEOUT = 30
    EINTR = Errno::EINTR::Errno
    ETIMEDOUT = Errno::ETIMEDOUT::Errno

    # The child. It reads an empty pipe inside a scope of the C API, without the gem, so that only
    # the library ends its reads. It calls libc's own read twice, past the wrappers, the first time
    # before the deadline; then the wrapped read. After that it tries the gem's own scopes.
    PROBE = <<~'RUBY'
      require "fiddle"
      require "io/nonblock"
      Signal.trap("SYS", "SYSTEM_DEFAULT") # as the gem's first timeout does
      here = Fiddle.dlopen(nil)
      function = lambda do |library, name, arguments, result|
        Fiddle::Function.new(library[name], arguments, result)
      end
      long, int, pointer = Fiddle::TYPE_LONG_LONG, Fiddle::TYPE_INT, Fiddle::TYPE_VOIDP
      preloaded = begin
        function.call(here, "coopdl_preloaded", [], int).call == 1
      rescue Fiddle::DLError
        false
      end
      puts "\npreloaded #{preloaded ? 1 : 0}"
      exit unless preloaded
      names = ["libc.so.6", "libc.musl-#{RbConfig::CONFIG["host_cpu"]}.so.1"]
      libc = names.lazy.filter_map { |name| Fiddle.dlopen(name) rescue nil }.first || here
      enter = function.call(here, "coopdl_enter", [pointer, long], int)
      leave = function.call(here, "coopdl_leave", [pointer], int)
      now = function.call(here, "coopdl_now", [], long)
      read = [libc, libc, here].map do |library|
        function.call(library, "read", [int, pointer, Fiddle::TYPE_SIZE_T], Fiddle::TYPE_SSIZE_T)
      end
      room = Fiddle::Pointer.malloc(8, Fiddle::RUBY_FREE)
      scope = Fiddle::Pointer.malloc(64, Fiddle::RUBY_FREE)
      ends = IO.pipe
      caught = -> { File.read("/proc/self/status")[/^SigCgt:\s+(\h+)/, 1].to_i(16) }
      ends[0].nonblock = false
      tried = lambda do |function|
        function.call(ends[0].fileno, room, 1).negative? ? Fiddle.last_error : 0
      end
      deadline = now.call + 50_000_000
      if enter.call(scope, deadline) == 0
        kicked = tried.call(read[0])
        late = now.call - deadline
        trapped, cut = tried.call(read[1]), tried.call(read[2])
        handlers = caught.call
        leave.call(scope)
        puts "kicked #{kicked}", "late #{late}", "trapped #{trapped}", "cut #{cut}",
             "caught #{handlers}"
        require "coopdl"
        begun = Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)
        begin
          Coopdl.timeout(0.05) { ends[0].read(1) }
        rescue Timeout::Error
          ended = Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)
          puts "raised #{ended - begun - 50_000_000}"
        end
      end
    RUBY

    def initialize
      @kept = @all_good = true
    end

    def say(good, name, text)
      puts format("%s  %-8s %s", good ? "ok" : "no", name, text)
      @all_good &&= good
      good
    end

    # What a deadline cannot be kept without.
    def need(good, name, text)
      @kept &&= say(good, name, text)
    end

    # The file that this process has loaded.
    def library
      File.foreach("/proc/self/maps").filter_map { |line| line[%r{\s(/.*/libcoopdl\.so\S*)$}, 1] }.first
    end

    # What the child has found, and what it has said on stderr.
    def probe
      kept = ENV.to_h.select { |name, _| !name.start_with?("COOPDL_") || name =~ /_(TRAP|SIGNAL)\z/ }
      others = ENV["LD_PRELOAD"].to_s.split(/[ :]+/) - [library]
      environment = kept.merge("LD_PRELOAD" => [library, *others].join(":"), "COOPDL_ERRNO" => "etimedout")
      environment.delete("RUBYOPT") # it may load the gem, or this file
      command = [RbConfig.ruby, *$LOAD_PATH.flat_map { |directory| ["-I", directory] }, "-e", PROBE]
      answer(environment, command)
    end

    def answer(environment, command)
      Open3.popen3(environment, *command, unsetenv_others: true) do |input, out, err, child|
        input.close
        # The child's output is a few lines, which the pipes have room for.
        unless child.join(TIMEOUT)
          Process.kill(:KILL, child.pid)
          return {}, "its call did not end at the deadline"
        end
        status = child.value
        why = status.signaled? ? "signal #{status.termsig} ended it" : err.read.lines.first.to_s.chomp
        return out.read.scan(/^(\w+) (-?\d+)$/).to_h { |name, value| [name, value.to_i] }, why
      end
    end

    # The kick's. Ruby has a handler for most signals, but for none of the realtime ones.
    def signal_of(found)
      chosen = ENV["COOPDL_SIGNAL"].to_s.delete_prefix("SIG")
      named = Signal.list[chosen] || (chosen.to_i if chosen.match?(/\A\d+\z/)) || Signal.list["URG"]
      (34..64).reverse_each.find { |n| found["caught"][n - 1] == 1 } ||
        (named if found["caught"][named - 1] == 1)
    end

    def status(name) = File.read("/proc/self/status")[/^#{name}:\s+(\h+)/, 1].to_s.to_i(16)

    def kick(found)
      late = format("%.1f ms", found["late"] / 1e6)
      number = signal_of(found)
      unless found["late"] >= 0 && [EINTR, ETIMEDOUT].include?(found["kicked"]) && number
        return need(false, "kick", "a call inside libc was not ended by a signal after the deadline (#{late})")
      end
      if status("SigIgn")[number - 1] == 1
        say(false, "kick", "signal #{number} is ignored by whoever started this; it ended a call all the same, " \
                           "#{late} after the deadline; COOPDL_SIGNAL chooses another")
      else
        say(true, "kick", "signal #{number} is free, and ended a call #{late} after its deadline")
      end
    end

    def filtered? = status("Seccomp") == 2

    def why_untrapped
      if ENV["COOPDL_TRAP"] == "0"
        "COOPDL_TRAP=0: unset it"
      elsif Etc.uname[:machine] != "x86_64"
        "there is none for this architecture"
      elsif filtered?
        "a filter of system calls may refuse it: have it allow prctl(PR_SET_SYSCALL_USER_DISPATCH)"
      else
        "the kernel has none (it takes Linux 5.11), or COOPDL_LOG=1 says why, for a program"
      end
    end

    def trap(found)
      if found["trapped"] == ETIMEDOUT
        say(true, "trap", "calls that go past the wrappers are cut too")
      else
        say(false, "trap", "#{why_untrapped}; meanwhile calls inside libc (getaddrinfo) get EINTR alone, and a " \
                           "loop that restarts them goes on")
      end
    end

    def seccomp(found)
      if !filtered?
        say(true, "seccomp", "no filter of system calls")
      elsif @kept && found["trapped"] == ETIMEDOUT
        say(true, "seccomp", "a filter of system calls, which refuses nothing that is needed")
      else
        say(false, "seccomp", "a filter of system calls: what says no above may be its doing")
      end
    end

    # What a child makes of a deadline.
    def deadline
      found, why = probe
      preloaded = found["preloaded"] == 1
      need(preloaded, "preload", preloaded ? "loaded into a child" : "this Ruby does not run with the library: #{why}")
      need(false, "cut", "no scope can be entered: #{why}") if preloaded && !found["cut"]
      calls(found) if found["cut"]
      seccomp(found)
      raised(found["raised"]) if found["cut"]
    end

    def calls(found)
      name = Errno.constants.find { |each| Errno.const_get(each)::Errno == found["cut"] } || "no error"
      need(found["cut"] == ETIMEDOUT, "cut", "a read that waited failed after the deadline, with #{name}")
      kick(found)
      trap(found)
    end

    def raised(late)
      if late && late >= 0
        say(true, "raise", format("Timeout::Error, %.1f ms after the deadline of a block", late / 1e6))
      else
        need(false, "raise", "no Timeout::Error came out of a block in time")
      end
    end

    # This process.
    def process
      if Coopdl.preloaded?
        say(true, "process", "libc's blocking calls go through the library here")
      else
        say(false, "process", "not preloaded here: loops that restart their calls go on; start with coopdl --ruby")
      end
      left = Coopdl.remaining
      say(true, "budget", left.nil? ? "none" : left.positive? ? format("%.3f s left", left) : "over")
    end

    def libc
      Etc.confstr(Etc::CS_GNU_LIBC_VERSION)
    rescue NameError, SystemCallError
      "unknown"
    end

    def machine
      system = Etc.uname
      say(true, "kernel", "#{system[:sysname]} #{system[:release]}")
      say(true, "machine", "#{system[:machine]}, #{[0].pack("J").bytesize * 8} bits")
      say(true, "libc", libc)
      say(true, "library", "#{library}, version #{Coopdl::VERSION}")
      gem = $LOADED_FEATURES.grep(%r{/coopdl\.rb\z}).first
      say(true, "ruby", "#{RbConfig.ruby}, Ruby #{RUBY_VERSION}, with #{gem}")
    end

    # The exit status.
    def run
      machine
      deadline
      process
      if @kept
        say(true, "deadline", "is kept by calls that fail and an exception" \
                              "#{"; what says no above is not in the way" unless @all_good}")
      else
        say(false, "deadline", "is not kept so: what says no above is in the way")
      end
      @kept ? 0 : 1
    end
  end
  private_constant :Check

  exit Check.new.run
end
