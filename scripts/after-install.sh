#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The last lines of `meson install`: whether what was installed is found by its name.
# The loader ignores a library that it does not find, and then the program runs
# without a deadline.
#
# The arguments are the directories of the library and of coopdl.pc.
libdir=$1
pkgconfig=$2
name=libcoopdl.so.0

if command -v ldconfig >/dev/null; then
  ldconfig 2>/dev/null # where it may: root alone
fi
unset LD_PRELOAD LD_LIBRARY_PATH
if LD_PRELOAD=$name grep -q "$libdir/libcoopdl\.so" /proc/self/maps 2>/dev/null; then
  echo "libcoopdl: the loader finds it: LD_PRELOAD=$name"
else
  echo "libcoopdl: the loader does not find it by its name, and would ignore LD_PRELOAD=$name.  So say" \
    "LD_PRELOAD=$libdir/$name, or name $libdir in /etc/ld.so.conf.d/ and run ldconfig"
fi
if command -v pkg-config >/dev/null && ! pkg-config coopdl 2>/dev/null; then
  echo "libcoopdl: pkg-config does not find it; set PKG_CONFIG_PATH=$pkgconfig"
fi
