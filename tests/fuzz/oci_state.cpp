// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: any bytes as what a runtime sends. Whatever is accepted must say the same once it was
// written out and read again; the end of an object must be found wherever the bytes are cut, and be the end
// of what the parser reads.
#include "enforce/process/oci_handover.hpp"
#include "events/json.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

using namespace kmodguard;
using process::ObjectEnd;

void require(bool condition) {
    if (!condition) std::abort();
}

struct End {
    ObjectEnd::Found found = ObjectEnd::Found::nothing;
    std::size_t position = 0;

    bool operator==(const End&) const = default;
};

End end_of(std::string_view text, std::size_t cut) {
    ObjectEnd end;
    const auto first = end.feed(text.substr(0, cut));
    if (first != ObjectEnd::Found::nothing) return {first, end.position()};
    const auto second = end.feed(text.substr(cut));
    return {second, cut + end.position()};
}

void try_state(const std::string& text) {
    static_cast<void>(process::has_user_namespace(text));
    const auto state = process::parse_oci_state(text);
    if (!state) {
        require(state.error().kind == sys::ErrorKind::invalid && !state.error().what.empty());
        return;
    }
    require(text.size() <= process::max_oci_state);
    require(!state->id.empty() && state->id.find_first_of("\n\t\x1b") == std::string::npos);
    require(state->pid >= 0 && state->listener < state->fds);
    if (state->policy && process::is_policy_name(*state->policy))
        require(state->policy->find('/') == std::string::npos && !state->policy->starts_with('.'));
    // What is a state to the one is an object, and nothing behind it, to the other.
    const End end = end_of(text, text.size());
    require(end.found == ObjectEnd::Found::end
            && text.find_first_not_of(" \t\r\n", end.position) == std::string::npos);
}

void try_json(const std::string& text) {
    const auto json = events::Json::parse(text);
    if (!json) {
        require(json.error().kind == sys::ErrorKind::invalid);
        return;
    }
    const std::string line = json->line();
    const auto again = events::Json::parse(line, {.bytes = line.size(), .depth = 16});
    require(again && again->line() == line);
}

} // namespace

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string text(data, data + size);
    try_state(text);
    try_json(text);
    const End whole = end_of(text, text.size());
    for (std::size_t cut = 0; cut <= text.size(); cut += 1 + text.size() / 16)
        require(end_of(text, cut) == whole);
    return 0;
}
