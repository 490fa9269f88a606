# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# late.rb ROUNDS: prints how many ns after its deadline each kind of work was ended, by a scope and
# by turns by Timeout, as JSON: {what: [peer, [ns], [ns]]}.
require 'json'
require 'socket'
require 'timeout'
require 'coopdl'
begin
  require 'typhoeus'
rescue LoadError
  nil
end

DELAY = 0.01
ROUNDS = Integer(ARGV.first)

def now
  Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)
end

def lateness(scope, work)
  deadline = now + (DELAY * 1_000_000_000).to_i
  begin
    scope.timeout(DELAY) { work.call }
  rescue Timeout::Error
    return now - deadline
  end
  abort "#{scope} has not ended #{work}"
end

# It takes connections and says nothing.
silent = TCPServer.new('127.0.0.1', 0)
address = "http://127.0.0.1:#{silent.addr[1]}/"

works = {
  'loop' => -> { loop { nil } },
  'regex' => -> { /\A(a+)+\1?\z/.match("#{'a' * 40}!") },
  'Queue#pop' => -> { Queue.new.pop }
}
results = works.transform_values do |work|
  pairs = Array.new(ROUNDS) { [lateness(Coopdl, work), lateness(Timeout, work)] }
  ['Timeout', *pairs.transpose]
end
results['Typhoeus.get'] =
  if defined?(Typhoeus)
    get = -> { Typhoeus.get(address) }
    ['Timeout never ends it', Array.new(ROUNDS) { lateness(Coopdl, get) }, []]
  else
    ['-', 'no typhoeus', []]
  end
puts JSON.dump(results)
