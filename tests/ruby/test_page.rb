# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_page.rb -- the examples of docs/why-timeout-is-dangerous.md print what the page says, and what
# the gem's README names is there.

require_relative "support"

class Page < CoopdlTest
  PAGE = File.read(File.expand_path("../../docs/why-timeout-is-dangerous.md", __dir__))
  BLOCKS = PAGE.scan(/^```(ruby)?\n(.*?)^```$/m)
  EXAMPLES = BLOCKS.each_cons(2).filter_map { |(one, program), (two, output)| [program, output] if one && !two }

  EXAMPLES.each.with_index(1) do |(program, expected), number|
    define_method("test_example_#{number}") do
      output, = ruby(program)
      assert_equal expected, output
    end
  end

  NAMES = File.read(File.expand_path("../../src/ruby/README.md", __dir__))

  def test_the_names_are_there
    methods = NAMES.scan(/\bCoopdl\.([a-z_]+[?!]?)/).flatten.uniq
    refute_empty methods
    methods.each { |name| assert_respond_to Coopdl, name }
    NAMES.scan(/\bCoopdl::(\w+)/).flatten.uniq.each { |name| assert Coopdl.const_get(name) }
  end

  def test_all_are_found
    assert_equal 3, EXAMPLES.size
  end
end

Tap.run
