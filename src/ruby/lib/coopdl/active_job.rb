# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# coopdl/active_job.rb -- ActiveJob: a deadline for each job of a class, whatever runs it.
#
#     class ReportJob < ApplicationJob
#       include Coopdl::ActiveJob
#       deadline 30
#
# What must hold: a late job fails by a Timeout::Error, which retry_on and discard_on see.

require "coopdl"
require "active_job"

module Coopdl
  module ActiveJob
    def self.included(job_class)
      job_class.class_attribute :coopdl_deadline, instance_writer: false
      job_class.extend(Deadline)
      job_class.around_perform do |job, block|
        seconds, grace = job.coopdl_deadline
        Coopdl.timeout(seconds, grace: grace || 5.0) { block.call }
      end
    end

    # What a class says; its subclasses have it too.
    module Deadline
      def deadline(seconds, grace: 5.0)
        self.coopdl_deadline = [seconds, grace]
      end
    end
    private_constant :Deadline
  end
end
