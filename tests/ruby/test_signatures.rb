# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_signatures.rb -- what rbs knows of the gem (sig/), held against what the gem has: the names of all
# that is public, and how each method may be called.

require_relative "support"

class Signatures < CoopdlTest
  SIGNATURES = File.expand_path("../../src/ruby/sig", __dir__)
  # What they define, and what that needs beside the gem.
  PARTS = { "propagate" => :Propagate, "rack" => :Rack, "sidekiq" => :Sidekiq, "active_job" => :ActiveJob,
            "minitest" => :Minitest, "rspec" => :RSpec }.freeze

  # To read all of Ruby's own takes seconds.
  def self.environment
    @environment ||= begin
      loader = RBS::EnvironmentLoader.new
      loader.add(path: Pathname(SIGNATURES))
      loader.add(library: "timeout", version: nil)
      RBS::Environment.from_loader(loader).resolve_type_names
    end
  end

  def setup
    begin
      require "rbs"
    rescue LoadError
      skip "there is no rbs"
    end
    @environment = self.class.environment
    @builder = RBS::DefinitionBuilder.new(env: @environment)
    @missing = PARTS.filter_map do |file, name|
      require "coopdl/#{file}"
      nil
    rescue LoadError
      name
    end
  end

  # As `rbs validate` does it: every type that is named is there.
  def test_they_are_valid
    require "rbs/cli"
    output = StringIO.new
    RBS::CLI.new(stdout: output, stderr: output)
            .run(["-r", "timeout", "-I", SIGNATURES, "validate", "--silent"])
    assert_empty output.string
  end

  def test_the_constants
    each_part do |part, name|
      declared = (@environment.constant_decls.keys + @environment.class_decls.keys)
                 .select { |each| each.namespace == name.to_namespace }.map(&:name) - @missing
      assert_empty part.constants(false) - declared, "#{part}: there, and not in sig/"
      declared.each { |each| assert part.const_defined?(each, false), "#{part}: in sig/ only: #{each}" }
    end
  end

  def test_the_methods
    count = 0
    each_part do |part, name|
      next assert_equal part.members, attributes(name) if part < Struct
      next if part.name != name.to_s.delete_prefix("::") # Timeout::ExitException, where there is one

      assert_methods(part.singleton_methods(false), @builder.build_singleton(name), name) do |method|
        part.method(method)
      end
      # `self?.` of a module's functions declares these too.
      private_too = part.private_instance_methods(false) - [:initialize]
      assert_methods(part.public_instance_methods(false), @builder.build_instance(name), name, private_too) do |method|
        part.instance_method(method)
      end
      count += 1
    end
    assert_operator count, :>=, 10
  end

  private

  # All modules and classes of ours that are declared and whose file could be loaded.
  def each_part
    @environment.class_decls.each_key do |name|
      path = name.to_s.split("::").reject(&:empty?).map(&:to_sym)
      next if path[0] != :Coopdl || @missing.include?(path[1])

      yield path.reduce(Object) { |outer, each| outer.const_get(each, false) }, name
    end
  end

  def attributes(name)
    @builder.build_instance(name).methods.select { |_, method| method.implemented_in == name }.keys
  end

  def assert_methods(real, definition, name, except = [])
    declared = definition.methods.select { |_, method| method.implemented_in == name && method.public? }
    declared.reject! { |each, _| each == :new || except.include?(each) }
    assert_equal real.sort, (declared.keys - [:initialize]).sort, name.to_s
    declared.each do |each, method|
      assert_callable("#{name} #{each}", yield(each).parameters, method.method_types.map(&:type))
    end
  end

  # Each way to call it that is declared is one that there is; and together they are all, unless the
  # method is one in C that takes anything and looks at it itself.
  def assert_callable(name, parameters, types)
    kinds = parameters.group_by(&:first).transform_values { |of_a_kind| of_a_kind.map(&:last) }
    required, optional = [:req, :opt].map { |kind| kinds.fetch(kind, []).size }
    keywords = kinds.values_at(:key, :keyreq).flatten.compact
    types.each do |type|
      least = type.required_positionals.size
      assert_operator least, :>=, required, name
      most = least + type.optional_positionals.size
      assert_operator most, :<=, required + optional, name unless kinds[:rest]
      assert_empty type.required_keywords.keys + type.optional_keywords.keys - keywords, name unless
        kinds[:keyrest] || kinds[:rest]
    end
    assert_equal required, types.map { |type| type.required_positionals.size }.min, name unless kinds[:rest]
    assert_empty keywords - types.flat_map { |type| type.required_keywords.keys + type.optional_keywords.keys }, name
  end
end

Tap.run
