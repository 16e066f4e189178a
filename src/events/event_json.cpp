// SPDX-License-Identifier: AGPL-3.0-only
#include "events/event_json.hpp"

#include "core/decision_fields.hpp"
#include "events/fields.hpp"

#include <fmt/chrono.h>

#include <type_traits>

namespace kmodguard::events {
namespace {

template <typename Value>
    requires std::is_constructible_v<Json, const Value&>
Json value_of(const Value& value) {
    return value;
}
template <typename Enum>
    requires std::is_enum_v<Enum>
Json value_of(Enum value) {
    return to_string(value);
}

template <typename Owner>
Json::Object object_of(const Owner& owner);

template <typename Owner>
    requires std::is_class_v<decltype(core::Fields<Owner>::list)>
Json value_of(const Owner& owner) {
    return object_of(owner);
}
template <typename Owner>
Json value_of(const std::optional<Owner>& owner) {
    return object_of(*owner);
}
template <typename Item>
Json value_of(const std::vector<Item>& items) {
    Json::List list;
    for (const Item& item : items)
        list.push_back(value_of(item));
    return list;
}
Json value_of(const std::optional<core::Admission>& image) {
    Json::Object object = object_of(*image);
    object.emplace_back("verdict", to_string(verdict_of(image->reason)));
    return object;
}

template <typename Owner>
Json::Object object_of(const Owner& owner) {
    Json::Object object;
    const auto add = [&](const auto& field) {
        if (!field.json.empty() && is_said(field, owner))
            object.emplace_back(field.json, value_of(owner.*field.member));
    };
    std::apply([&](const auto&... field) { (add(field), ...); }, core::Fields<Owner>::list);
    return object;
}

/// Adds the members of `of` that `fields` lists. Those of one inner object are next to each other in the
/// lists.
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

Json json_of(const core::Rule& rule) {
    return object_of(rule);
}

Json json_of(const core::ModuleDecision& module, const core::Decision& decision) {
    Json::Object object = object_of(module);
    object.emplace_back("verdict", to_string(module.verdict()));
    object.emplace_back("loads", decision.loads(module));
    object.emplace_back("will_load", decision.will_load(module));
    return object;
}

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
