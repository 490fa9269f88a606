# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# behaviour.rb -- a block in whatever it may be in at its deadline: that it ends,
# in the main thread and in another, and how late.
#
# COOPDL_STRICT=1: 50 rounds, and the bounds of an idle machine.

require_relative "support"
require "coopdl/timeout"

class Behaviour < CoopdlTest
  STRICT = ENV["COOPDL_STRICT"] == "1"
  ROUNDS = STRICT ? 50 : LOADED ? 2 : 5
  LIMIT = 0.03

  # In ms. A thread that computes and is not made to hand over the GVL is 100 late.
  MEDIAN, WORST = STRICT ? [5, 50] : [50, LATEST * 1000]

  # Tests `name` in both kinds of thread.
  def self.ends(name, &body)
    in_both(name) { measure { instance_exec(&body) } }
  end

  # For what Debian may not have packaged.
  def self.library(name)
    require name
    true
  rescue LoadError
    define_method("test_#{name}") { skip "there is no #{name}" }
    false
  end

  # The body says by `bounded` what is to end; what is outside prepares it.
  def measure
    @late = []
    ROUNDS.times { yield }
    assert_equal ROUNDS, @late.size
    sorted = @late.sort.map { |late| (late * 1000).round(2) }
    median = sorted[sorted.size / 2]
    note "#{name.delete_prefix("test_")}: median #{median} ms late, worst #{sorted.last} ms"
    assert_operator median, :<, MEDIAN
    assert_operator sorted.last, :<, WORST
  end

  def bounded(&block)
    @late << assert_expires(LIMIT, &block)
  end
end
