# SPDX-License-Identifier: Apache-2.0
"""libc.py -- which functions of the libc at hand can block, read from its machine code.

Only binutils are needed: `readelf` for the names, `objdump` for the code (x86-64)
and for where each function begins and ends: the unwind tables say it, which a
stripped library still has.

A function waits if it makes a system call that may block, or calls one of
libc's internal functions that does, however deep.  An exported function that
directly calls an exported one which waits, waits too: sleep calls nanosleep,
which calls clock_nanosleep.  An internal function that calls an exported one is
not followed further: every path through malloc's or the loader's locks would
lead everywhere.

What this does not see are calls through pointers: stdio calls read through a
table, the resolver its back ends.  For those there is POSIX's own list, in
cancellation_points.txt.
"""
import bisect
import collections
import re
import subprocess

# System calls that wait for somebody else: data, room, a child, a lock, time, a
# device.  Not here: those that wait for a file system alone (stat, rename,
# mkdir, getdents ...), which no signal interrupts and nobody cuts; and those
# that end the caller (exit, execve).
BLOCKING = {
    0: 'read', 1: 'write', 2: 'open', 3: 'close', 7: 'poll', 16: 'ioctl', 17: 'pread64',
    18: 'pwrite64', 19: 'readv', 20: 'writev', 23: 'select', 26: 'msync', 34: 'pause',
    35: 'nanosleep', 40: 'sendfile', 42: 'connect', 43: 'accept', 44: 'sendto', 45: 'recvfrom',
    46: 'sendmsg', 47: 'recvmsg', 58: 'vfork', 61: 'wait4', 65: 'semop', 69: 'msgsnd', 70: 'msgrcv',
    72: 'fcntl', 73: 'flock', 74: 'fsync', 75: 'fdatasync', 85: 'creat', 101: 'ptrace',
    103: 'syslog', 128: 'rt_sigtimedwait', 130: 'rt_sigsuspend', 149: 'mlock', 151: 'mlockall',
    162: 'sync', 187: 'readahead', 202: 'futex', 208: 'io_getevents', 220: 'semtimedop',
    221: 'fadvise64', 230: 'clock_nanosleep', 232: 'epoll_wait', 242: 'mq_timedsend',
    243: 'mq_timedreceive', 247: 'waitid', 257: 'openat', 270: 'pselect6', 271: 'ppoll',
    275: 'splice', 276: 'tee', 277: 'sync_file_range', 278: 'vmsplice', 281: 'epoll_pwait',
    285: 'fallocate', 288: 'accept4', 295: 'preadv', 296: 'pwritev', 299: 'recvmmsg',
    304: 'open_by_handle_at', 306: 'syncfs', 307: 'sendmmsg', 310: 'process_vm_readv',
    311: 'process_vm_writev', 318: 'getrandom', 325: 'mlock2', 326: 'copy_file_range',
    327: 'preadv2', 328: 'pwritev2', 333: 'io_pgetevents', 426: 'io_uring_enter', 437: 'openat2',
    441: 'epoll_pwait2', 449: 'futex_waitv', 455: 'futex_wait',
}

# libc's own way to its files (locale, time zone, /proc) and to its own locks
# (malloc, stdio).  Every path would lead there.
INTERNAL = re.compile(r'__\w+_nocancel|__lll_lock_\w+')


def run(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout


class Libc:
    def __init__(self, path):
        self.path = path
        self.names = collections.defaultdict(set)  # address -> exported names
        self.private = collections.defaultdict(set)  # address -> names for glibc's own libraries
        for line in run('readelf', '-W', '--dyn-syms', path).splitlines():
            field = line.split()
            if len(field) < 8 or field[3] not in ('FUNC', 'IFUNC') or field[6] == 'UND':
                continue
            name, _, version = field[7].partition('@')
            kind = self.private if version.lstrip('@') == 'GLIBC_PRIVATE' else self.names
            kind[int(field[1], 16)].add(name)

    def exported(self):
        return set().union(*self.names.values())

    def all_names(self):
        return self.exported().union(*self.private.values())

    def blocking(self):
        """Of each exported function that waits: its name, and a system call that it makes."""
        calls, callers = self._code()
        reason = {f: {'any' if n is None else BLOCKING[n] for n in numbers}
                  for f, numbers in calls.items()
                  if self.names.get(f) or not self._libc_s_own(f, callers)}
        todo = collections.deque(reason)
        while todo:
            function = todo.popleft()
            for caller in callers[function]:
                if caller in reason or self.names.get(function) and not self.names.get(caller):
                    continue
                reason[caller] = reason[function]
                todo.append(caller)
        return {name: ', '.join(sorted(why)) for f, why in reason.items()
                for name in self.names.get(f, ())}

    def _libc_s_own(self, function, callers):
        """Used by libc for purposes of its own: its files, its locks, its last words."""
        aborts = any(function in callers[f] for f, names in self.names.items() if 'abort' in names)
        return aborts or any(INTERNAL.fullmatch(name) for name in self.private.get(function, ()))

    def _code(self):
        """Of each function: its blocking system calls (None: a number that is not known), and
        the functions that call it or jump to it."""
        frames = run('objdump', '--dwarf=frames', self.path)
        functions = sorted((int(begin, 16), int(end, 16)) for begin, end in re.findall(
            r' FDE .* pc=([0-9a-f]+)\.\.([0-9a-f]+)', frames))
        begins = [begin for begin, _ in functions]

        def function_at(address):
            begin, end = functions[bisect.bisect_right(begins, address) - 1]
            return begin if begin <= address < end else None

        calls, callers = collections.defaultdict(set), collections.defaultdict(set)
        current, known = None, {}  # registers that hold a known number
        for line in run('objdump', '-d', '--no-show-raw-insn', self.path).splitlines():
            match = re.match(r'\s+([0-9a-f]+):\t(\S+)\s*(\S*)', line)
            if not match:
                continue
            address, operation, operands = int(match[1], 16), match[2], match[3]
            function = function_at(address)
            if function != current:
                current, known = function, {}
            if operation == 'syscall':
                number = known.get('ax')
                if number is None or number in BLOCKING:
                    calls[function].add(number)
            elif re.fullmatch('call|j[a-z]+', operation) and re.fullmatch('[0-9a-f]+', operands):
                callee = function_at(int(operands, 16))
                if callee is not None and callee != function:
                    callers[callee].add(function)
            else:
                follow(known, operation, operands)
        if 0 not in {n for numbers in calls.values() for n in numbers}:
            raise ValueError(f'the code of {self.path} was not understood')
        return calls, callers


def register(operand):
    match = re.fullmatch(r'%[er](\w\w)|%(r\d+)d?', operand)
    return match and (match[1] or match[2])


def follow(known, operation, operands):
    """What the instruction does to the numbers in registers."""
    source, _, target = operands.rpartition(',')
    target = register(target)
    if not target or operation in ('cmp', 'test', 'push'):
        return
    if operation == 'mov' and re.fullmatch(r'\$0x[0-9a-f]+', source):
        known[target] = int(source[1:], 16)
    elif operation == 'xor' and register(source) == target:
        known[target] = 0
    elif operation == 'mov' and register(source) in known:
        known[target] = known[register(source)]
    else:
        known.pop(target, None)
