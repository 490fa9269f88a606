# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_gem.rb -- the gem as a stranger has it: built, installed against an
# installed library, loaded by the command; its signatures are those it has.

require_relative "support"
require "fileutils"
require "tmpdir"

class AsGem < CoopdlTest
  SOURCE = File.expand_path("../../src/ruby", __dir__)
  CLEAN = %w[LD_PRELOAD RUBYLIB RUBYOPT GEM_HOME GEM_PATH].to_h { |name| [name, nil] }

  def run!(*command, environment: {})
    output, status = Open3.capture2e(CLEAN.merge(environment), *command)
    assert_predicate status, :success?, "#{command.join(" ")}: #{output}"
    output
  end

  def gem(...) = run!(RbConfig.ruby, "-S", "gem", ...)

  # The library, in a directory of its own, as pkg-config is to see it.
  def installed(root)
    run!(ENV.fetch("MESON"), "install", "-C", ENV.fetch("BUILD"), "--no-rebuild", "--quiet",
         "--destdir", root)
    libraries = File.join(root, ENV.fetch("LIBDIR"))
    { "PKG_CONFIG_PATH" => File.join(libraries, "pkgconfig"), "PKG_CONFIG_SYSROOT_DIR" => root,
      "PKG_CONFIG_ALLOW_SYSTEM_CFLAGS" => "1", "PKG_CONFIG_ALLOW_SYSTEM_LIBS" => "1",
      "LD_LIBRARY_PATH" => libraries, "COOPDL_LIBRARY" => File.join(libraries, "libcoopdl.so.0"),
      "GEM_HOME" => File.join(root, "gems") }
  end

  def test_built_and_installed
    Dir.mktmpdir do |root|
      environment = installed(root)
      package = File.join(root, "coopdl.gem")
      gem("build", "-C", SOURCE, "coopdl.gemspec", "--output", package)
      gem("install", "--local", "--no-document", package, environment: environment)
      commands(environment, File.join(root, ENV.fetch("BINDIR"), "coopdl"))
    end
  end

  def commands(environment, coopdl)
    loaded = run!(RbConfig.ruby, "-rcoopdl/timeout", "-e", "puts $LOADED_FEATURES, Coopdl::VERSION",
                  environment: environment)
    assert_match(%r{^#{environment["GEM_HOME"]}/.*/coopdl\.so$}, loaded)
    assert_equal Coopdl::VERSION, loaded.lines.last.chomp

    begun = now
    output, status = Open3.capture2e(CLEAN.merge(environment), coopdl, "--ruby", "1s",
                                     RbConfig.ruby, "-e", "loop {}")
    assert_match(/\A-e:1:in `.*': execution expired \(Timeout::Error\)/, output)
    assert_equal 124, status.exitstatus
    assert_operator now - begun, :>=, 1
    assert_operator now - begun, :<, 1 + LATEST
  end

  # Without the library there is one clear line.
  def test_without_the_library
    Dir.mktmpdir do |root|
      extconf = File.join(SOURCE, "ext/coopdl/extconf.rb")
      output, status = Open3.capture2e(CLEAN.merge("PKG_CONFIG_LIBDIR" => root),
                                       RbConfig.ruby, extconf, chdir: root)
      refute_predicate status, :success?
      assert_includes output, "libcoopdl is missing: install it first"
    end
  end

  # What rbs knows of the gem, and what the gem has.
  def test_signatures
    begin
      require "rbs"
    rescue LoadError
      skip "there is no rbs"
    end
    loader = RBS::EnvironmentLoader.new
    loader.add(path: Pathname(File.join(SOURCE, "sig")))
    environment = RBS::Environment.from_loader(loader).resolve_type_names
    name = RBS::TypeName.new(name: :Coopdl, namespace: RBS::Namespace.root)
    methods = RBS::DefinitionBuilder.new(env: environment).build_singleton(name).methods
    declared = methods.select { |_, method| method.implemented_in == name }.keys
    assert_equal Coopdl.singleton_methods(false).sort, declared.sort
    constants = environment.constant_decls.keys + environment.class_decls.keys
    assert_equal Coopdl.constants.sort,
                 constants.select { |each| each.namespace == name.to_namespace }.map(&:name).sort
  end
end

Tap.run
