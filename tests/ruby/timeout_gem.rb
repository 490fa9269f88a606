# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# timeout_gem.rb -- the tests of the gem `timeout` itself, on coopdl/timeout.
#
#     COOPDL_TIMEOUT_GEM=DIRECTORY timeout_gem.rb
#
# The directory is a source tree of ruby/timeout or of Ruby: it has
# test/test_timeout.rb, and core_assertions.rb in test/lib or tool/lib. They are
# skipped without one. In TAP. Each other failure than these is one:
#
#   cannot_convert_into_time_interval   up to 0.4.2 wants a TypeError, then an ArgumentError: ours
#   handle_interrupt_with_interrupt_mask_inheritance
#                                       wants the internal exception outside the block, since it is
#                                       raised there too late: here nothing is raised after the block

require "rbconfig"

$stdout.sync = true

OTHERS = %w[cannot_convert_into_time_interval handle_interrupt_with_interrupt_mask_inheritance].freeze
directory = ENV["COOPDL_TIMEOUT_GEM"]
unless directory
  puts "1..1", "ok 1 - the gem's own tests # SKIP COOPDL_TIMEOUT_GEM=DIRECTORY names no source of it"
  exit
end

paths = %w[test/lib tool/lib].flat_map { |name| ["-I", File.join(directory, name)] }
program = "Test::Unit::TestCase.include Test::Unit::CoreAssertions; load ARGV.shift"
output = IO.popen({ "RUBYOPT" => "-rcoopdl/timeout" },
                  [RbConfig.ruby, *paths, "-rtest/unit", "-rcore_assertions", "-e", program,
                   File.join(directory, "test/test_timeout.rb"), "--verbose"], err: %i[child out], &:read)
output.each_line { |line| puts "# #{line.chomp}" }
# As test-unit and Ruby's own minimal one name them, with their number before them or not.
failed = output.scan(/^\s*(?:\d+\) )?(?:Failure|Error):\s*(?:TestTimeout[#.])?test_(\w+)/).flatten
total = output[/^(\d+) tests/, 1].to_i
wrong = failed - OTHERS
good = total > 0 && wrong.empty? && ($?.success? || failed.any?)
puts "1..1", "#{"not " unless good}ok 1 - the gem's own tests: #{total}, failed: #{failed.sort.join(" ")}"
exit!(good ? 0 : 1)
