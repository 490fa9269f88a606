/* SPDX-License-Identifier: Apache-2.0 */
/* test_target.c -- programs that a preload cannot reach: one warning, and the signal at once. */
#include "process.h"

#include <criterion/criterion.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

TestSuite(target, .init = set_up, .fini = tear_down, .timeout = 30);

enum { NOBODY = 65534 };

#define CANNOT ", LD_PRELOAD cannot reach it: at the deadline it gets SIG"

static const char *static_deaf(void)
{
    const char *path = tested("TEST_DEAF_STATIC");
    if (!*path)
        cr_skip_test("there is no static libc to link a program with");
    return path;
}

/* A script in the scratch directory. */
static const char *script(const char *name, const char *first_line)
{
    const char *path = scratch(name);
    FILE *file = fopen(path, "w");
    cr_assert(file);
    fprintf(file, "%s\necho started\n", first_line);
    cr_assert_eq(fclose(file), 0);
    cr_assert_eq(chmod(path, 0755), 0);
    return path;
}

static void assert_warned(const struct process *process, const char *program, const char *why,
                          const char *signal)
{
    char line[512];
    snprintf(line, sizeof(line), "coopdl: warning: '%s' %s" CANNOT "%s\n", program, why, signal);
    cr_assert(strstr(process->err.text, line) == process->err.text &&
                  occurrences(process->err.text, "coopdl: warning") == 1,
              "not '%s' but '%s'", line, process->err.text);
}

static void assert_not_warned(const struct process *process)
{
    cr_assert(!strstr(process->err.text, "warning"), "'%s'", process->err.text);
}

Test(target, static_program_gets_the_signal_at_the_deadline)
{
    const char *path = static_deaf();
    int64_t deadline, term;
    const struct process *process = RUN(COOPDL, "--grace=9s", "-k300ms", "300ms", path);
    assert_warned(process, path, "is statically linked", "TERM");
    cr_assert(WIFSIGNALED(process->status) && WTERMSIG(process->status) == SIGKILL, "status %#x",
              process->status);
    const char *line = strstr(process->out.text, "TERM ");
    cr_assert(line && sscanf(process->out.text, "ready %" SCNd64, &deadline) == 1 &&
                  sscanf(line, "TERM %" SCNd64, &term) == 1,
              "'%s'", process->out.text);
    cr_assert_geq(term, deadline);
    cr_assert_lt(term, deadline + 3000 * MS);
}

Test(target, warning_names_the_signal)
{
    const char *path = static_deaf();
    assert_warned(RUN(COOPDL, "-s", "2", "9", path, "1"), path, "is statically linked", "INT");
    assert_warned(RUN(COOPDL, "-s", "RTMIN+1", "9", path, "1"), path, "is statically linked",
                  "RTMIN+1");
}

Test(target, static_program_in_time_keeps_its_status_and_gets_no_preload)
{
    const struct process *process = RUN(COOPDL, "20", static_deaf(), "1");
    int64_t deadline;
    char preload[64];
    cr_assert_eq(exit_status(process), 0);
    cr_assert_eq(sscanf(process->out.text, "ready %" SCNd64 " %63s", &deadline, preload), 2, "'%s'",
                 process->out.text);
    cr_assert_geq(deadline, process->started + 20000 * MS);
    cr_assert_str_eq(preload, "-");
}

Test(target, static_program_without_a_signal_is_refused)
{
    ASSERT_REFUSED(RUN(COOPDL, "--grace=off", "1", static_deaf()), "is statically linked",
                   "--grace=off", "nothing would end it");
}

Test(target, without_a_limit_nothing_is_said)
{
    assert_not_warned(RUN(COOPDL, "0", static_deaf(), "1"));
}

Test(target, found_in_path)
{
    const char *path = static_deaf();
    const char *name = strrchr(path, '/') + 1;
    char directories[1024];
    /* A directory of that name is passed over. */
    cr_assert_eq(mkdir(scratch(name), 0755), 0);
    snprintf(directories, sizeof(directories), "/nowhere:%s:%.*s:%s", scratch("."),
             (int)(name - path), path, getenv("PATH"));
    setenv("PATH", directories, 1);
    const struct process *process = RUN(COOPDL, "9", name, "1");
    cr_assert_eq(exit_status(process), 0);
    cr_assert(strstr(process->err.text, "is statically linked"), "'%s'", process->err.text);
}

Test(target, interpreters_are_followed)
{
    const char *path = static_deaf();
    char line[512];
    snprintf(line, sizeof(line), "#!%s", path);
    const char *one = script("one", line);
    assert_warned(RUN(COOPDL, "9", one), path, "is statically linked", "TERM");

    snprintf(line, sizeof(line), "#! \t%s ", one);
    const char *two = script("two", line);
    assert_warned(RUN(COOPDL, "9", two), path, "is statically linked", "TERM");

    snprintf(line, sizeof(line), "#!/usr/bin/env -S -u HOME A=b %s 1", path);
    assert_warned(RUN(COOPDL, "9", script("env", line)), path, "is statically linked", "TERM");
}

Test(target, circle_of_scripts_ends)
{
    char line[256];
    snprintf(line, sizeof(line), "#!%s", scratch("circle"));
    const struct process *process = RUN(COOPDL, "9", script("circle", line));
    assert_not_warned(process);
    cr_assert_eq(exit_status(process), 126);
}

Test(target, dynamic_programs_are_not_warned_of)
{
    assert_not_warned(RUN(COOPDL, "9", DEAF, "1"));
    assert_not_warned(RUN(COOPDL, "9", script("plain", "#!/bin/sh")));
    assert_not_warned(RUN(COOPDL, "9", script("env", "#!/usr/bin/env sh")));
    const struct process *process = RUN(COOPDL, "9", script("none", "")); /* execvp's /bin/sh */
    assert_not_warned(process);
    cr_assert_str_eq(process->out.text, "started\n");
}

Test(target, loader_is_no_static_program)
{
    Dl_info loader;
    cr_assert(dladdr((void *)getauxval(AT_BASE), &loader));
    const struct process *process = RUN(COOPDL, "9", loader.dli_fname, "/bin/echo", "started");
    assert_not_warned(process);
    cr_assert_str_eq(process->out.text, "started\n");
}

Test(target, what_cannot_be_looked_at_is_left_to_exec)
{
    const char *fifo = scratch("fifo");
    cr_assert_eq(mkfifo(fifo, 0755), 0);
    const struct process *process = RUN(COOPDL, "9", fifo);
    cr_assert_eq(exit_status(process), 126);
    ASSERT_ONE_LINE(process, "failed to run command");

    process = RUN(COOPDL, "9", script("gone", "#!/nowhere/interpreter"));
    cr_assert_eq(exit_status(process), 127);
    ASSERT_ONE_LINE(process, "failed to run command");
    process = RUN(COOPDL, "9", script("empty", "#!"));
    assert_not_warned(process);
}

/* A copy of a dynamic program with some of its bytes changed. */
static const char *changed_copy(off_t offset, const void *bytes, size_t length)
{
    const char *copy = scratch("changed");
    cr_assert_eq(exit_status(RUN("cp", DEAF, copy)), 0);
    int fd = open(copy, O_WRONLY | O_CLOEXEC);
    cr_assert_eq(pwrite(fd, bytes, length, offset), (ssize_t)length);
    close(fd);
    return copy;
}

Test(target, other_machine_or_word_size)
{
    uint16_t machine = EM_SPARC;
    const char *copy = changed_copy(offsetof(ElfW(Ehdr), e_machine), &machine, sizeof(machine));
    assert_warned(RUN(COOPDL, "9", copy, "1"), copy, "is built for another machine or word size",
                  "TERM");

    char class = sizeof(void *) == 8 ? ELFCLASS32 : ELFCLASS64;
    copy = changed_copy(EI_CLASS, &class, 1);
    assert_warned(RUN(COOPDL, "9", copy, "1"), copy, "is built for another machine or word size",
                  "TERM");
}

Test(target, other_libc)
{
    ElfW(Ehdr) header;
    ElfW(Phdr) segment = {0};
    int fd = open(DEAF, O_RDONLY | O_CLOEXEC);
    cr_assert_eq(pread(fd, &header, sizeof(header), 0), (ssize_t)sizeof(header));
    for (size_t i = 0; i < header.e_phnum && segment.p_type != PT_INTERP; i++)
        cr_assert_gt(
            pread(fd, &segment, sizeof(segment), (off_t)(header.e_phoff + i * sizeof(segment))), 0);
    close(fd);
    cr_assert_eq(segment.p_type, PT_INTERP);
    const char *copy = changed_copy((off_t)segment.p_offset, "/nowhere", 9);
    const struct process *process = RUN(COOPDL, "9", copy);
    assert_warned(process, copy, "is linked to another libc", "TERM");
    cr_assert_eq(exit_status(process), 127);
}

/* A copy of a dynamic program that belongs to nobody. */
static const char *nobodys_copy(mode_t mode)
{
    if (geteuid() != 0)
        cr_skip_test("only root can give a file away");
    const char *copy = scratch("privileged");
    struct statvfs system;
    cr_assert_eq(exit_status(RUN("cp", DEAF, copy)), 0);
    cr_assert_eq(chown(copy, NOBODY, NOBODY), 0);
    cr_assert_eq(chmod(copy, mode), 0);
    cr_assert_eq(statvfs(copy, &system), 0);
    if (system.f_flag & ST_NOSUID)
        cr_skip_test("the temporary directory's file system is mounted nosuid");
    return copy;
}

Test(target, setuid)
{
    const char *copy = nobodys_copy(04755);
    assert_warned(RUN(COOPDL, "9", copy, "1"), copy, "is setuid", "TERM");
}

Test(target, setgid)
{
    const char *copy = nobodys_copy(02755);
    assert_warned(RUN(COOPDL, "9", copy, "1"), copy, "is setgid", "TERM");
    cr_assert_eq(chmod(copy, 02745), 0);
    assert_not_warned(RUN(COOPDL, "9", copy, "1"));
}

static void become_nobody(void)
{
    if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0)
        _exit(97);
}

Test(target, setuid_to_the_caller_changes_nothing)
{
    const char *copy = nobodys_copy(06755);
    before_exec = become_nobody;
    if (WEXITSTATUS(RUN(COOPDL, "--version")->status) == 96)
        cr_skip_test("another user cannot run the command in this directory");
    assert_not_warned(RUN(COOPDL, "9", copy, "1"));
}

Test(target, file_capabilities)
{
    /* CAP_NET_RAW permitted and effective, as struct vfs_cap_data of version 2 has it. */
    static const uint32_t raw[5] = {0x02000001, 1 << 13};
    const char *copy = nobodys_copy(0755);
    if (setxattr(copy, "security.capability", raw, sizeof(raw), 0) != 0)
        cr_skip_test("no file capabilities here: %s", strerror(errno));
    assert_not_warned(RUN(COOPDL, "9", copy, "1")); /* nothing new for root */
    before_exec = become_nobody;
    const struct process *process = RUN(COOPDL, "9", copy, "1");
    if (WEXITSTATUS(process->status) == 96)
        cr_skip_test("another user cannot run the command in this directory");
    assert_warned(process, copy, "has file capabilities", "TERM");
}

static const char *stuck_static(void)
{
    const char *path = tested("TEST_STUCK_STATIC");
    if (!*path)
        cr_skip_test("there is no static libc to link a program with");
    return path;
}

/* Its own connection is hung up, and it ends by itself. */
Test(target, connections_of_a_static_program_are_hung_up)
{
    const struct process *process =
        RUN(COOPDL, "-v", "--preserve-status", "300ms", stuck_static(), silent_port());
    cr_expect_eq(exit_status(process), 3, "%s", process->err.text);
    cr_expect(strstr(process->out.text, "end\n"));
    cr_expect(!strstr(process->err.text, "sending signal"), "%s", process->err.text);
    cr_expect_geq(process->ended - process->started, 300 * MS);
}

Test(target, connections_of_a_static_busybox_are_hung_up)
{
    char address[64];
    if (exit_status(RUN("sh", "-c", "busybox true")) != 0)
        cr_skip_test("busybox is not installed");
    snprintf(address, sizeof(address), "http://127.0.0.1:%s/", silent_port());
    const struct process *process =
        RUN(COOPDL, "-v", "--preserve-status", "300ms", "busybox", "wget", "-qO-", address);
    cr_expect_eq(exit_status(process), 1, "%s", process->err.text);
    cr_expect(strstr(process->err.text, "wget: "), "%s", process->err.text);
    cr_expect(!strstr(process->err.text, "sending signal"), "%s", process->err.text);
    cr_expect_geq(process->ended - process->started, 300 * MS);
}

Test(target, of_what_a_command_has_started_too)
{
    char line[512];
    snprintf(line, sizeof(line), "LD_PRELOAD= '%s' %s; true", stuck_static(), silent_port());
    const struct process *process = RUN(COOPDL, "--preserve-status", "300ms", "perl", "-e",
                                        "$SIG{TERM} = 'IGNORE'; system(@ARGV)", "sh", "-c", line);
    cr_expect(strstr(process->out.text, "end\n"), "'%s' '%s'", process->out.text,
              process->err.text);
}

Test(target, without_a_hang_up_it_gets_the_signal)
{
    setenv("COOPDL_HANGUP", "off", 1);
    const struct process *process =
        RUN(COOPDL, "-v", "--preserve-status", "300ms", stuck_static(), silent_port());
    cr_expect_eq(exit_status(process), 128 + SIGTERM);
    cr_expect(!strstr(process->out.text, "end\n"));
}

static int inherited_end;

static void inherit_end(void)
{
    dup2(inherited_end, 0);
}

/* It came from its parent's parent, and the static program reads it. */
Test(target, an_inherited_connection_is_not_hung_up)
{
    char byte;
    int pair[2];
    cr_assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    inherited_end = pair[0];
    before_exec = inherit_end;
    const struct process *process = RUN(COOPDL, "300ms", stuck_static(), silent_port());
    cr_expect_eq(exit_status(process), 124);
    cr_expect(send(pair[1], "x", 1, MSG_NOSIGNAL) == 1 && recv(pair[0], &byte, 1, 0) == 1);
}
