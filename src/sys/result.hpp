// SPDX-License-Identifier: AGPL-3.0-only
//
// The one error type of the project. A function that can fail returns Result<T>; nothing here throws.
// An error names what was tried, on which object, why it failed, and what to do about it; `kind` is what
// a program decides on (kmodctl's exit code, whether to retry), the texts are for people.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace kmodguard::sys {

enum class ErrorKind {
    failed,      ///< anything without a kind of its own
    not_found,   ///< the named object does not exist
    denied,      ///< the caller may not do this
    unreachable, ///< no process answers at the other end
    invalid,     ///< the input is malformed, or over a limit
    bad_policy,  ///< a policy file that cannot be used
};

struct Error {
    ErrorKind kind = ErrorKind::failed;
    std::string what;      ///< "cannot open /etc/kmodguard/policy.toml: Permission denied"
    std::string hint = {}; ///< "run kmodctl as root"; may be empty
};

template <typename T>
using Result = std::expected<T, Error>;

/// A failure of `kind`. For `return failure(...)` in any function that returns a Result.
[[nodiscard]] inline std::unexpected<Error> failure(ErrorKind kind, std::string what, std::string hint = {}) {
    return std::unexpected(Error{kind, std::move(what), std::move(hint)});
}

/// The error of a failed system call: "<action> <object>: <strerror(code)>". ENOENT becomes not_found,
/// EACCES and EPERM denied, ECONNREFUSED unreachable.
[[nodiscard]] Error system_error(std::string_view action, std::string_view object, int code = errno);

[[nodiscard]] inline std::unexpected<Error> system_failure(std::string_view action, std::string_view object,
                                                           int code = errno) {
    return std::unexpected(system_error(action, object, code));
}

/// "EPERM", as records and reports have it; the number of one that the C library does not know; "0" for none.
[[nodiscard]] std::string error_name(int code);

/// The value of a Result, or another std::expected; for TRY, also where the value is of no interest.
template <typename T, typename E>
constexpr T take(std::expected<T, E>&& result) {
    return *std::move(result);
}
template <typename E>
constexpr void take(std::expected<void, E>&& /*result*/) {}

} // namespace kmodguard::sys

/// The value of a Result; where it has none, the function around it ends with its error:
///     auto file = TRY(open_regular_file(path));
///     TRY(file.sync());
/// An initialiser or a statement of its own, not an argument: g++ does not destroy the other arguments of a
/// call that it leaves. Not in a coroutine: the guest point has or_end() for its own.
#define TRY(...)                                                                                             \
    __extension__({                                                                                          \
        auto try_result_ = (__VA_ARGS__);                                                                    \
        if (!try_result_) return std::unexpected(std::move(try_result_).error());                            \
        ::kmodguard::sys::take(std::move(try_result_));                                                      \
    })
