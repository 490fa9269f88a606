# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# minitest/coopdl_plugin.rb -- for `ruby test_it.rb --deadline=10`. Without that option it does nothing.
# minitest 5 finds it by its name, and minitest 6 is told by `Minitest.load :coopdl`.

module Minitest
  def self.plugin_coopdl_options(parser, options)
    parser.on("--deadline=SECONDS", Float, "How long each test may take, and each teardown.") do |seconds|
      options[:coopdl_deadline] = seconds
    end
  end

  def self.plugin_coopdl_init(options)
    return unless options[:coopdl_deadline]

    require "coopdl/minitest"
    Test.deadline = options[:coopdl_deadline]
  end
end
