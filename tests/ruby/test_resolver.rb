# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_resolver.rb -- looking names up when the name server never answers: in
# libc, past every wrapper, and in Ruby. It runs itself again in a world that has
# such a server (tests/trap/no_answer.c), where the system lets it.

require "rbconfig"

unless ENV["COOPDL_INSIDE"]
  no_answer = ENV.fetch("NO_ANSWER")
  system({ "COOPDL_INSIDE" => "1" }, no_answer, RbConfig.ruby, "-W", __FILE__, *ARGV)
  puts "1..1", "ok 1 - Resolver # SKIP #{no_answer} could not make it" if $?.exitstatus == 77
  exit! $?.exitstatus == 77 || $?.success?
end

require_relative "behaviour"
require "net/http"
require "resolv"

class Resolver < Behaviour
  NAME = "coopdl.test"

  ends("getaddrinfo") { bounded { Addrinfo.getaddrinfo(NAME, 80) } }
  ends("gethostbyname") { bounded { IPSocket.getaddress(NAME) } }
  ends("resolv") { bounded { Resolv::DNS.open { |dns| dns.getaddress(NAME) } } }
  ends("net_http") { bounded { Net::HTTP.get(NAME, "/") } }

  # libcurl joins its thread, which is in getaddrinfo: that inherits the deadline.  libcurl 8.23 joins
  # no thread, and curl_easy_cleanup waits by a condition variable until the look-up is over, for 20 s:
  # so no handle is freed here, as it would be in the body of whichever test the collector runs in.
  GC.disable
  if library("typhoeus")
    ends("typhoeus") { bounded { Typhoeus.get("http://#{NAME}/") } }
  end
end

Tap.run
