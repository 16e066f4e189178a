// SPDX-License-Identifier: AGPL-3.0-only
//
// The control socket's messages, and one question to the daemon: lines of UTF-8 text, every length bounded
// (docs/PROTOCOL.md). A request is one line, "VERB argument". An answer is any number of "key value" lines,
// ended by one line that begins OK, DENY or ERR.
#pragma once

#include "sys/result.hpp"

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::protocol {

inline constexpr std::size_t max_request = 4096; ///< bytes of a request line, without its newline
inline constexpr std::size_t max_plan = 65536;   ///< of an answer to AUTOLOAD: the hook has no room for more
inline constexpr std::size_t max_images = 8; ///< descriptors that come with it: as many sys::receive() takes
inline constexpr std::size_t max_list = 16UL * 1024 * 1024; ///< bytes of any answer

struct Request {
    std::string verb; ///< upper case letters
    std::string argument;
};

/// Splits a request line (without newline) at its first blank. Refuses what is over-long or does not begin
/// with a verb. The argument is any bytes but a newline: what they mean, if anything, is for the verb to
/// judge, and to record.
[[nodiscard]] sys::Result<Request> parse_request(std::string_view line);
[[nodiscard]] std::string encode(const Request& request);

struct Field {
    std::string key;
    std::string value;
    bool operator==(const Field&) const = default;
};

enum class Outcome { ok, deny, error };

struct Answer {
    std::vector<Field> fields;
    Outcome outcome = Outcome::ok;
    std::string text; ///< after OK, DENY or ERR; may be empty

    /// The first value of `key`, or "".
    [[nodiscard]] std::string value(std::string_view key) const;
    bool operator==(const Answer&) const = default;
};

/// Control characters in values are shown as \xNN, so that no value can end its line.
[[nodiscard]] std::string encode(const Answer& answer);

/// Whether `text` ends with an answer's last line.
[[nodiscard]] bool is_complete(std::string_view text);
[[nodiscard]] sys::Result<Answer> parse_answer(std::string_view text);

/// An ERR answer's text names the kind of the error first, so that the client's exit code can tell:
/// "not-found: ...".
[[nodiscard]] Answer error_answer(const sys::Error& error);
[[nodiscard]] sys::Error error_of(const Answer& answer);

inline constexpr std::chrono::milliseconds default_timeout = std::chrono::seconds(5);

/// Sends `request` to the daemon at `socket` and waits for its whole answer, `timeout` at most for each step.
/// An ERR answer becomes an error of the kind that it names; no daemon there, or no answer in time, is
/// ErrorKind::unreachable.
///
/// With `waiting` the request changes something: then it is called once, after `timeout`, and the answer is
/// waited for as long as the daemon is there, since a change that was made must not be reported as a failure.
[[nodiscard]] sys::Result<Answer> ask(const std::filesystem::path& socket, const Request& request,
                                      std::chrono::milliseconds timeout = default_timeout,
                                      const std::function<void()>& waiting = {});

} // namespace kmodguard::protocol
