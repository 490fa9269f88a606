# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# memory.rb -- all of the API, for whoever watches the memory (test_memory.rb). It
# says "ok" if all of it behaved.
#
#     memory.rb [stress]: with a garbage collection at every allocation

require "coopdl/timeout"

Own = Class.new(StandardError)

def raises(klass)
  yield
rescue klass => e
  raise unless e.instance_of?(klass)
else
  raise "no #{klass}"
end

def expires(&block) = raises(Timeout::Error) { Coopdl.timeout(0.02, &block) }

def all
  Coopdl.timeout(10) { |seconds| raise "not it" unless seconds == 10 && Coopdl.remaining && Coopdl.deadline }
  Coopdl.timeout(0) { Coopdl.check! }
  raises(ArgumentError) { Coopdl.timeout(-1) {} }
  expires { sleep }
  expires { loop {} }
  expires { IO.pipe { |reader, _| reader.read } }
  expires { Coopdl.timeout(5) { Coopdl.timeout(nil) { Queue.new.pop } } }
  expires { Coopdl.shield { sleep 0.05 } }
  expires { Thread.handle_interrupt(Exception => :never) { sleep 0.05; Coopdl.check! } }
  expires { begin; sleep; ensure; GC.start; sleep 0.01; end }
  expires { loop { begin; sleep; rescue Exception; next; end } }
  raises(Own) { Timeout.timeout(0.02, Own, "mine") { sleep } }
  fiber = Fiber.new { Coopdl.timeout(10) { Fiber.yield } && nil }
  Coopdl.timeout(10) { fiber.resume }
  fiber.resume
  enumerator = Enumerator.new { |yielder| Coopdl.timeout(600) { yielder << 1 } }
  enumerator.next
end

GC.stress = ARGV[0] == "stress"
all
Array.new(GC.stress ? 1 : 3) { Thread.new { all } }.each(&:join)
unless GC.stress
  GC.compact if GC.respond_to?(:compact)
  all
end
child = fork { expires { sleep } }
Process.wait(child)
raise "the child failed" unless $?.success?
GC.stress = false
Thread.new { Coopdl.timeout(30) { sleep } }
Coopdl.timeout(30) { puts "ok" }
