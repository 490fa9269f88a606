# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_check.rb -- ruby -rcoopdl/check: its lines, its exit status, and that it says what
# `coopdl --check` says.

require_relative "support"

class CheckTest < CoopdlTest
  CLEAN = { "LD_PRELOAD" => nil, "COOPDL_LIBRARY" => nil, "RUBYOPT" => nil }.freeze
  HERE = [RbConfig.ruby, "-W", "-rcoopdl/check"].freeze

  # The marks and the texts of its lines, by their names.
  def check(*command, status: 0, **variables)
    environment = CLEAN.merge(variables.to_h { |name, value| [name.to_s, value] })
    output, errors, ended = Open3.capture3(environment, *command)
    assert_equal status, ended.exitstatus, output + errors
    assert_empty errors
    lines = output.lines.map { |line| line.match(/\A(ok|no)  (\w+) +(.+)\n\z/) || flunk(line) }
    assert_equal ["deadline", status.zero? ? "ok" : "no"], [lines.last[2], lines.last[1]]
    assert_equal lines.any? { |line| line[1] == "no" }, lines.last[3].include?("what says no above is")
    lines.to_h { |line| [line[2], [line[1], line[3]]] }
  end

  # What both have a line for, they say the same of.
  def agree(*before, status: 0, **variables)
    ours = check(*before, *HERE, status: status, **variables)
    theirs = check(*before, ENV.fetch("COOPDL"), "--check", status: status, **variables)
    shared = theirs.keys & ours.keys - ["ruby"]
    assert_operator shared.size, :>=, 7, shared.inspect
    assert_equal(shared.to_h { |name| [name, theirs[name][0]] }, shared.to_h { |name| [name, ours[name][0]] })
    ours
  end

  def test_alone
    found = check(*HERE)
    assert_equal %w[kernel machine libc library ruby preload cut kick trap seccomp raise process budget deadline],
                 found.keys
    assert_includes found["library"][1], File.realpath(ENV.fetch("COOPDL_LIBRARY"))
    assert_match(/\Asignal 59 is free, and ended a call \d+\.\d ms after/, found["kick"][1])
    assert_match(/\ATimeout::Error, \d+\.\d ms after/, found["raise"][1])
    assert_equal %w[no ok], [found["process"][0], found["budget"][0]]
  end

  def test_with_all_in_place
    found = check(*HERE, LD_PRELOAD: ENV.fetch("COOPDL_LIBRARY"), COOPDL_BUDGET: "60", COOPDL_TRAP: "0")
    assert_equal "ok", found["process"][0]
    assert_match(/\A5\d\.\d{3} s left\z/, found["budget"][1])
    assert_match(/\ACOOPDL_TRAP=0/, found["trap"][1])
  end

  def test_agrees_with_the_command
    agree
    assert_equal "no", agree(COOPDL_TRAP: "0")["trap"][0]
    assert_match(/\Asignal 12 is free/, agree(COOPDL_SIGNAL: "USR2")["kick"][1])
  end

  def test_where_the_signal_is_taken
    skip "env cannot ignore signals here" unless system("env", "--ignore-signal=59", "true", err: File::NULL)
    assert_match(/\Asignal 59 is ignored/, agree("env", "--ignore-signal=59")["kick"][1])
    # Ruby unblocks all signals as it starts.
    assert_match(/\Asignal 59 is free/, check("env", "--block-signal=59", *HERE)["kick"][1])
  end
end

Tap.run
