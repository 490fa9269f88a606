# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# coopdl/rack.rb -- Rack middleware: a deadline for each request. docs/rack.md says how it is used.
#
#     use Coopdl::Rack, service_timeout: 15
#
# What must hold:
# 1. The application is called inside one deadline. Its body is not made there, as with rack-timeout:
#    the server's sending to a slow client would be inside too.
# 2. A Timeout::Error of a limit of the application's own is the application's.
# 3. The answer to who is late says one line, and what it was stuck in goes to rack.errors.

require "coopdl"
require "coopdl/propagate"

module Coopdl
  # The names, defaults and variables of rack-timeout.
  class Rack
    DEFAULTS = { service_timeout: 15, wait_timeout: 30, wait_overtime: 60, term_on_timeout: false }.freeze
    START = /\A(?:t=)?(\d+)(?:\.(\d{3}))?\z/ # of a router: ms, or s with three digits behind the point
    private_constant :DEFAULTS, :START

    # header: that in which a client says what is left to it, which can only shorten; nil: nobody is
    # asked.
    def initialize(app, service_past_wait: nil, header: Propagate::HEADER, grace: 5.0, **timeouts)
      unknown = timeouts.keys - DEFAULTS.keys
      raise ArgumentError, "unknown: #{unknown.join(", ")}; accepted are #{DEFAULTS.keys.join(", ")}, " \
                           "service_past_wait, header, grace" unless unknown.empty?

      @app, @header, @grace = app, header, grace
      @timeouts = DEFAULTS.to_h { |name, default| [name, setting(name, timeouts[name], default)] }
      past = ENV.fetch("RACK_TIMEOUT_SERVICE_PAST_WAIT", "false") != "false"
      @service_past_wait = service_past_wait.nil? ? past : service_past_wait
      @late = 0
      @lock = Mutex.new
    end

    def call(env)
      limits = limits(env)
      return answer(503, "the request is older than #{limits[:wait].round(3)} s") if limits[:left]&.<=(0)

      limit = limits.values_at(:service, :left, :client).compact.min
      limit ? limited(env, limit) : @app.call(env)
    rescue InvalidHeader => e
      answer(400, e.message)
    end

    private

    # What a client sent; an ArgumentError of the application's is none.
    InvalidHeader = Class.new(ArgumentError)
    private_constant :InvalidHeader

    # A number of seconds that is more than 0; false and 0: none.
    def setting(name, given, default)
      given = ENV.fetch("RACK_TIMEOUT_#{name.upcase}", default) if given.nil?
      given = Float(given) if given.is_a?(String)
      return if given == false || given == 0
      return given if given.is_a?(Numeric) && given > 0

      raise ArgumentError, "#{name}: #{given.inspect}; accepted are false, zero and positive numbers"
    end

    def limits(env)
      waited = waited(env)
      wait = @timeouts[:wait_timeout]
      wait += @timeouts[:wait_overtime] || 0 if wait && body?(env)
      left = wait - waited if wait && waited
      # Who may take as long as it likes is only refused.
      left = nil if left&.positive? && (@service_past_wait || !@timeouts[:service_timeout])
      { wait: wait, left: left, service: @timeouts[:service_timeout], client: client(env) }
    end

    def client(env)
      @header && Propagate.left(env.slice("HTTP_#{@header.upcase.tr("-", "_")}"), @header)
    rescue ArgumentError => e
      raise InvalidHeader, e.message
    end

    # Since when the router has had it, by its clock.
    def waited(env)
      found = START.match(env["HTTP_X_REQUEST_START"].to_s) or return
      [Time.now.to_f - (found[1] + (found[2] || "")).to_i / 1000.0, 0].max
    end

    def body?(env)
      env["HTTP_TRANSFER_ENCODING"] == "chunked" || env["CONTENT_LENGTH"].to_i > 0
    end

    def limited(env, limit)
      scope = nil
      Coopdl.timeout(limit, grace: @grace) do
        scope = Coopdl.scope
        @app.call(env)
      end
    rescue Timeout::Error => e
      raise unless scope.nil? || scope.expired?

      text = "the deadline of #{limit.round(3)} s was exceeded"
      env["rack.errors"].puts "coopdl: #{env["REQUEST_METHOD"]} #{env["PATH_INFO"]}: #{text}, " \
                              "in #{e.coopdl&.place || "an unknown place"}"
      count
      answer(504, text)
    end

    def count
      late = @lock.synchronize { @late += 1 }
      Process.kill(:TERM, Process.pid) if late == @timeouts[:term_on_timeout]
    end

    def answer(status, text)
      [status, { "content-type" => "text/plain; charset=utf-8" }, ["#{text}\n"]]
    end
  end
end
