// SPDX-License-Identifier: AGPL-3.0-only
#include "protocol/message.hpp"

#include "core/names.hpp"
#include "sys/unix_socket.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace kmodguard::protocol {
namespace {

constexpr std::size_t whole = std::numeric_limits<std::size_t>::max();
constexpr std::array<std::string_view, 3> outcome_words = {"OK", "DENY", "ERR"};
// In the order of sys::ErrorKind's enumerators.
constexpr std::array<std::string_view, 6> kind_words = {"failed",      "not-found", "unauthorized",
                                                        "unreachable", "invalid",   "bad-policy"};

/// "word rest" at the first blank.
std::pair<std::string_view, std::string_view> split(std::string_view line) {
    const std::size_t blank = line.find(' ');
    if (blank == std::string_view::npos) return {line, {}};
    return {line.substr(0, blank), line.substr(blank + 1)};
}

std::string_view last_line(std::string_view text) {
    if (!text.ends_with('\n')) return {};
    text.remove_suffix(1);
    const std::size_t newline = text.rfind('\n');
    return newline == std::string_view::npos ? text : text.substr(newline + 1);
}

std::optional<Outcome> outcome_of(std::string_view line) {
    const auto found = std::ranges::find(outcome_words, split(line).first);
    if (found == outcome_words.end()) return std::nullopt;
    return static_cast<Outcome>(found - outcome_words.begin());
}

/// `waiting`: called once when nothing comes in time, and then it goes on waiting. Empty: that is an error.
sys::Result<std::string> receive(const sys::UniqueFd& socket, std::function<void()> waiting) {
    std::string text;
    const bool waits = static_cast<bool>(waiting);
    std::array<char, 16384> buffer; // NOLINT(cppcoreguidelines-pro-type-member-init): recv() fills it
    while (!is_complete(text)) {
        const ssize_t count = ::recv(socket.get(), buffer.data(), buffer.size(), 0);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN && waits) {
            if (waiting) std::exchange(waiting, nullptr)();
            continue;
        }
        if (count < 0 && errno == EAGAIN)
            return sys::failure(sys::ErrorKind::unreachable, "the daemon does not answer in time",
                                "see whether it runs: kmodctl status");
        if (count < 0 && errno != ECONNRESET) return sys::system_failure("cannot receive from", "the daemon");
        if (count <= 0 && waits)
            return sys::failure(sys::ErrorKind::unreachable,
                                "the daemon closed the connection: whether the change was made is not known",
                                "kmodctl status and kmodctl list show what is in force");
        if (count <= 0) return sys::failure(sys::ErrorKind::unreachable, "the daemon closed the connection");
        text.append(buffer.data(), static_cast<std::size_t>(count));
        if (text.size() > max_list)
            return sys::failure(sys::ErrorKind::invalid, "the daemon's answer is too long");
    }
    return text;
}

} // namespace

sys::Result<Request> parse_request(std::string_view line) {
    if (line.size() > max_request)
        return sys::failure(sys::ErrorKind::invalid,
                            "the request is longer than " + std::to_string(max_request) + " bytes");
    if (line.find('\n') != std::string_view::npos)
        return sys::failure(sys::ErrorKind::invalid, "a request is one line");
    const auto [verb, argument] = split(line);
    if (verb.empty() || !std::ranges::all_of(verb, [](char c) { return c >= 'A' && c <= 'Z'; }))
        return sys::failure(sys::ErrorKind::invalid, "a request begins with a verb in capital letters");
    return Request{std::string(verb), std::string(argument)};
}

std::string encode(const Request& request) {
    std::string line = request.verb;
    if (!request.argument.empty()) line += " " + request.argument;
    return line + "\n";
}

std::string Answer::value(std::string_view key) const {
    const auto found = std::ranges::find(fields, key, &Field::key);
    return found == fields.end() ? "" : found->value;
}

std::string encode(const Answer& answer) {
    std::string text;
    for (const Field& field : answer.fields) {
        text += field.key;
        text += ' ';
        text += core::printable(field.value, whole);
        text += '\n';
    }
    text += outcome_words.at(static_cast<std::size_t>(answer.outcome));
    if (!answer.text.empty()) text += " " + core::printable(answer.text, whole);
    return text + "\n";
}

bool is_complete(std::string_view text) {
    return outcome_of(last_line(text)).has_value();
}

sys::Result<Answer> parse_answer(std::string_view text) {
    Answer answer;
    while (!text.empty()) {
        const std::size_t newline = text.find('\n');
        if (newline == std::string_view::npos) break;
        const std::string_view line = text.substr(0, newline);
        text.remove_prefix(newline + 1);
        const auto [key, value] = split(line);
        const auto outcome = outcome_of(line);
        if (!outcome) {
            answer.fields.push_back({std::string(key), std::string(value)});
            continue;
        }
        if (!text.empty()) break;
        answer.outcome = *outcome;
        answer.text = value;
        return answer;
    }
    return sys::failure(sys::ErrorKind::failed, "the daemon's answer is cut off or malformed");
}

Answer error_answer(const sys::Error& error) {
    Answer answer{.fields = {}, .outcome = Outcome::error, .text = {}};
    if (!error.hint.empty()) answer.fields.push_back({"hint", error.hint});
    answer.text = std::string(kind_words.at(static_cast<std::size_t>(error.kind))) + ": " + error.what;
    return answer;
}

sys::Error error_of(const Answer& answer) {
    const std::size_t colon = answer.text.find(": ");
    const auto kind = std::ranges::find(kind_words, std::string_view(answer.text).substr(0, colon));
    if (colon == std::string::npos || kind == kind_words.end())
        return {sys::ErrorKind::failed, answer.text, answer.value("hint")};
    return {static_cast<sys::ErrorKind>(kind - kind_words.begin()), answer.text.substr(colon + 2),
            answer.value("hint")};
}

sys::Result<Answer> ask(const std::filesystem::path& socket, const Request& request,
                        std::chrono::milliseconds timeout, const std::function<void()>& waiting) {
    const std::string line = encode(request);
    // A newline in the argument would make it two requests.
    TRY(parse_request(std::string_view(line).substr(0, line.size() - 1)));
    const auto connection = sys::connect_unix(socket, timeout);
    if (!connection) {
        sys::Error error = connection.error();
        if (error.kind == sys::ErrorKind::unreachable) error.hint = "start it with kmodctl start";
        return std::unexpected(std::move(error));
    }
    // If sending fails the daemon may have answered why before it hung up: that it answers only root, say.
    static_cast<void>(sys::send_all(*connection, line));
    const auto text = TRY(receive(*connection, waiting));
    auto answer = TRY(parse_answer(text));
    if (answer.outcome == Outcome::error) return std::unexpected(error_of(answer));
    return answer;
}

} // namespace kmodguard::protocol
