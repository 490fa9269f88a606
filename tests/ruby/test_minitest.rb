# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_minitest.rb -- the examples of docs/minitest.md under minitest and RSpec.

require_relative "support"
require_relative "engines"

class MinitestTest < CoopdlTest
  include Engines

  def setup
    super
    skip "no typhoeus" unless Gem.try_activate("typhoeus.rb")
    write_examples("minitest.md")
  end

  def run_example(...)
    begun = now
    said, status = finish(RbConfig.ruby, ...)
    [said, status, now - begun]
  end

  def test_the_option
    said, status, took = run_example("test_orders.rb", "--deadline=1")
    assert_equal 1, status
    assert_operator took, :>=, 1
    assert_match(/^OrdersTest#test_total:\nTimeout::Error: /, said)
    assert_match(/test_orders\.rb:14:in `test_total'/, said)
    assert_match(/^2 runs, 1 assertions, 0 failures, 1 errors, 0 skips$/, said)
    assert_equal 2, said.scan("the server is closed").size
  end

  def test_without
    pid = start(RbConfig.ruby, "test_orders.rb")
    until_true { File.read("/proc/#{pid}/maps").include?("libcurl") }
    sleep 1.5
    assert_nil Process.wait(pid, Process::WNOHANG)
  end

  # Of classes, and of teardowns, which are all run.
  def test_the_limits
    File.write(path("limits.rb"), <<~'RUBY')
      require "coopdl/minitest"
      require "minitest/autorun"

      Minitest::Test.deadline = 60

      class Each < Minitest::Test
        self.deadline = 0.3

        def setup = sleep(0.2)

        def test_it
          sleep
        end

        def before_teardown = sleep

        def teardown = puts("left #{Coopdl.remaining}")
      end

      class Below < Each
        self.deadline = nil

        def test_it = puts("none #{Coopdl.remaining.inspect}")
        def before_teardown = nil
      end

      class Other < Minitest::Test
        def test_it = puts("other #{Coopdl.remaining}")
      end
    RUBY
    said, = run_example("limits.rb")
    assert_equal 2, said.scan("Timeout::Error").size, said
    assert_includes 0.0..0.3, Float(said[/left ([\d.]+)/, 1])
    assert_includes said, "none nil"
    assert_includes 1.0..60.0, Float(said[/other ([\d.]+)/, 1])
    assert_match(/^3 runs, 0 assertions, 0 failures, [12] errors/, said)
  end
end

class RSpecTest < CoopdlTest
  include Engines

  RSPEC = "/usr/bin/rspec"

  def setup
    super
    skip "no rspec, or no typhoeus" unless File.exist?(RSPEC) && Gem.try_activate("typhoeus.rb")
    write_examples("minitest.md")
  end

  def test_the_page
    begun = now
    said, status = finish(RbConfig.ruby, RSPEC, "orders_spec.rb")
    assert_equal 1, status
    assert_operator now - begun, :>=, 1
    assert_match(/1\) Orders has a total\n.*\n\s+Timeout::Error:\n/, said)
    assert_match(/orders_spec\.rb:12:in `block/, said)
    assert_match(/^2 examples, 1 failure$/, said)
    assert_equal 2, said.scan("the server is closed").size
  end

  # Of groups, and of hooks, which are all run.
  def test_the_limits
    File.write(path("limits_spec.rb"), <<~'RUBY')
      require "coopdl/rspec"

      RSpec.configure { |config| config.coopdl_deadline = 60 }

      RSpec.describe "Each", deadline: 0.3 do
        around { |example| puts "around #{Coopdl.remaining.inspect}"; example.run }
        before { sleep 0.2 }
        after { puts "left #{Coopdl.remaining}" }
        after { sleep }

        it("sleeps") { sleep 0.2 }
      end

      RSpec.describe "Other" do
        it("has the one for all") { puts "other #{Coopdl.remaining}" }
        it("has none", deadline: nil) { puts "none #{Coopdl.remaining.inspect}" }
      end
    RUBY
    said, = finish(RbConfig.ruby, RSPEC, "limits_spec.rb")
    assert_match(/^3 examples, 1 failure$/, said)
    assert_includes said, "around nil"
    assert_includes 0.0..0.3, Float(said[/left ([\d.]+)/, 1])
    assert_includes 1.0..60.0, Float(said[/other ([\d.]+)/, 1])
    assert_includes said, "none nil"
  end
end

Tap.run
