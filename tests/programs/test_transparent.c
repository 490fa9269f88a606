/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_transparent.c -- with no budget, or one far away, no program can tell
 * that the library is there: the same output, the same exit status, and not a
 * thread more.
 */
#include "run.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TIMEOUT (20 * SECOND)

TestSuite(transparent, .init = servers_start, .fini = servers_end, .timeout = 60);

static struct run finish(const char *const *command)
{
    struct run run;
    bool ended;

    run_start(&run, command, -1, -1);
    ended = run_wait(&run, run.started + TIMEOUT);
    run_kill(&run);
    cr_assert(ended, "it did not end; output: %s", run_output(&run));
    return run;
}

static void is_like(const struct run *plain, const struct run *run, const char *how)
{
    cr_expect(run->status == plain->status, "%s it ended with %s; output: %s", how, run_end(run),
              run_output(run));
    cr_expect_str_eq(run_output(run), run_output(plain), "%s it printed:\n%s\nand without:\n%s",
                     how, run_output(run), run_output(plain));
}

static void looks_the_same(const char *const *command, int status)
{
    struct run plain, loaded, budgeted;

    run_need(command);
    plain = finish(command);
    cr_assert(WIFEXITED(plain.status) && WEXITSTATUS(plain.status) == status, "%s; output: %s",
              run_end(&plain), run_output(&plain));
    cr_assert(run_output(&plain)[0], "a command without output shows nothing");
    run_preload(NULL);
    loaded = finish(command);
    is_like(&plain, &loaded, "preloaded");
    run_preload("1h");
    budgeted = finish(command);
    is_like(&plain, &budgeted, "with a budget of 1 h");
}

#define SAME(name, status, ...)                                                                    \
    Test(transparent, name)                                                                        \
    {                                                                                              \
        looks_the_same((const char *const[]){__VA_ARGS__, NULL}, status);                          \
    }

SAME(descriptors, 0, "ls", "/proc/self/fd")
SAME(signals, 0, "grep", "^Sig[BI]", "/proc/self/status")
SAME(sort, 0, "sh", "-c", "printf '%s\\n' pear fig apple | sort")
SAME(pipeline, 7, "sh", "-c", "seq 1000 | sort -rn | tail -n 3 | cat; echo error >&2; exit 7")
SAME(shell_wait, 3, "sh", "-c", "(sleep 0.1; echo child; exit 3) & wait $!")
SAME(python, 4, "$PYTHON", "-c", "print(sum(range(1000))); raise SystemExit(4)")
SAME(python_child, 0, "$PYTHON", "-c",
     "import subprocess, threading\n"
     "print(subprocess.check_output(['sh', '-c', 'sleep 0.1; echo child']))\n"
     "print(threading.active_count())\n")
SAME(python_signal, 0, "$PYTHON", "-c",
     "import signal, time\n"
     "signal.signal(signal.SIGALRM, lambda number, frame: print('alarm', number))\n"
     "signal.setitimer(signal.ITIMER_REAL, 0.1)\n"
     "signal.pause()\n"
     "print(signal.pthread_sigmask(signal.SIG_BLOCK, []))\n")
SAME(raw_calls, 0, "$RAW_CALLS")
SAME(own_signals, 0, "$OWN_SIGNALS")
SAME(ruby, 5, "$RUBY", "-e", "puts `echo child`, (1..10).sum; exit 5")
SAME(killed, 143, "sh", "-c", "echo before; sh -c 'kill -TERM $$'; exit $?")
/* What a program was given, in the same order; no values, for a failure ends up in logs. */
SAME(environment, 0, "$PYTHON", "-c",
     "import os, zlib\n"
     "for name, value in os.environb.items():\n"
     "    if name not in (b'LD_PRELOAD', b'COOPDL_BUDGET', b'COOPDL_DEADLINE'):\n"
     "        print(name.decode(), zlib.crc32(value))\n")

/* Only a deadline needs a handler for the kick, and keeps the kick out of masks. */
static void looks_the_same_to_the_kernel(const char *const *command)
{
    struct run plain = finish(command), loaded;

    cr_assert(strstr(run_output(&plain), "SigCgt:"), "%s", run_output(&plain));
    run_preload(NULL);
    loaded = finish(command);
    is_like(&plain, &loaded, "preloaded");
}

Test(transparent, handlers_without_a_budget)
{
    looks_the_same_to_the_kernel(
        (const char *const[]){"grep", "^SigCgt", "/proc/self/status", NULL});
}

Test(transparent, own_signals_without_a_budget)
{
    looks_the_same_to_the_kernel((const char *const[]){"$OWN_SIGNALS", "kernel", NULL});
}

/* Before main nothing is allocated, no key is taken, and nothing else is loaded. */
Test(transparent, first_things)
{
    const char *const command[] = {"$FIRST_THINGS", NULL};
    struct run plain = finish(command), loaded;

    cr_assert(strstr(run_output(&plain), "no heap"), "%s", run_output(&plain));
    run_preload(NULL);
    loaded = finish(command);
    is_like(&plain, &loaded, "preloaded");
}

/* Only a budget writes a deadline for the children. */
Test(transparent, deadline_in_the_environment)
{
    static const char *const command[] = {"sh", "-c", "env | grep -Eo '^(LD_|COOPDL_DEAD)[A-Z]+='",
                                          NULL};
    struct run loaded, budgeted;

    run_preload(NULL);
    loaded = finish(command);
    cr_expect(strstr(run_output(&loaded), "LD_PRELOAD="), "%s", run_output(&loaded));
    cr_expect_not(strstr(run_output(&loaded), "COOPDL_DEADLINE="), "%s", run_output(&loaded));
    run_preload("1h");
    budgeted = finish(command);
    cr_expect(strstr(run_output(&budgeted), "COOPDL_DEADLINE="), "%s", run_output(&budgeted));
}

static int threads_of(pid_t pid)
{
    char path[64], line[256];
    int threads = 0;
    FILE *status;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    status = fopen(path, "re");
    cr_assert(status, "%s", path);
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "Threads: %d", &threads) == 1)
            break;
    fclose(status);
    return threads;
}

/* Its first byte of output shows that the program is past its start-up. */
static void has_one_thread(const char *const *command, const char *budget)
{
    struct run run;
    int input[2], output[2], threads;
    char byte;

    run_preload(budget);
    cr_assert(pipe2(input, O_CLOEXEC) == 0 && pipe2(output, O_CLOEXEC) == 0);
    cr_assert(write(input[1], "x\n", 2) == 2);
    run_start(&run, command, input[0], output[1]);
    close(output[1]);
    cr_expect(read(output[0], &byte, 1) == 1, "it printed nothing");
    threads = threads_of(run.pid);
    run_kill(&run);
    close(output[0]);
    close(input[0]);
    close(input[1]);
    cr_expect(threads == 1, "%s has %d threads with %s budget", command[0], threads,
              budget ? "a" : "no");
}

static void adds_no_thread(const char *const *command)
{
    run_need(command);
    has_one_thread(command, NULL);
    has_one_thread(command, "1h");
}

Test(transparent, threads_of_cat)
{
    adds_no_thread((const char *const[]){"cat", NULL});
}

Test(transparent, threads_of_a_c_program)
{
    adds_no_thread((const char *const[]){"$RECV_LOOP", "$BLACKHOLE_PORT", NULL});
}

Test(transparent, threads_of_python)
{
    adds_no_thread((const char *const[]){
        "$PYTHON", "-c", "import sys; print('up', flush=True); sys.stdin.read()", NULL});
}
