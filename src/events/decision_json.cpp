// SPDX-License-Identifier: AGPL-3.0-only
#include "events/decision_json.hpp"

#include "core/decision_fields.hpp"

#include <type_traits>

namespace kmodguard::events {
namespace {

Json value_of(const std::string& text) {
    return text;
}
Json value_of(bool value) {
    return value;
}
Json value_of(std::uint32_t value) {
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

} // namespace kmodguard::events
