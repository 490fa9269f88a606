/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c -- COOPDL_LOG: a line of `key=value` for each event, or a JSON object.
 *
 * The first key is `coopdl`, and its value the event.  A value with a blank, a quote or a
 * `=` in it is quoted, as a string of JSON is.  Bytes that are no ASCII stay as they are.
 *
 * Written where a call is cut, perhaps in a signal handler, perhaps inside
 * malloc: so no stdio, and one write for each line.  A file is opened for each line: a descriptor
 * that is kept would be in the program's way, and gone after a daemon closes them all.
 */
#include "core/log.h"

#include "coopdl.h"

#include "core/clock.h"
#include "core/line.h"
#include "core/policy.h"
#include "core/sys.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* The size of a line, and of its end: `"}` and a newline.  A value that does not fit is cut off. */
enum { ROOM = 1024, END = 4 };

struct entry {
    char text[ROOM];
    struct coopdl_line line;
};

static void add_key(struct coopdl_line *line, const char *key)
{
    bool json = coopdl_policy.log_json;
    if (line->length)
        coopdl_add(line, json ? "," : " ");
    else if (json)
        coopdl_add(line, "{");
    coopdl_add(line, json ? "\"" : "");
    coopdl_add(line, key);
    coopdl_add(line, json ? "\":" : "=");
}

static void add_escaped(struct coopdl_line *line, char c)
{
    if ((unsigned char)c < ' ' || c == 0x7f) {
        coopdl_add(line, "\\u00");
        coopdl_add_based(line, (unsigned char)c >> 4, 16);
        coopdl_add_based(line, c & 0xf, 16);
        return;
    }
    if (c == '"' || c == '\\')
        coopdl_add_char(line, '\\');
    coopdl_add_char(line, c);
}

static bool is_plain(const char *value)
{
    for (const char *c = value; *c; c++)
        if ((unsigned char)*c <= ' ' || *c == '"' || *c == '=' || *c == '\\' || *c == 0x7f)
            return false;
    return *value;
}

static void add_text(struct entry *entry, const char *key, const char *value)
{
    enum { LONGEST_ESCAPE = 6 };
    struct coopdl_line *line = &entry->line;
    if (line->length + strlen(key) + END + LONGEST_ESCAPE > ROOM - END)
        return;
    bool quoted = coopdl_policy.log_json || !is_plain(value);
    add_key(line, key);
    if (quoted)
        coopdl_add_char(line, '"');
    for (; *value && line->length + LONGEST_ESCAPE < ROOM - END; value++)
        add_escaped(line, *value);
    if (quoted)
        coopdl_add_char(line, '"');
}

static void add_number(struct entry *entry, const char *key, int64_t number)
{
    enum { LONGEST_NUMBER = 20 };
    if (entry->line.length + strlen(key) + END + LONGEST_NUMBER > ROOM - END)
        return;
    add_key(&entry->line, key);
    coopdl_add_number(&entry->line, number);
}

static void begin(struct entry *entry, const char *event)
{
    char name[16] = "";
    entry->line = (struct coopdl_line){.text = entry->text, .size = sizeof(entry->text)};
    coopdl_sys(SYS_prctl, 16 /* PR_GET_NAME */, name);
    add_text(entry, "coopdl", event);
    add_text(entry, "name", name);
    add_number(entry, "pid", coopdl_sys(SYS_getpid));
    add_number(entry, "thread", coopdl_sys(SYS_gettid));
}

void coopdl_log_to(const char *path, const char *text, size_t size)
{
    long fd =
        coopdl_sys(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return;
    coopdl_sys(SYS_write, fd, text, size);
    coopdl_sys(SYS_close, fd);
}

static void end(struct entry *entry)
{
    coopdl_add(&entry->line, coopdl_policy.log_json ? "}\n" : "\n");
    if (strcmp(coopdl_policy.log, "-") == 0)
        coopdl_sys(SYS_write, STDERR_FILENO, entry->text, entry->line.length);
    else
        coopdl_log_to(coopdl_policy.log, entry->text, entry->line.length);
}

static void add_known(struct entry *entry, const char *key, const char *value)
{
    if (*value)
        add_text(entry, key, value);
}

static void add_time(struct entry *entry, const char *key, int64_t ns, int64_t unit)
{
    if (ns >= 0)
        add_number(entry, key, ns / unit);
}

void coopdl_log_cut(const char *event, const struct coopdl_cut *cut)
{
    static const char *const owners[] = {
        [COOPDL_OWNER_SCOPE] = "scope",
        [COOPDL_OWNER_BUDGET] = "budget",
        [COOPDL_OWNER_LENT] = "lent",
    };
    struct entry entry;
    if (!*coopdl_policy.log)
        return;
    begin(&entry, event);
    add_text(&entry, "deadline", owners[cut->owner]);
    add_time(&entry, "length_ms", cut->length, COOPDL_MILLISECOND);
    add_time(&entry, "late_us", cut->at - cut->deadline, COOPDL_MICROSECOND);
    add_text(&entry, "call", cut->call);
    if (cut->descriptor >= 0)
        add_number(&entry, "fd", cut->descriptor);
    add_known(&entry, "target", cut->target);
    add_known(&entry, "library", cut->library);
    add_known(&entry, "function", cut->function);
    add_time(&entry, "waited_ms", cut->waited, COOPDL_MILLISECOND);
    add_time(&entry, "silent_ms", cut->silent, COOPDL_MILLISECOND);
    end(&entry);
}

void coopdl_log_hung_up(int fd)
{
    struct entry entry;
    if (!*coopdl_policy.log)
        return;
    begin(&entry, "hangup");
    add_number(&entry, "fd", fd);
    add_text(&entry, "why", "errors were ignored: the connection is hung up");
    end(&entry);
}

void coopdl_log_step(const char *why, int signal)
{
    struct entry entry;
    if (!*coopdl_policy.log)
        return;
    begin(&entry, "signal");
    if (signal == SIGTERM || signal == SIGKILL)
        add_text(&entry, "signal", signal == SIGTERM ? "SIGTERM" : "SIGKILL");
    else
        add_number(&entry, "signal", signal);
    add_text(&entry, "why", why);
    end(&entry);
}

void coopdl_log_untrapped(const char *why)
{
    struct entry entry;
    if (!*coopdl_policy.log)
        return;
    begin(&entry, "untrapped");
    add_text(&entry, "text", "the trap is not in use, threads are kicked again instead");
    add_text(&entry, "why", why);
    end(&entry);
}

void coopdl_log(coopdl_log_level level, const char *text)
{
    struct entry entry;
    if (!*coopdl_policy.log || (level == COOPDL_LOG_DEBUG && !coopdl_policy.debug))
        return;
    begin(&entry, level == COOPDL_LOG_DEBUG ? "debug" : "note");
    add_text(&entry, "text", text);
    end(&entry);
}
