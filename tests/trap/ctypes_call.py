#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Calls libc past every preloaded library: ctypes_call.py poll|sleep [INTERRUPTIONS]

ctypes takes a function from a handle on libc.  The poll, of a silent pipe, is
restarted on EINTR for ever, or that many times; sleep has no errors and is
called again with what is left, for ever, or just once.  Prints how late the call has ended, in ns.
"""
import ctypes
import errno
import os
import sys
import time


class Pollfd(ctypes.Structure):
    _fields_ = [("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short)]


libc = ctypes.CDLL("libc.so.6", use_errno=True)
deadline = int(os.environ["COOPDL_DEADLINE"])


def poll(times):
    POLLIN = 1
    pipe = Pollfd(os.pipe()[0], POLLIN, 0)
    while libc.poll(ctypes.byref(pipe), 1, -1) < 0:
        error = ctypes.get_errno()
        if error == errno.ETIMEDOUT or error == errno.EINTR and times == 0:
            return
        if error != errno.EINTR:
            sys.exit(f"poll: {os.strerror(error)}")
        times -= 1
    sys.exit("an event on a silent pipe")


def sleep(times):
    left = 60
    while left and times:
        left = libc.sleep(left)
        times -= 1
    if time.monotonic_ns() - deadline > 50e9:
        sys.exit("sleep has come to its end")


times = int(sys.argv[2]) if len(sys.argv) > 2 else -1
if sys.argv[1] == "poll":
    poll(times)
else:
    sleep(times)
print(time.monotonic_ns() - deadline)
