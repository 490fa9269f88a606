# SPDX-License-Identifier: Apache-2.0
# frozen_string_literal: true

# test_gem.rb -- the gem as a user has it: built, installed against an
# installed library, loaded by the command.

require_relative "support"
require "fileutils"
require "tmpdir"

class AsGem < CoopdlTest
  SOURCE = File.expand_path("../../src/ruby", __dir__)
  CLEAN = %w[LD_PRELOAD RUBYLIB RUBYOPT GEM_HOME GEM_PATH].to_h { |name| [name, nil] }

  def run!(*command, environment: {}, **options)
    output, status = Open3.capture2e(CLEAN.merge(environment), *command, **options)
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
      gem("build", "coopdl.gemspec", "--output", package, chdir: SOURCE)
      gem("install", "--local", "--no-document", package, environment: environment)
      commands(environment, File.join(root, ENV.fetch("BINDIR"), "coopdl"))
      needs_no_newer_glibc(environment)
    end
  end

  # As tests/portable has it for what meson builds.
  def needs_no_newer_glibc(environment)
    return unless %w[x86_64 aarch64].include?(RbConfig::CONFIG["host_cpu"])

    extensions = Dir[File.join(environment["GEM_HOME"], "**", "coopdl.so")]
    refute_empty extensions
    extensions.each do |extension|
      versions = run!("objdump", "-T", extension).scan(/\bGLIBC_2\.(\d+)/).flatten.map(&:to_i)
      refute_empty versions
      assert_operator versions.max, :<=, 17, extension
    end
  end

  def commands(environment, coopdl)
    loaded = run!(RbConfig.ruby, "-rcoopdl/timeout", "-e", "puts $LOADED_FEATURES, Coopdl::VERSION",
                  environment: environment)
    assert_match(%r{^#{environment["GEM_HOME"]}/.*/coopdl\.so$}, loaded)
    assert_equal Coopdl::VERSION, loaded.lines.last.chomp

    begun = now
    output, status = Open3.capture2e(CLEAN.merge(environment), coopdl, "--ruby", "3s",
                                     RbConfig.ruby, "-e", "loop {}")
    assert_match(/\A-e:1:in [`'].*': execution expired(?: in .*)? \(Timeout::Error\)/, output)
    assert_equal 124, status.exitstatus
    assert_operator now - begun, :>=, 3
    assert_operator now - begun, :<, 20 # Ruby and its gems take long to start on a busy machine
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

  # In one line: by the build, and by `require`.
  def test_older_and_newer_rubies_are_refused
    program = "require \"rbconfig\"; Object.send(:remove_const, :RUBY_VERSION); RUBY_VERSION = ARGV[1]; " \
              "load ARGV[0]"
    Dir.mktmpdir do |root|
      ["3.0.7", "3.5.0", "4.0.1"].product(["ext/coopdl/extconf.rb", "lib/coopdl.rb"]) do |version, file|
        output, status = Open3.capture2e(CLEAN, RbConfig.ruby, "--disable=gems", "-e", program,
                                         File.join(SOURCE, file), version, chdir: root)
        assert_includes output.lines.first,
                        "coopdl needs CRuby 3.1 to 3.4, and this is ruby #{version}"
        refute_predicate status, :success?
        assert_empty Dir.children(root)
      end
    end
  end
end

Tap.run
