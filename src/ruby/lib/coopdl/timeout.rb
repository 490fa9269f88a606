# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# coopdl/timeout.rb -- puts Timeout.timeout on Coopdl.timeout, for all that uses
# it: Net::HTTP, Resolv and the like.

require "coopdl"

# Ruby's own, on Coopdl.
module Timeout
  # What is raised inside the block, as the current gem `timeout` names it.
  ExitException = Coopdl::ExitException unless const_defined?(:ExitException, false)

  remove_const :State if const_defined?(:State, false)

  # Where the gem `timeout` keeps its thread: its own tests, and others, end that by this way.
  class State
    def self.instance
      @instance ||= new
      @instance.instance_variable_set(:@timeout_thread, Coopdl.send(:waiter))
      @instance
    end
  end
  private_constant :State

  singleton_class.send(:remove_method, :timeout)
  remove_method :timeout

  # (see Coopdl.timeout)
  def self.timeout(sec, klass = nil, message = nil, &block)
    Coopdl.timeout(sec, klass, message, &block)
  end

  # For classes that include Timeout.
  private def timeout(*args, &block)
    Timeout.timeout(*args, &block)
  end
end
