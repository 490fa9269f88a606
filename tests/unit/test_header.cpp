/* SPDX-License-Identifier: Apache-2.0 */
/* test_header.cpp -- coopdl.h from C++: it compiles, links and works. */
#include "coopdl.h"

#include <criterion/criterion.h>
#include <thread>
#include <unistd.h>

Test(header, from_cpp, .timeout = 10)
{
    bool cut = false;
    std::thread worker([&cut] {
        coopdl_scope scope;
        char byte;
        int ends[2];
        cr_assert(pipe(ends) == 0);
        cr_assert(coopdl_enter(&scope, coopdl_after(10 * COOPDL_MILLISECOND)) == 0);
        cut = read(ends[0], &byte, 1) == -1 && errno == EINTR;
        cr_assert(coopdl_leave(&scope) == 1);
    });
    worker.join();
    cr_assert(cut);
}
