// SPDX-License-Identifier: AGPL-3.0-only
#include "events/event_json.hpp"

#include "events/fields.hpp"

#include <fmt/chrono.h>

namespace kmodguard::events {
namespace {

/// Adds the members that `fields` say of `of`. Those of one inner object are next to each other in the lists.
template <typename List, typename Of>
void add_members(Json::Object& object, const List& fields, const Of& of) {
    for (const auto& field : fields) {
        if (field.json.empty()) continue;
        auto value = field.value(of);
        if (!value) continue;
        const std::size_t dot = field.json.find('.');
        const std::string_view outer = field.json.substr(0, dot);
        if (dot == std::string_view::npos) {
            object.emplace_back(outer, std::move(*value));
            continue;
        }
        if (object.empty() || object.back().first != outer) object.emplace_back(outer, Json::Object());
        object.back().second.add(field.json.substr(dot + 1), std::move(*value));
    }
}

} // namespace

Json::Object json_of(const core::Decision& decision) {
    Json::Object object;
    add_members(object, decision_fields, decision);
    return object;
}

Json::Object json_of(const Event& event) {
    Json::Object object;
    const auto add = [&object](const auto& fields, const auto* of) {
        if (of != nullptr) add_members(object, fields, *of);
    };
    std::visit([&](const auto& one) { visit_fields(&one, add); }, event);
    return object;
}

std::string timestamp(std::chrono::system_clock::time_point time) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
    const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time - seconds);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z",
                       fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)), micros.count());
}

} // namespace kmodguard::events
