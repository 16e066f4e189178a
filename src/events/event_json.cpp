// SPDX-License-Identifier: AGPL-3.0-only
#include "events/event_json.hpp"

#include "core/decision_fields.hpp"
#include "events/fields.hpp"
#include "events/json_text.hpp"

#include <array>
#include <concepts>
#include <type_traits>

namespace kmodguard::events {
namespace {

template <typename Owner>
    requires std::is_class_v<decltype(core::Fields<Owner>::list)>
void write_value(Output& out, const Owner& owner);
template <typename Item>
void write_value(Output& out, const std::vector<Item>& items);

template <typename Owner>
void write_value(Output& out, const std::optional<Owner>& owner) {
    write_value(out, *owner);
}
void write_value(Output& out, const std::optional<core::Admission>& image);

template <typename Owner>
void write_members(Output& out, const Owner& owner) {
    const auto write_one = [&](const auto& field) {
        if (field.json.empty() || !is_said(field, owner)) return;
        out.name(field.json);
        write_value(out, owner.*field.member);
    };
    std::apply([&](const auto&... field) { (write_one(field), ...); }, core::Fields<Owner>::list);
}

template <typename Owner>
    requires std::is_class_v<decltype(core::Fields<Owner>::list)>
void write_value(Output& out, const Owner& owner) {
    out.begin_object();
    write_members(out, owner);
    out.end_object();
}

template <typename Item>
void write_value(Output& out, const std::vector<Item>& items) {
    out.begin_list();
    for (const Item& item : items)
        write_value(out, item);
    out.end_list();
}

void write_value(Output& out, const std::optional<core::Admission>& image) {
    out.begin_object();
    write_members(out, *image);
    out.name("verdict");
    write_value(out, verdict_of(image->reason));
    out.end_object();
}

/// Writes the members of `of` that `fields` lists. Those of one inner object are next to each other in the
/// lists, and the first of them is always there.
template <typename List, typename Of>
void write_listed(Output& out, const List& fields, const Of& of) {
    std::string_view open; // the inner object
    for (const auto& field : fields) {
        if (field.json.empty()) continue;
        const std::size_t dot = field.json.find('.');
        const std::string_view outer =
            dot == std::string_view::npos ? std::string_view() : field.json.substr(0, dot);
        if (outer != open) {
            if (!open.empty()) out.end_object();
            if (!outer.empty()) {
                out.name(outer);
                out.begin_object();
            }
            open = outer;
        }
        out.name(outer.empty() ? field.json : field.json.substr(dot + 1));
        field.write(of, out);
    }
    if (!open.empty()) out.end_object();
}

} // namespace

void write(Output& out, const core::Rule& rule) {
    write_value(out, rule);
}

void write(Output& out, const core::ModuleDecision& module, const core::Decision& decision) {
    out.begin_object();
    write_members(out, module);
    out.name("verdict");
    write_value(out, module.verdict());
    out.name("loads");
    out.boolean(decision.loads(module));
    out.name("will_load");
    out.boolean(decision.will_load(module));
    out.end_object();
}

Json json_of(const core::Rule& rule) {
    JsonBuilder builder;
    write(builder, rule);
    return builder.take();
}

Json::Object json_of(const core::Decision& decision) {
    JsonBuilder builder;
    builder.begin_object();
    write_listed(builder, decision_fields, decision);
    builder.end_object();
    return *builder.take().object();
}

bool append_json(std::string& to, const Event& event) {
    const auto append = [&to](const auto& one) {
        JsonText text(to);
        text.begin_object();
        visit_fields(&one, [&text](const auto& fields, const auto* of) {
            if (of != nullptr) write_listed(text, fields, *of);
        });
        text.end_object();
    };
    return visit_logged(event, append);
}

Timestamp::Timestamp(WallClock::time_point time) {
    const auto day = std::chrono::floor<std::chrono::days>(time);
    const std::chrono::year_month_day date(day);
    const auto micros = std::chrono::floor<std::chrono::microseconds>(time - day).count();
    constexpr std::int64_t second = 1'000'000;
    constexpr std::int64_t minute = 60 * second;
    // In decimal, with zeros before it, in `length` characters.
    const auto put = [this](std::size_t at, std::size_t length, std::int64_t value) {
        for (std::size_t i = at + length; i-- > at; value /= 10)
            text_.at(i) = static_cast<char>('0' + value % 10);
    };
    put(0, 4, int{date.year()});
    put(5, 2, unsigned{date.month()});
    put(8, 2, unsigned{date.day()});
    put(11, 2, micros / (60 * minute));
    put(14, 2, micros / minute % 60);
    put(17, 2, micros / second % 60);
    put(20, 6, micros % second);
}

} // namespace kmodguard::events
