# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

Gem::Specification.new do |spec|
  spec.name = "coopdl"
  spec.version = "0.1.0"
  spec.summary = "Timeouts that end blocking calls of any library, at their time"
  spec.description = "Coopdl.timeout ends what a block is in at its deadline, a blocking call of a C " \
                     "library or a computation, in any thread. It needs libcoopdl."
  spec.authors = ["The libcoopdl authors"]
  spec.license = "Apache-2.0"
  spec.required_ruby_version = [">= 3.1", "< 3.5"]
  spec.files = Dir.chdir(__dir__) { Dir["ext/**/*.{c,h,rb}", "lib/**/*.rb", "sig/**/*.{rbs,yaml}", "README.md"] }
  spec.extensions = ["ext/coopdl/extconf.rb"]
end
