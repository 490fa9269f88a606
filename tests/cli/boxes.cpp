/* SPDX-License-Identifier: Apache-2.0 */
/* boxes.cpp -- a program of C++ that waits in a function with a long name. */
#include <unistd.h>

namespace warehouse
{
struct shelf {
};

__attribute__((noinline)) int count(const shelf &, long boxes)
{
    return pause() + static_cast<int>(boxes);
}
} // namespace warehouse

int main()
{
    return warehouse::count(warehouse::shelf{}, 2) != 1;
}
