# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# coopdl/sidekiq.rb -- Sidekiq middleware: a deadline for each job. docs/sidekiq.md says how it is used.
#
#     config.server_middleware { |chain| chain.add Coopdl::Sidekiq::Server, 300 }
#     sidekiq_options deadline: 30, deadline_travels: true
#
# What must hold:
# 1. A late job fails by a Timeout::Error, which Sidekiq retries as any other; its thread goes on.
# 2. A deadline travels only with a job that asks for it: most jobs are to be done whatever becomes of
#    the request that has sent them.
# 3. The clocks of two machines differ, so one that travels is a time of Redis's clock, which both ask.
#    So what a job has waited in its queue is counted, and nothing is added.

require "coopdl"

module Coopdl
  module Sidekiq
    KEY = "coopdl_deadline" # in the job: when it is over, by Redis's clock
    LIMIT = "deadline" # in the job: of sidekiq_options
    TRAVELS = "deadline_travels"
    private_constant :KEY, :LIMIT, :TRAVELS

    # Redis's clock, in seconds.
    def self.clock(pool)
      seconds, microseconds = pool.with(&:time)
      Integer(seconds) + Integer(microseconds) / 1e6
    end

    # For who sends jobs: what is left to it travels with those that ask for it.
    class Client
      # A job for later has no deadline of now.
      def call(_job_class, job, _queue, pool)
        left = Coopdl.remaining if job[TRAVELS] && !job["at"]
        job[KEY] = Sidekiq.clock(pool) + left if left
        yield
      end
    end

    # For who runs jobs.
    class Server
      # seconds: for a job without `deadline` in its sidekiq_options; nil: no limit. Sidekiq hands on
      # no keywords.
      def initialize(seconds = nil, grace = 5.0)
        @seconds, @grace = seconds, grace
      end

      def call(_worker, job, _queue, &block)
        left = job[KEY] - Sidekiq.clock(::Sidekiq.redis_pool) if job[KEY]
        if left&.<=(0)
          ::Sidekiq.logger.warn("coopdl: not begun: its deadline was over #{(-left).round(3)} s ago")
        else
          Coopdl.timeout([job.fetch(LIMIT, @seconds), left].compact.min, grace: @grace, &block)
        end
      end
    end
  end
end
