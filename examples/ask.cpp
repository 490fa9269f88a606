/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ask.cpp -- asks a question on the terminal, and takes the default if there is no answer in time.
 *
 *     c++ -o ask ask.cpp $(pkg-config --cflags --libs coopdl) && ./ask
 */
#include "coopdl.hpp"

#include <iostream>
#include <unistd.h>

static bool is_yes()
{
    char answer[100];
    coopdl::timeout limit(std::chrono::seconds(1));
    std::cout << "Continue? [Y/n] " << std::flush;
    ssize_t got = read(STDIN_FILENO, answer, sizeof(answer));
    if (got < 0 && limit.expired())
        std::cout << "no answer in time: ";
    return got <= 0 || answer[0] != 'n';
}

int main()
try {
    bool yes = is_yes();
    std::cout << (yes ? "yes\n" : "no\n");
    return yes ? 0 : 1;
} catch (const std::exception &error) {
    std::cerr << error.what() << '\n';
    return 2;
}
