// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: any bytes as a request line, as an answer, and as the decision, the status and the rules
// in it. Whatever is accepted must come out of its own encoding unchanged; no beginning of an answer may
// count as a whole one.
#include "protocol/answers.hpp"
#include "protocol/message.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using namespace kmodguard;

void require(bool condition) {
    if (!condition) std::abort();
}

void try_request(std::string_view text) {
    const auto request = protocol::parse_request(text);
    if (!request) {
        require(request.error().kind == sys::ErrorKind::invalid && !request.error().what.empty());
        return;
    }
    require(text.size() <= protocol::max_request && text.find('\n') == std::string_view::npos);
    const std::string line = protocol::encode(*request);
    const auto again = protocol::parse_request(std::string_view(line).substr(0, line.size() - 1));
    require(again && again->verb == request->verb && again->argument == request->argument);
}

void try_decision(const protocol::Answer& answer) {
    const auto decision = protocol::decision_of(answer.fields);
    if (!decision) {
        require(decision.error().kind == sys::ErrorKind::invalid);
        return;
    }
    const auto again = protocol::decision_of(protocol::fields_of(*decision));
    require(again && protocol::fields_of(*again) == protocol::fields_of(*decision));
    require(again->effective() == decision->effective());
    for (std::size_t i = 0; i < decision->modules.size(); ++i)
        require(again->loads(again->modules[i]) == decision->loads(decision->modules[i]));
}

void try_status(const protocol::Answer& answer) {
    const auto status = protocol::daemon_status_of(answer.fields);
    if (!status) {
        require(!status.error().what.empty());
        return;
    }
    const auto fields = protocol::fields_of(*status);
    const auto again = protocol::daemon_status_of(fields);
    require(again && protocol::fields_of(*again) == fields);
}

void try_rules(const protocol::Answer& answer) {
    const auto fields = protocol::fields_of(protocol::listed_rules_of(answer.fields));
    require(fields == protocol::fields_of(protocol::listed_rules_of(fields)));
}

void try_answer(std::string_view text) {
    const auto answer = protocol::parse_answer(text);
    if (!answer) return;
    require(protocol::is_complete(text));
    const std::string encoded = protocol::encode(*answer);
    require(protocol::is_complete(encoded));
    const auto again = protocol::parse_answer(encoded);
    require(again && again->outcome == answer->outcome && again->fields.size() == answer->fields.size());
    require(protocol::encode(*again) == encoded);
    for (std::size_t length = 0; length < encoded.size(); ++length)
        require(!protocol::parse_answer(std::string_view(encoded).substr(0, length)));
    const sys::Error error = protocol::error_of(*answer);
    const sys::Error told = protocol::error_of(protocol::error_answer(error));
    require(told.kind == error.kind && told.what == error.what && told.hint == error.hint);
    try_decision(*answer);
    try_status(*answer);
    try_rules(*answer);
}

} // namespace

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    try_request(text);
    try_answer(text);
    return 0;
}
