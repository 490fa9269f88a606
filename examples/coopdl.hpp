/* SPDX-License-Identifier: Apache-2.0 */
/*
 * coopdl.hpp -- a deadline as a C++ object: while it lives, the blocking calls of its thread end by
 * it.  See ask.cpp.  Objects are destroyed in the reverse order of their making, as scopes must be.
 */
#pragma once

#include <cerrno>
#include <chrono>
#include <coopdl.h>
#include <system_error>

namespace coopdl
{

class timeout
{
  public:
    explicit timeout(std::chrono::nanoseconds duration)
    {
        if (coopdl_enter(&scope, coopdl_after(duration.count())) != 0)
            throw std::system_error(errno, std::generic_category(), "coopdl_enter");
    }
    ~timeout()
    {
        coopdl_leave(&scope);
    }
    timeout(const timeout &) = delete;
    timeout &operator=(const timeout &) = delete;

    bool expired() const
    {
        return coopdl_expired(&scope) == 1;
    }

  private:
    coopdl_scope scope;
};

} // namespace coopdl
