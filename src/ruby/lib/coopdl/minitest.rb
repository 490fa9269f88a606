# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# coopdl/minitest.rb -- a deadline for each test. docs/minitest.md says how it is used.
#
#     require "coopdl/minitest"
#     Minitest::Test.deadline = 10
#
# What must hold: a late test fails with the place where it was stuck; each of its teardowns is run,
# with a deadline of its own.

require "coopdl"
require "minitest"
require "minitest/test"

module Coopdl
  module Minitest
    # Seconds, for the tests of this class and of those below it; nil: no limit.
    module Deadline
      attr_writer :deadline

      def deadline
        return @deadline if defined?(@deadline)

        superclass.deadline if superclass.respond_to?(:deadline)
      end
    end

    # minitest calls it for set-up and test together, and for each teardown.
    module Limited
      def capture_exceptions
        super { Coopdl.timeout(self.class.deadline) { yield } }
      end
    end
    private_constant :Deadline, :Limited

    ::Minitest::Test.extend(Deadline)
    ::Minitest::Test.prepend(Limited)
  end
end
