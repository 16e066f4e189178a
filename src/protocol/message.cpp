// SPDX-License-Identifier: AGPL-3.0-only
#include "protocol/message.hpp"

#include "core/names.hpp"

#include <algorithm>
#include <array>
#include <limits>

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

bool is_verb_character(char c) {
    return c >= 'A' && c <= 'Z';
}

} // namespace

sys::Result<Request> parse_request(std::string_view line) {
    if (line.size() > max_request)
        return sys::failure(sys::ErrorKind::invalid,
                            "the request is longer than " + std::to_string(max_request) + " bytes");
    if (line.find('\n') != std::string_view::npos)
        return sys::failure(sys::ErrorKind::invalid, "a request is one line");
    const auto [verb, argument] = split(line);
    if (verb.empty() || !std::ranges::all_of(verb, is_verb_character))
        return sys::failure(sys::ErrorKind::invalid, "a request begins with a verb in capital letters");
    return Request{std::string(verb), std::string(argument)};
}

std::string encode(const Request& request) {
    std::string line = request.verb;
    if (!request.argument.empty()) line += " " + request.argument;
    return line + "\n";
}

bool Field::operator==(const Field&) const = default;
bool Answer::operator==(const Answer&) const = default;

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
    if (colon != std::string::npos) {
        const auto found = std::ranges::find(kind_words, std::string_view(answer.text).substr(0, colon));
        if (found != kind_words.end())
            return {static_cast<sys::ErrorKind>(found - kind_words.begin()), answer.text.substr(colon + 2),
                    answer.value("hint")};
    }
    return {sys::ErrorKind::failed, answer.text, answer.value("hint")};
}

} // namespace kmodguard::protocol
