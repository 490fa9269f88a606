# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# coopdl/rspec.rb -- a deadline for each example. docs/minitest.md says how it is used.
#
#     RSpec.configure { |config| config.coopdl_deadline = 10 }
#     it "answers", deadline: 2 do
#
# What must hold: a late example fails with the place where it was stuck; each of its hooks is run, with
# a deadline of its own. RSpec keeps what an example raises and goes on with its `after` hooks; so an
# `around` hook would have them inside the deadline that is over.

require "coopdl"
require "rspec/core"

module Coopdl
  module RSpec
    module Limited
      def run(...)
        body, example = @example_block, self
        @example_block &&= proc { |*arguments| example.coopdl_limit { instance_exec(*arguments, &body) } }
        super
      ensure
        @example_block = body
      end

      # RSpec's way to call hooks. Those around an example have its Procsy, which runs it.
      def instance_exec(*arguments, &block)
        return super if arguments.first.is_a?(::RSpec::Core::Example::Procsy)

        coopdl_limit { super }
      end

      def coopdl_limit(&block)
        Coopdl.timeout(metadata.fetch(:deadline) { ::RSpec.configuration.coopdl_deadline }, &block)
      end
    end
    private_constant :Limited

    ::RSpec.configuration.add_setting(:coopdl_deadline)
    ::RSpec::Core::Example.prepend(Limited)
  end
end
