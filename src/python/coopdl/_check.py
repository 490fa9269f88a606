# SPDX-License-Identifier: Apache-2.0
"""What `python -m coopdl --check` prints: whether a deadline will be kept by this Python.

A line for each thing, `ok` or `no`, under the same names as those of `coopdl --check`; the last is
the verdict.  What is said was tried in a child: this interpreter with the library preloaded, as
`python -m coopdl` would start it.  `no` in another line may be no obstacle.

What must hold: it ends in bounded time, and changes nothing in this process.
"""
import ctypes
import errno
import json
import os
import platform
import signal
import subprocess
import sys
from typing import Any

import coopdl
from coopdl import _library

SET_USER_DISPATCH, OFF = 59, 0  # prctl
TIMEOUT = 30  # seconds

# Signals that have a handler in any case: Python's, the trap's, libc's own.
OTHERS = signal.SIGINT, signal.SIGSYS, 32, 33

# The child.  Inside a scope of the C API, without the package (-S: coopdl.pth would import it, under
# a budget), so that nothing but the library ends its reads of an empty pipe: libc's own read twice,
# past the wrappers, the first begun before the deadline, and then the wrapped one.  After that the
# package's scope.
PROBE = """
import ctypes, json, os, sys, threading, time
sys.path[:] = json.loads(sys.argv[1])
here = ctypes.CDLL(None, use_errno=True)
found = {'preloaded': hasattr(here, 'coopdl_preloaded') and here.coopdl_preloaded() == 1}


def past():
    for name in 'libc.so.6', 'libc.musl-%s.so.1' % os.uname().machine:
        try:
            return ctypes.CDLL(name, use_errno=True)
        except OSError:
            pass
    return here


def caught():
    for line in open('/proc/self/status'):
        if line.startswith('SigCgt:'):
            return int(line.split()[1], 16)
    return 0


def tried(library):
    return ctypes.get_errno() if library.read(ends[0], room, ctypes.c_size_t(1)) < 0 else 0


if found['preloaded']:
    here.coopdl_after.restype = here.coopdl_now.restype = ctypes.c_int64
    here.coopdl_after.argtypes = [ctypes.c_int64]
    here.coopdl_enter.argtypes = [ctypes.c_void_p, ctypes.c_int64]
    here.coopdl_leave.argtypes = [ctypes.c_void_p]
    ends, room, scope = os.pipe(), ctypes.create_string_buffer(8), (ctypes.c_uint64 * 4)()
    libc, deadline = past(), here.coopdl_after(50_000_000)
    found['entered'] = here.coopdl_enter(scope, deadline)
    if found['entered'] == 0:
        found['kicked'] = tried(libc)
        found['late'] = here.coopdl_now() - deadline
        found['trapped'] = tried(libc)
        found['cut'] = tried(here)
        found['signals'] = caught()
        here.coopdl_leave(scope)
    else:
        found['why'] = os.strerror(ctypes.get_errno())
    if found['entered'] == 0:
        import coopdl
        begun = time.monotonic()
        try:
            with coopdl.timeout(0.05):
                os.read(ends[0], 1)
        except coopdl.DeadlineExceeded:
            found['raised'] = time.monotonic() - begun - 0.05

        def compute():
            try:
                with coopdl.timeout(0.05):
                    3 ** 5_000_000
                    found['computed'] = True
            except coopdl.DeadlineExceeded as error:
                found['worker'] = time.monotonic() - error.scope.when()

        worker = threading.Thread(target=compute)
        worker.start()
        worker.join()
print('\\n' + json.dumps(found))
"""


class Report:
    def __init__(self) -> None:
        self.text = ''
        self.kept = self.all_good = True

    def say(self, good: bool, name: str, text: str) -> bool:
        self.text += f'{"ok" if good else "no"}  {name:<8} {text}\n'
        self.all_good &= good
        return good

    def need(self, good: bool, name: str, text: str) -> None:
        """What a deadline cannot be kept without."""
        self.kept &= self.say(good, name, text)


def probe() -> dict[str, Any]:
    """What the child has found; `why` where it did not get that far."""
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith('COOPDL_') or name in ('COOPDL_TRAP', 'COOPDL_SIGNAL')}
    environment.update(COOPDL_ERRNO='etimedout', LD_PRELOAD=':'.join(filter(None, [
        _library.path(), os.environ.get('LD_PRELOAD', '')])))
    try:
        done = subprocess.run([sys.executable, '-S', '-c', PROBE, json.dumps(sys.path)],
                              env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, errors='replace', timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        return {'why': 'its call did not end at the deadline'}
    if done.returncode < 0:
        return {'why': f'signal {-done.returncode} ended it'}
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        return {'why': (done.stderr.splitlines() or ['it said nothing'])[-1]}
    found: dict[str, Any] = json.loads(lines[-1])
    found.setdefault('why', (done.stderr.splitlines() or ['the loader did not load it'])[0])
    return found


def error(number: int) -> str:
    return errno.errorcode.get(number, 'no error')


def kick(report: Report, found: dict[str, Any]) -> None:
    late = found['late'] / 1e6
    numbers = [n for n in range(1, 65) if found['signals'] >> (n - 1) & 1
               and n not in OTHERS]
    if late < 0 or found['kicked'] not in (errno.EINTR, errno.ETIMEDOUT) or not numbers:
        report.need(False, 'kick', 'a call inside libc was not ended by a signal after the deadline '
                                   f'({error(found["kicked"])}, {late:.1f} ms after it)')
        return
    number, how = numbers[0], 'free'
    if signal.getsignal(number) == signal.SIG_IGN:
        how = 'ignored'
    elif number in signal.pthread_sigmask(signal.SIG_BLOCK, []):
        how = 'blocked'
    if how == 'free':
        report.say(True, 'kick', f'signal {number} is free, and ended a call {late:.1f} ms after '
                                 'its deadline')
    else:
        report.say(False, 'kick', f'signal {number} is {how} by whoever started this; it ended a '
                                  f'call all the same, {late:.1f} ms after the deadline; '
                                  'COOPDL_SIGNAL chooses another')


def why_untrapped() -> str:
    if os.environ.get('COOPDL_TRAP') == '0':
        return 'COOPDL_TRAP=0: unset it'
    if platform.machine() != 'x86_64' or sys.maxsize < 2**32:
        return 'there is none for this architecture'
    # To turn it off where it is off changes nothing, but a kernel that has none refuses.
    if ctypes.CDLL(None).prctl(SET_USER_DISPATCH, OFF, 0, 0, 0) == 0:
        return 'COOPDL_LOG=1 says why, for a program'
    if filtered():
        return ('a filter of system calls refuses it: have it allow '
                'prctl(PR_SET_SYSCALL_USER_DISPATCH)')
    return 'the kernel has none: it takes Linux 5.11'


def trap(report: Report, found: dict[str, Any]) -> None:
    if found['trapped'] == errno.ETIMEDOUT:
        report.say(True, 'trap', 'calls that go past the wrappers are cut too')
    else:
        report.say(False, 'trap', f'{why_untrapped()}; meanwhile calls inside libc (getaddrinfo) get '
                                  'EINTR alone, and a loop that restarts them goes on')


def filtered() -> bool:
    with open('/proc/self/status', encoding='utf-8', errors='replace') as status:
        return any(line.split() == ['Seccomp:', '2'] for line in status)


def seccomp(report: Report, found: dict[str, Any]) -> None:
    if not filtered():
        report.say(True, 'seccomp', 'no filter of system calls')
    elif report.kept and found.get('trapped') == errno.ETIMEDOUT:
        report.say(True, 'seccomp', 'a filter of system calls, which refuses nothing that is needed')
    else:
        report.say(False, 'seccomp', 'a filter of system calls: what says no above may be its doing')


def deadline(report: Report) -> None:
    """What a child makes of one."""
    found = probe()
    if not found.get('preloaded'):
        report.need(False, 'preload', f'this Python does not run with the library: {found["why"]}')
    else:
        report.say(True, 'preload', 'loaded into a child')
    if found.get('entered', 0) != 0:
        report.need(False, 'cut', f'no scope can be entered: {found["why"]}')
    elif 'cut' in found:
        report.need(found['cut'] == errno.ETIMEDOUT, 'cut',
                    f'a read that waited failed after the deadline, with {error(found["cut"])}')
        kick(report, found)
        trap(report, found)
    seccomp(report, found)
    if 'cut' in found:
        late = found.get('raised')
        report.need(late is not None and late >= 0, 'raise',
                    'no DeadlineExceeded came out of a block in time' if late is None else
                    f'DeadlineExceeded, {1000 * late:.1f} ms after the deadline of a block')
    if 'worker' in found:
        ended = 'computed' not in found
        report.say(ended, 'worker', f'C code that computed in another thread ended '
                                    f'{1000 * found["worker"]:.1f} ms after its deadline' if ended else
                   'C code that computes in other threads (re, pow) goes on to its end: this '
                   "interpreter's main thread is not where it is looked for")


def process(report: Report) -> None:
    """This one."""
    preloaded = bool(coopdl.preloaded())
    report.say(preloaded, 'process', "libc's blocking calls go through the library here" if preloaded
               else 'not preloaded here: loops that restart their calls go on; start with '
                    'python -m coopdl or coopdl')
    left = coopdl.remaining()
    report.say(True, 'budget', 'none' if left is None else
               f'{left:.3f} s left' if left > 0 else 'over')


def report() -> tuple[str, int]:
    """The text, and the exit status: 0 if a deadline will be kept."""
    report, library = Report(), _library.load()
    uname = os.uname()
    report.say(True, 'kernel', f'{uname.sysname} {uname.release}')
    report.say(True, 'machine', f'{uname.machine}, {64 if sys.maxsize > 2**32 else 32} bits')
    report.say(True, 'libc', ' '.join(platform.libc_ver()).strip() or 'unknown')
    report.say(True, 'library', f'{_library.path()}, version {_library.version(library)}')
    report.say(True, 'python', f'{sys.executable}, {platform.python_implementation()} '
                               f'{platform.python_version()}, with {os.path.dirname(coopdl.__file__)}')
    deadline(report)
    process(report)
    if report.kept:
        report.say(True, 'deadline', 'is kept by calls that fail and an exception'
                   + ('' if report.all_good else '; what says no above is not in the way'))
    else:
        report.say(False, 'deadline', 'is not kept so: what says no above is in the way')
    return report.text, 0 if report.kept else 1
