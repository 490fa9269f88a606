# SPDX-License-Identifier: Apache-2.0
# extconf.rb -- builds the extension against an installed libcoopdl.
require "mkmf"

unless RUBY_ENGINE == "ruby" && RUBY_VERSION.match?(/\A3\.[1-4]\./)
  abort "coopdl needs CRuby 3.1 to 3.4, and this is #{RUBY_ENGINE} #{RUBY_VERSION}"
end
pkg_config("coopdl")
unless have_header("coopdl.h") && have_library("coopdl", "coopdl_set_hooks", "coopdl.h")
  abort "libcoopdl is missing: install it first (meson install), and have pkg-config find coopdl.pc"
end
have_func("rb_postponed_job_preregister", "ruby/debug.h")
append_cflags(%w[-std=gnu11 -Wall -Wextra])

# What is compiled here may be copied to a system with an older glibc, beside its Ruby. So the linker
# is asked for the first version of a function that got a second one with 2.34, or the name of C23 with
# 2.38, as in the library's src/portable/portable.h. A gem has no file from outside its directory:
# these are the lines of that header that the extension needs.
first = { "x86_64" => "GLIBC_2.2.5", "aarch64" => "GLIBC_2.17" }[RbConfig::CONFIG["host_cpu"]]
if first && have_macro("__GLIBC__", "features.h")
  names = { "sem_init" => "sem_init", "sem_post" => "sem_post", "__isoc23_strtol" => "strtol" }
  File.write("portable.h", names.map { |name, old| %(__asm__(".symver #{name},#{old}@#{first}");\n) }.join)
  $CFLAGS << " -include portable.h"
end
create_makefile("coopdl/coopdl")
