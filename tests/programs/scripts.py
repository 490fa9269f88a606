#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Scripts under coopdl and under timeout(1): scripts.py

Each script runs in two directories of its own, once under each command, with the
same deadline.  What it has said on standard output and the files that it leaves
must be the same: to a shell a call that was cut is a failed command, and it must
not go on with its next one.  Prints TAP.

A script may need something that is there before it, and is looked at afterwards,
both without a deadline: a server.  That is kept in the directory .server, whose
files are not held against each other.
"""
import concurrent.futures
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

LONGEST = 20  # seconds until a script counts as hung
COOPDL = os.environ["COOPDL"]

# What tells of a child's status that was lost.
LOST = ("failed to get exit status", "wait: Connection", "No child processes", "waitpid")

MAKE = r"""printf 'all: a b\na:\n\techo 1 >$@; sleep 5; echo 2 >>$@\nb:\n\techo 3 >$@\n' >Makefile; exec make"""
GIT = """git init -q . && printf '#!/bin/sh\\nsleep 5\\n' >.git/hooks/pre-commit
chmod +x .git/hooks/pre-commit; echo a >a; git add a
git -c user.name=a -c user.email=a@b commit -qm x; echo committed >committed"""



@dataclasses.dataclass
class Row:
    """A script: the words of the command, or a script for sh."""
    script: object
    timeout: int = 0  # seconds to wait for its daemon, which writes the file `lived`
    before: str = ''  # scripts for sh, without a deadline; where this one fails the row is skipped
    after: str = ''
    needs: tuple = ()  # programs
    deadline: float = 1.2
    user: str = ''  # whom root runs it as


PYTHON_DAEMON = """import os, pty, signal, subprocess, time
words = ['sh', '-c', 'sleep 3; echo lived >lived']
def vfork():
    subprocess.Popen(words, start_new_session=True)
def posix_spawn():
    os.posix_spawn('/bin/sh', words, os.environ, setsid=True)
def forkpty():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if pty.fork()[0] == 0:
        os.execv('/bin/sh', words)
"""


def python_daemon(how):
    """One that leaves the session in that way, of a COMMAND that waits for ever."""
    return Row(['/usr/bin/python3', '-c', f'{PYTHON_DAEMON}{how}()\ntime.sleep(60)'], 8, deadline=2)


# script(1) runs $SHELL: see run.
TERMINAL = "sleep 5 | script -qec '{}' /dev/null >/dev/null"

SSHD = """[ "$(id -u)" != 0 ] || mkdir -p /run/sshd || exit
ssh-keygen -q -t ed25519 -N '' -f .server/key && cp .server/key.pub .server/authorized &&
for i in HostKey=key PidFile=sshd.pid AuthorizedKeysFile=authorized; do
    echo "${i%=*} $PWD/.server/${i#*=}"
done >.server/config &&
/usr/sbin/sshd -f .server/config -o ListenAddress=127.0.0.1:"$PORT" -o StrictModes=no \
    -o UsePAM=no && echo "Host *
    Port $PORT
    IdentityFile $PWD/.server/key
    ControlPath $PWD/.server/control
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR" >.server/client"""
SSH = 'ssh -F .server/client'
SSH_NEEDS = ('ssh', 'ssh-keygen', '/usr/sbin/sshd')
STOP_SSHD = '; kill $(cat .server/sshd.pid)'

PG = 'export LC_ALL=C PGHOST="$PWD/.server" PGDATA="$PWD/.server/data" PGDATABASE=postgres; '

# name: a Row, or its first two fields
SCRIPTS = {
    "backup": ("sh -c 'sleep 5; echo rows' >new.sql; mv new.sql backup.sql; echo done", 0),
    "bash backup": (["bash", "-c", "sleep 5 >new; mv new backup; rm -f wal; echo done"], 0),
    "make": (MAKE, 0),
    "make -j": (MAKE + " -j2 a", 0),
    "make, then more": (MAKE.replace("exec make", "make; echo built >built"), 0),
    "git commit": (GIT, 0),
    "find": ("find . -maxdepth 0 -exec sh -c 'sleep 5; echo ${1:-ALL} >>cleaned' a {} \\;", 0),
    "find, two files": ("touch a b; exec find . -type f -exec sh -c 'sleep 5; rm $1' x {} \\;", 0),
    "xargs": ("printf '1\\n2\\n3\\n' | xargs -n1 sh -c 'sleep 5; echo $0 >>ran'", 0),
    "until": ("until false; do sleep 0.2; done; echo end >end", 0),
    "until with a command": ("until sleep 5; do echo again >>rounds; done", 0),
    "or": ("sleep 5 || echo failed >failed; echo next >next", 0),
    "for": ("for i in 1 2 3; do sleep 5; echo $i >>out; done", 0),
    "substitution": ('x=$(sleep 5; echo 1); echo "x=$x" >out', 0),
    "wait": ("sleep 5 & wait; echo after >after", 0),
    "bash wait": (["bash", "-c", "sleep 5 & wait $!; echo $? >status"], 0),
    "read": ("(echo 1; sleep 5; echo 2) | while read x; do n=$x; done; echo COMMIT >commit", 0),
    "bash read": (["bash", "-c", "while read x; do n=$x; done < <(echo 1; sleep 5); echo $n >n"], 0),
    "pipeline": ("seq 3 | while read x; do sleep 5; echo $x >>got; done; echo ok >ok", 0),
    "pipeline with a trap": (
        ["bash", "-c", "trap 'echo trapped >t; exit 3' TERM; seq 3 | "
         "while read x; do sleep 5; echo $x >>got; done; echo ok >ok"], 0),
    "trap": ("trap 'rm -f lock; echo cleaned >c; exit 1' TERM; touch lock; sleep 5; echo n >n", 0),
    "trap that takes time": (
        ["bash", "-c", "trap 'sleep 0.3; rm -f lock; echo $? >c; exit 1' TERM; touch lock; sleep 5;"
         " echo next >next"], 0),
    "trap that goes on": (
        ["bash", "-c", "trap 'echo t >>t' TERM; sleep 5; sh -c 'echo next >next'; exit 0"], 0),
    "nested": ("sh -c \"sh -c 'sleep 5; echo a >a'; echo b >b\"; echo c >c", 0),
    "env": ("env A=1 sh -c 'sleep 5; echo a >a'; echo b >b", 0),
    "nice": ("nice sh -c 'sleep 5; echo a >a'; echo b >b", 0),
    "flock": ("flock lock sh -c 'sleep 5; echo a >a'; echo b >b", 0),
    "set -e": ("set -e; sleep 5; echo a >a", 0),
    "stdio": ("(echo 1; sleep 5; echo 2) | \"$IMPORT\"", 0),
    "perl": (["perl", "-e", 'system("sleep 5"); open(F, ">next")'], 0),
    "perl, a shell": (["perl", "-e", '$x = `sleep 5; echo 1`; open(F, ">next")'], 0),
    "python": (["/usr/bin/python3", "-c",
                "import subprocess; subprocess.call(['sleep', '5']); open('next', 'w')"], 0),
    "ruby": (["/usr/bin/ruby", "-e", 'system("sleep 5"); File.write("next", "")'], 0),
    "php": (["php", "-r", 'system("sleep 5"); touch("next");'], 0),
    "busybox": (["busybox", "sh", "-c", "sleep 5; echo a >a"], 0),
    "zsh": (["zsh", "-c", "sleep 5; echo a >a"], 0),
    "ksh": (["ksh", "-c", "sleep 5; echo a >a"], 0),
    "ninja": (r"""printf 'rule r\n command = echo 1 >$out; sleep 5; echo 2 >>$out\nbuild t: r\n' \
>build.ninja; exec ninja >/dev/null""", 0),
    "g++": ("mkfifo f; sleep 5 >f & exec g++ -x c++ -c f -o o", 0),
    "daemon": ("setsid sh -c 'sleep 1.5; echo lived >lived' >/dev/null 2>&1 & sleep 5", 8),
    "daemon in time": ("setsid sh -c 'sleep 1.5; echo lived >lived' >/dev/null 2>&1 &", 8),
    "daemon by vfork": python_daemon("vfork"),
    "daemon by posix_spawn": python_daemon("posix_spawn"),
    "daemon by forkpty": python_daemon("forkpty"),
    "stopped": ("kill -STOP $$; echo next >next", 0),
    "stopped child": ("sh -c 'kill -STOP $$; echo next >next'; echo after >after", 0),
    "stopped program": (["perl", "-e", 'kill STOP => $$; open(F, ">next")'], 0),
    "stopped recipe": (
        "printf 't:\\n\\techo 1 >$@; kill -STOP $$$$; echo 2 >>$@\\n' >Makefile; exec make", 0),
    "terminal": (TERMINAL.format("sleep 5; echo next >next"), 0),
    "terminal, read": (TERMINAL.format("read x; echo got >got"), 0),
    "terminal, read in the background": (
        TERMINAL.format("set -m; cat /dev/tty & sleep 5; echo after >after"), 0),
    # exec, since some shells fork for a last command.  Then the end of the terminal hangs up that
    # shell, which leads the session, and the foreground job, but not bash: to bash its command has
    # failed, and it goes on, under timeout(1) as well.
    "terminal, interactive": (
        TERMINAL.format('exec bash --norc -ic "sleep 5; echo next >next"'), 0),
    "make, a function": (
        "printf 'X := $(shell sleep 5; echo 1)\\nx:\\n\\techo $(X) >x\\n' >Makefile; exec make", 0),
    "make in make": (r"""printf 't:\n\techo 1 >$@; sleep 5; echo 2 >>$@\n' >inner
printf 'all:\n\t$(MAKE) -s -f inner; echo on >on\n' >Makefile; exec make""", 0),
    "xargs -P": ("seq 4 | xargs -P2 -n1 sh -c 'sleep 5; echo $0 >>ran'", 0),
    "find and xargs": (
        "touch a b; find . -type f -print0 | xargs -0 -n1 sh -c 'sleep 5; rm $0'; echo on >on", 0),
    "git clone": ("GIT_SSH_COMMAND='sleep 5; true' git clone -q ssh://a/b c; echo on >on", 0),
    "git alias": ("git -c alias.x='!sleep 5; echo on >on' x; echo after >after", 0),
    "pipefail": (["bash", "-c", "set -eo pipefail; sleep 5 | cat >out; echo next >next"], 0),
    "retry": ("for i in 1 2 3; do sleep 5 && break; echo $i >>tries; done; echo on >on", 0),
    "exit trap": (["bash", "-c", "trap 'rm lock' EXIT; touch lock; sleep 5; echo on >on"], 0),
    "tee": ("(echo 1; sleep 5; echo 2) | tee out | cat >copy; echo on >on", 0),
    "here-document": ("cat <<E >out\n$(sleep 5; echo x)\nE\necho on >on", 0),
    "gzip": ("(echo 1; sleep 5; echo 2) | gzip -n >out", 0),
    "nohup": ("nohup sh -c 'sleep 5; echo a >a' >/dev/null; echo b >b", 0),
    "awk": (["awk", 'BEGIN { while (("sleep 5; echo 1" | getline x) > 0) n++; print n >"n" }'], 0),
    "awk's input": ("(echo 1; sleep 5; echo 2) | awk '{ n++ } END { print n >\"n\" }'", 0),
    "tmux": Row("tmux -S s -f /dev/null new -d 'sleep 3; echo lived >lived; sleep 60'; sleep 5",
                8, after="tmux -S s kill-server", needs=("tmux",), deadline=2),
    "tmux, waiting": Row(
        "tmux -S s -f /dev/null new -d 'sleep 60'; tmux -S s wait-for never; echo on >on",
        after="tmux -S s kill-server && echo it was there", needs=("tmux",), deadline=2),
    "ssh": Row(f"{SSH} 127.0.0.1 'echo begun; sleep 5' >out; echo on >on",
               before=SSHD, after="true" + STOP_SSHD, needs=SSH_NEEDS, deadline=2),
    "ssh, its master": Row(
        f"{SSH} -M -o ControlPersist=60 127.0.0.1 true; sleep 60",
        before=SSHD, after=f"sleep 0.5; {SSH} -O exit 127.0.0.1 2>&1" + STOP_SSHD,
        needs=SSH_NEEDS, deadline=2),
    "postgres": Row(
        PG + 'pg_ctl -w start -o "-k $PGHOST -h \'\'" -l .server/log >/dev/null; '
        "psql -Atc 'select 1' -c 'select pg_sleep(60)' >new.sql; mv new.sql backup.sql; echo on",
        before=PG + "initdb -N >/dev/null", needs=("initdb", "pg_ctl", "psql"), deadline=4,
        after=PG + "sleep 0.5; psql -Atc 'select 41 + 1'; pg_ctl -m immediate stop >/dev/null",
        user="postgres"),
}

# What may differ: a file that timeout(1) leaves and coopdl does not.
WRITTEN_BY_COMMAND = {".ninja_log", ".ninja_deps"}


def row_of(name):
    entry = SCRIPTS[name]
    return entry if isinstance(entry, Row) else Row(*entry)


def words_of(script):
    return ["sh", "-c", script] if isinstance(script, str) else script


def as_user(row):
    return ["runuser", "-u", row.user, "--"] if row.user and os.getuid() == 0 else []


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


def look(directory):
    """The files, with what is in them; of a repository, how many commits there are."""
    found = {}
    for root, _, names in os.walk(directory):
        if {".git", ".server"} & set(root.split(os.sep)):
            continue
        for name in names:
            path = os.path.join(root, name)
            if name not in WRITTEN_BY_COMMAND and os.path.isfile(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    found[os.path.relpath(path, directory)] = file.read()
    if os.path.isdir(os.path.join(directory, ".git")):
        found["commits"] = subprocess.run(
            ["git", "-C", directory, "log", "--oneline"], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, check=False).stdout.count(b"\n")
        found["index.lock"] = os.path.exists(os.path.join(directory, ".git/index.lock"))
    return found


def await_file(path, timeout):
    """A daemon's, on a busy machine later than it says."""
    until = time.monotonic() + timeout
    while time.monotonic() < until and not os.path.exists(path):
        time.sleep(0.02)
    time.sleep(0.05 if timeout else 0)


class Skipped(Exception):
    """The row cannot be run here."""


def beside(row, script, directory, environment):
    """What it says; it has no deadline, and what it leaves in the background none either."""
    with tempfile.TemporaryFile() as said:
        status = subprocess.run(
            as_user(row) + words_of(script), cwd=directory, env=environment,
            stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.DEVNULL, timeout=LONGEST,
            start_new_session=True, check=False).returncode
        said.seek(0)
        return status, said.read().decode(errors="replace")


def run(command, row):
    environment = dict(os.environ, PORT=free_port(), SHELL="/bin/sh")
    with tempfile.TemporaryDirectory() as directory, tempfile.TemporaryFile() as errors:
        if row.before:
            os.mkdir(os.path.join(directory, ".server"))
        if as_user(row):
            shutil.chown(directory, row.user)
            shutil.chown(os.path.join(directory, ".server"), row.user)
        if row.before and beside(row, row.before, directory, environment)[0] != 0:
            raise Skipped("what it needs cannot be started")
        process = subprocess.Popen(
            command + [str(row.deadline)] + as_user(row) + words_of(row.script), cwd=directory,
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
            start_new_session=True)
        try:
            said = process.communicate(timeout=LONGEST)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said = b"nothing, and hangs"
        await_file(os.path.join(directory, "lived"), row.timeout)
        left = look(directory)
        if row.after:
            left["after"] = beside(row, row.after, directory, environment)[1]
        errors.seek(0)
        return said.decode(), errors.read().decode(errors="replace"), left


def compare(name):
    row = row_of(name)
    needs = row.needs + (words_of(row.script)[0],)
    if name in ("git commit", "ninja", "flock", "make", "g++"):
        needs += (name.split()[0],)
    missing = [program for program in needs if not shutil.which(program)]
    if missing:
        raise Skipped(f"{missing[0]} is not installed")
    expected = run(["timeout"], row)
    got = run([COOPDL], row)
    problems = []
    if expected[0] != got[0]:
        problems.append(f"said {got[0]!r} instead of {expected[0]!r}")
    if expected[2] != got[2]:
        problems.append(f"left {got[2]} instead of {expected[2]}")
    problems += [f"standard error has '{word}': {got[1]!r}" for word in LOST if word in got[1]]
    return problems


def verdict_on(name):
    """The words for TAP, and the problems."""
    try:
        problems = compare(name)
    except Skipped as skipped:
        return "ok", f" # SKIP {skipped}", []
    return "not ok" if problems else "ok", "", problems


def main():
    for variable in list(os.environ):
        if variable.startswith("COOPDL_") and variable != "COOPDL_LIBRARY":
            del os.environ[variable]
    wanted = sys.argv[1:] or list(SCRIPTS)
    print(f"1..{len(wanted)}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for number, (name, (verdict, why, problems)) in enumerate(
                zip(wanted, pool.map(verdict_on, wanted)), 1):
            for problem in problems:
                print(f"# {problem}")
            print(f"{verdict} {number} - {name}{why}", flush=True)


main()
