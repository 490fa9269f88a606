# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# scope.rb stdlib|VERSION ROUNDS: prints ns of one Coopdl.timeout(10) {} and of one
# Timeout.timeout(10) {} of the standard library or of that version of the gem, by turns, as JSON.
require 'json'

peer, rounds = ARGV
begin
  gem 'timeout', peer unless peer == 'stdlib'
rescue LoadError
  puts JSON.dump(peer: "the gem timeout #{peer}: not installed")
  exit
end
require 'timeout'
require 'coopdl'

def now
  Process.clock_gettime(Process::CLOCK_PROCESS_CPUTIME_ID, :nanosecond)
end

def coopdl(times)
  begun = now
  times.times { Coopdl.timeout(10) {} }
  (now - begun).fdiv(times)
end

def theirs(times)
  begun = now
  times.times { Timeout.timeout(10) {} }
  (now - begun).fdiv(times)
end

version = defined?(Timeout::VERSION) ? " #{Timeout::VERSION}" : ''
results = { name: "Timeout#{version}", coopdl: [], peer: [] }
coopdl(5000)
theirs(200)
rounds.to_i.times do
  results[:coopdl] << coopdl(5000)
  results[:peer] << theirs(200)
end
puts JSON.dump(results)
