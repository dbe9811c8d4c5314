// SPDX-License-Identifier: Apache-2.0
// Result<T>: what every fallible function of Fairlead's C++ returns. Exceptions do not cross a module.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

namespace fairlead {

// An error that a person can act on. `code` is a positive errno where one is known, else 0.
struct Error {
    std::string message;
    int code = 0;
};

template <typename T>
using Result = tl::expected<T, Error>;

// fail("cannot open X") for use in a return statement.
inline tl::unexpected<Error> fail(std::string message, int code = 0) {
    return tl::unexpected<Error>(Error{std::move(message), code});
}

// fail_errno("open /x", errno) -> "open /x: No such file or directory".
inline tl::unexpected<Error> fail_errno(std::string_view what, int code) {
    return fail(std::string(what) + ": " + std::strerror(code), code);
}

}  // namespace fairlead
