# SPDX-License-Identifier: Apache-2.0
"""libc.py -- which functions of the libc at hand can block, read from its machine code.

What is needed is a compiler, for the numbers of the system calls, and binutils:
`readelf` for the names, `objdump` for the code (x86-64, i386) and for where each
function begins and ends: the unwind tables say it, which a stripped library
still has.

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
import os
import re
import subprocess

# System calls that wait for somebody else: data, room, a child, a lock, time, a
# device.  Not here: those that wait for a file system alone (stat, rename,
# mkdir, getdents ...), which no signal interrupts and nobody cuts; and those
# that end the caller (exit, execve).
BLOCKING = set('''
    any
    read write open close poll ioctl pread64 pwrite64 readv writev select msync pause nanosleep
    sendfile connect accept sendto recvfrom sendmsg recvmsg vfork wait4 semop msgsnd msgrcv fcntl
    flock fsync fdatasync creat ptrace syslog rt_sigtimedwait rt_sigsuspend mlock mlockall sync
    readahead futex io_getevents semtimedop fadvise64 clock_nanosleep epoll_wait mq_timedsend
    mq_timedreceive waitid openat pselect6 ppoll splice tee sync_file_range vmsplice epoll_pwait
    fallocate accept4 preadv pwritev recvmmsg open_by_handle_at syncfs sendmmsg process_vm_readv
    process_vm_writev getrandom mlock2 copy_file_range preadv2 pwritev2 io_pgetevents io_uring_enter
    openat2 epoll_pwait2 futex_waitv futex_wait waitpid _newselect sendfile64 fcntl64
    clock_nanosleep_time64 futex_time64 io_pgetevents_time64 mq_timedreceive_time64
    mq_timedsend_time64 ppoll_time64 pselect6_time64 recvmmsg_time64 rt_sigtimedwait_time64
    semtimedop_time64 fadvise64_64 sigsuspend
'''.split())

# i386: one system call for many, which %ebx tells apart.
MULTIPLEXERS = {
    'socketcall': {3: 'connect', 5: 'accept', 9: 'sendto', 10: 'recvfrom', 11: 'sendto',
                   12: 'recvfrom', 16: 'sendmsg', 17: 'recvmsg', 18: 'accept4', 19: 'recvmmsg',
                   20: 'sendmmsg'},
    'ipc': {1: 'semop', 4: 'semtimedop', 11: 'msgsnd', 12: 'msgrcv'},
}

# libc's own way to its files (locale, time zone, /proc) and to its own locks
# (malloc, stdio).  Every path would lead there.
INTERNAL = re.compile(r'__\w+_nocancel(_nostatus)?|__lll_lock_\w+')


def run(*command):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout


def system_calls(compiler):
    """The names of the system calls by their numbers."""
    macros = run(*compiler, '-E', '-dM', '-include', 'sys/syscall.h', '-x', 'c', '/dev/null')
    return {int(number): name for name, number in
            re.findall(r'^#define __NR_(\w+) (\d+)$', macros, re.M)}


class Libc:
    def __init__(self, path, compiler):
        self.path = path
        header = run('readelf', '-h', path)
        self.is_32_bit = 'ELF32' in header
        self.is_glibc = os.path.basename(path).startswith(('libc.so.6', 'libc-2.'))
        self.is_x86 = 'X86-64' in header or 'Intel 80386' in header
        self.system_calls = system_calls(compiler)
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
        calls, callers, jumps = self._code()
        reason = {f: names for f, names in calls.items()
                  if self.names.get(f) or not self._libc_s_own(f, callers, jumps)}
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

    def _libc_s_own(self, function, callers, jumps):
        """Used by libc for purposes of its own: its files, its locks, its last words, which the
        compiler may have put elsewhere (gcc 14: a part that is jumped to)."""
        parts = {function, *jumps[function]}
        aborts = any(parts & callers[f] for f, names in self.names.items() if 'abort' in names)
        return aborts or any(INTERNAL.fullmatch(name) for name in self.private.get(function, ()))

    def _system_call(self, known):
        name = self.system_calls.get(known.get('ax'), 'any')
        if name == 'getrandom' and known.get('dx') == 1:  # GRND_NONBLOCK
            return 'getrandom, without waiting'
        inner = MULTIPLEXERS.get(name, {})
        return inner.get(known.get('bx', 0) & 0xffff, name) if inner else name

    def _code(self):
        """Of each function: its blocking system calls, the functions that call it or jump to it,
        and those without a name that it jumps to."""
        frames = run('objdump', '--dwarf=frames', self.path)
        functions = sorted((int(begin, 16), int(end, 16)) for begin, end in re.findall(
            r' FDE .* pc=([0-9a-f]+)\.\.([0-9a-f]+)', frames))
        begins = [begin for begin, _ in functions]

        def function_at(address):
            begin, end = functions[bisect.bisect_right(begins, address) - 1]
            return begin if begin <= address < end else None

        calls, callers = collections.defaultdict(set), collections.defaultdict(set)
        jumps = collections.defaultdict(set)
        handed = collections.defaultdict(list)  # function -> who calls it with which number in %eax
        current, known = None, {}  # registers that hold a known number
        for line in run('objdump', '-d', '--no-show-raw-insn', self.path).splitlines():
            match = re.match(r'\s+([0-9a-f]+):\t(\S+)\s*(\S*)', line)
            if not match:
                continue
            address, operation, operands = int(match[1], 16), match[2], match[3]
            function = function_at(address)
            if function != current:
                current, known = function, {}
            if operation in ('syscall', 'int') or operands == '*%gs:0x10':
                calls[function].add(self._system_call(known))
            elif re.fullmatch('call|j[a-z]+', operation) and re.fullmatch('[0-9a-f]+', operands):
                callee = function_at(int(operands, 16))
                if callee is not None and callee != function:
                    callers[callee].add(function)
                    if operation != 'call' and callee not in self.names:
                        jumps[function].add(callee)
                    handed[callee].append((function, self._system_call(known)))
            else:
                follow(known, operation, operands)
        # i386: a function of libc's own that makes whatever system call it is handed.
        for helper in [f for f, names in calls.items() if names == {'any'} and f in handed]:
            if not self.names.get(helper):
                del calls[helper]
                for function, name in handed[helper]:
                    calls[function].add(name)
        calls = {f: names & BLOCKING for f, names in calls.items() if names & BLOCKING}
        if 'read' not in set().union(*calls.values()):
            raise ValueError(f'the code of {self.path} was not understood')
        return calls, callers, jumps


def register(operand):
    match = re.fullmatch(r'%[er](\w\w)|%(r\d+)d?', operand)
    return match and (match[1] or match[2])


def follow(known, operation, operands):
    """What the instruction does to the numbers in registers."""
    source, _, target = operands.rpartition(',')
    target = register(target)
    # What is popped before a return is still there where the code before has jumped past that.
    if not target or operation in ('cmp', 'test', 'push', 'pop'):
        return
    if operation == 'mov' and re.fullmatch(r'\$0x[0-9a-f]+', source):
        known[target] = int(source[1:], 16)
    elif operation == 'xor' and register(source) == target:
        known[target] = 0
    elif operation == 'mov' and register(source) in known:
        known[target] = known[register(source)]
    else:
        known.pop(target, None)
