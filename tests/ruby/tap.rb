# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# tap.rb -- minitest as the other tests are run: it reports in TAP, and what a
# test says with `note` goes beside its result.
#
# COOPDL_LOAD=N: beside N busy processes and two threads that compute.

gem "minitest"
require "minitest"

module Tap
  class Reporter < Minitest::StatisticsReporter
    def record(result)
      super
      good = result.passed? || result.skipped?
      # No # between the two: in TAP a comment begins there, and the test's name would be lost.
      name = "#{result.klass}: #{result.name.delete_prefix("test_")}"
      puts "#{"not " unless good}ok #{count} - #{name}#{skip(result)}"
      puts format("# it took %.1f s", result.time) if result.time > 2
      comment(result.failure) unless good
    end

    def report
      super
      puts "1..#{count}"
    end

    private

    def skip(result)
      result.skipped? ? " # SKIP #{result.failure.message.lines.first.chomp}" : ""
    end

    def comment(failure)
      text = failure.message
      if failure.is_a?(Minitest::UnexpectedError)
        text = failure.error.full_message(highlight: false)
      end
      text.each_line { |line| puts "# #{line}" }
      puts "# #{failure.location}"
    end
  end

  # Busy processes, until this one is gone, and threads.
  def self.load(count)
    parent = Process.pid
    count.times { fork { 1_000_000.times { nil } while Process.ppid == parent } }
    2.times { Thread.new { loop { 10_000.times { nil } } } } if count > 0
  end

  # Runs the tests whose name matches the first argument, or all; the exit status
  # says whether they passed.
  def self.run
    $stdout.sync = true
    Minitest.seed = Random.new_seed & 0xffff
    puts "# seed #{Minitest.seed}"
    srand(Minitest.seed)
    reporter = Reporter.new($stdout, {})
    reporter.start
    load(ENV["COOPDL_LOAD"].to_i)
    only = ARGV[0] && "/#{ARGV[0]}/"
    if Minitest.respond_to?(:__run)
      Minitest.__run(reporter, only ? { filter: only } : {})
    else # minitest 6
      Minitest.run_all_suites(reporter, only ? { include: only } : {})
    end
    reporter.report
    exit!(reporter.passed? ? 0 : 1)
  end
end
