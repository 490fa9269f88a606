/* SPDX-License-Identifier: Apache-2.0 */
/* boxes.cpp -- a program of C++ that waits in a function with a long name. */
#include <unistd.h>

namespace warehouse
{
struct shelf {
    int boxes;
};

__attribute__((noinline)) int count(const shelf &shelf, long more)
{
    return pause() + shelf.boxes + static_cast<int>(more);
}
} // namespace warehouse

int main()
{
    return warehouse::count(warehouse::shelf{1}, 2) == 2 ? 0 : 1;
}
