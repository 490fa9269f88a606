# SPDX-License-Identifier: Apache-2.0
# extconf.rb -- builds the extension against an installed libcoopdl.
require "mkmf"

pkg_config("coopdl")
unless have_header("coopdl.h") && have_library("coopdl", "coopdl_set_hooks", "coopdl.h")
  abort "libcoopdl is missing: install it first (meson install), and have pkg-config find coopdl.pc"
end
have_func("rb_postponed_job_preregister", "ruby/debug.h")
append_cflags(%w[-std=gnu11 -Wall -Wextra])
create_makefile("coopdl/coopdl")
