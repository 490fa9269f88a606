#!/usr/bin/env ruby
# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# fetch.rb -- fetches the URL that it is given, for at most 3 seconds.

require "timeout"
require "typhoeus"

def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

begun = now
begin
  Timeout.timeout(3) { Typhoeus.get(ARGV.fetch(0)) }
rescue Timeout::Error => e
  abort format("fetch.rb: %s: %s, after %.3f s", e.class, e.message, now - begun)
end
