# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# coopdl/propagate.rb -- what is left of a deadline, carried to other processes and machines in a
# header; the same as Python's coopdl.propagate.
#
#     Net::HTTP.get(uri, Coopdl::Propagate.headers)                         # there
#     Coopdl::Propagate.from_headers(headers) { answer }                    # and here
#
# A duration travels and no time of day, as clocks differ. So what the way itself takes is known to
# nobody; the sender takes HOP off for it, and rounds down.
#
# What must hold: nothing is added on the way; what a header says can only shorten; a header that
# says nothing understandable is an error, and never no limit.

require "coopdl"

module Coopdl
  module Propagate
    HEADER = "X-Deadline-Remaining-Ms"
    GRPC = "grpc-timeout" # at most eight digits and a unit
    HOP = 0.01 # seconds
    UNITS = { "n" => 1e-9, "u" => 1e-6, "m" => 1e-3, "S" => 1.0, "M" => 60.0, "H" => 3600.0 }.freeze
    DIGITS = 8
    ACCEPTED = { true => "up to 8 digits and one of the units H M S m u n",
                 false => "a number of milliseconds" }.freeze
    private_constant :UNITS, :DIGITS, :ACCEPTED

    module_function

    # What is left to the calling thread, less what the way takes; empty if it has no deadline.
    def headers(header = HEADER, hop: HOP)
      left = Coopdl.remaining
      left ? { header => text([left - hop, 0].max, header) } : {}
    end

    # A duration as that header has it, rounded down.
    def text(seconds, header = HEADER)
      return (seconds * 1000).floor.to_s unless header.casecmp?(GRPC)

      UNITS.each do |unit, size|
        number = (seconds / size).floor
        return "#{number}#{unit}" if number < 10**DIGITS
      end
      "#{"9" * DIGITS}H"
    end

    # The reverse.
    def seconds(text, header = HEADER)
      grpc = header.casecmp?(GRPC)
      if grpc && (found = /\A(\d{1,8})([HMSmun])\z/.match(text))
        found[1].to_i * UNITS[found[2]]
      elsif !grpc && /\A\d{1,15}(\.\d{1,9})?\z/.match?(text)
        text.to_f / 1000
      else
        raise ArgumentError, "invalid header #{header}: #{text[0, 40].inspect}; accepted is #{ACCEPTED[grpc]}"
      end
    end

    # The seconds that a header says, or nil where there is none. The names may have any case, and
    # be those of Rack.
    def left(headers, header = HEADER)
      names = [header.downcase, "http_#{header.downcase.tr("-", "_")}"]
      headers.filter_map { |name, value| seconds(value.to_s, header) if names.include?(name.to_s.downcase) }.min
    end

    # Runs the block with the deadline that a header says, and in any case with `at_most` seconds.
    def from_headers(headers, header = HEADER, at_most: nil, grace: 5.0, &block)
      Coopdl.timeout([left(headers, header), at_most].compact.min, grace: grace, &block)
    end
  end
end
