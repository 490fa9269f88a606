/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scopes.c -- fuzzer: what a thread does with its scopes, against a model.
 *
 * Each pair of bytes is an operation and its argument.  The model is a list of
 * deadlines and shields: the earliest deadline inside the innermost shield rules.
 * Deadlines are long past or hours away, so that no result depends on the time that
 * the fuzzer takes.  At the end a call that would wait shows whether it is cut.
 */
#include "coopdl.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DEEPEST = 40, LONGEST = 400 };

static struct {
    coopdl_scope scope;
    int64_t deadline;
    bool shield;
} model[DEEPEST];
static int depth;

#define CHECK(holds)                                                                               \
    do {                                                                                           \
        if (!(holds)) {                                                                            \
            fprintf(stderr, "%s:%d: %s, %d scopes\n", __FILE__, __LINE__, #holds, depth);          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* The library keeps deadlines in steps of 8 ns, rounded up; what has passed for ever is 0. */
static int64_t kept(int64_t deadline)
{
    return deadline <= 0 ? 0 : deadline >= COOPDL_NEVER - 7 ? COOPDL_NEVER : (deadline + 7) & ~7LL;
}

static int64_t ruling(void)
{
    int64_t earliest = COOPDL_NEVER;
    for (int i = depth; i-- && !model[i].shield;)
        if (model[i].deadline < earliest)
            earliest = model[i].deadline;
    return earliest;
}

static bool is_expired(void)
{
    return ruling() <= coopdl_now();
}

/* Past: -5 to 59 ns of the clock; hours away; never. */
static int64_t deadline_of(uint8_t argument)
{
    static int64_t start;
    if (!start)
        start = coopdl_now();
    return argument < 64    ? argument - 5
           : argument < 250 ? start + argument * 60 * COOPDL_SECOND * 60
                            : COOPDL_NEVER;
}

static void enter(int64_t deadline, bool shield)
{
    if (depth == DEEPEST)
        return;
    CHECK((shield ? coopdl_shield(&model[depth].scope)
                  : coopdl_enter(&model[depth].scope, deadline)) == 0);
    model[depth].deadline = shield ? COOPDL_NEVER : kept(deadline);
    model[depth].shield = shield;
    depth++;
}

/* Those inside it are left with it. */
static void leave(int i)
{
    bool expired = !model[i].shield && is_expired() && model[i].deadline <= ruling();
    CHECK(coopdl_leave(&model[i].scope) == expired);
    CHECK(coopdl_leave(&model[i].scope) == -1 && errno == EINVAL);
    depth = i;
}

static void move(int i, int64_t deadline)
{
    CHECK(coopdl_move(&model[i].scope, deadline) == (model[i].shield ? -1 : 0));
    if (!model[i].shield)
        model[i].deadline = kept(deadline);
}

static void act(uint8_t operation, uint8_t argument)
{
    int chosen = depth ? argument % depth : -1;
    switch (operation % 6) {
    case 0:
    case 1:
        enter(deadline_of(argument), false);
        break;
    case 2:
        enter(COOPDL_NEVER, true);
        break;
    case 3:
        if (depth)
            leave(depth - 1);
        break;
    case 4:
        if (depth)
            leave(chosen);
        break;
    default:
        if (depth)
            move(chosen, deadline_of((uint8_t)(argument * 7)));
    }
    CHECK(coopdl_deadline() == ruling());
    CHECK((coopdl_remaining() == 0) == is_expired());
    for (int i = 0; i < depth; i++)
        CHECK(coopdl_expired(&model[i].scope) ==
              (is_expired() && model[i].deadline <= coopdl_now()));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > LONGEST)
        return -1;
    for (size_t i = 0; i + 1 < size; i += 2)
        act(data[i], data[i + 1]);
    int result = poll(NULL, 0, is_expired() ? 1000 : 0);
    CHECK(is_expired() ? result == -1 && errno == EINTR : result == 0);
    if (depth)
        coopdl_leave(&model[0].scope);
    depth = 0;
    CHECK(coopdl_deadline() == COOPDL_NEVER);
    CHECK(poll(NULL, 0, 0) == 0);
    return 0;
}
