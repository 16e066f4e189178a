// SPDX-License-Identifier: AGPL-3.0-only
#include "core/loosening.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <utility>

namespace kmodguard::core {
namespace {

using Entries = std::vector<PolicySource::Entry>;

std::set<std::string_view> texts_of(const Entries& entries) {
    std::set<std::string_view> texts;
    for (const auto& entry : entries)
        texts.insert(entry.text);
    return texts;
}

bool has_all_of(const Entries& all, const Entries& part) {
    return std::ranges::includes(texts_of(all), texts_of(part));
}

bool loosens_pins(const PolicySource& now, const PolicySource& next) {
    std::set<std::string_view> pinned_now;
    std::set<std::pair<std::string_view, Sha256>> contents_now;
    for (const auto& pin : now.pins) {
        pinned_now.insert(pin.module);
        contents_now.emplace(pin.module, pin.sha256);
    }
    std::set<std::string_view> pinned_next;
    for (const auto& pin : next.pins) {
        pinned_next.insert(pin.module);
        if (pinned_now.contains(pin.module) && !contents_now.contains({pin.module, pin.sha256})) return true;
    }
    return !std::ranges::includes(pinned_next, pinned_now);
}

/// Whether audit mode begins, or ends later.
bool audits_longer(const PolicySource& now, const PolicySource& next) {
    if (next.mode != Mode::audit) return false;
    if (now.mode != Mode::audit) return true;
    return now.audit_ends && (!next.audit_ends || *next.audit_ends > *now.audit_ends);
}

} // namespace

bool wants_point(const PolicySource& source, Point point) {
    return source.points.empty() || std::ranges::find(source.points, point) != source.points.end();
}

bool loosens(const PolicySource& now, const PolicySource& next) {
    constexpr std::array points = {Point::autoload, Point::kernel, Point::process, Point::guest};
    const bool leaves_a_point = std::ranges::any_of(
        points, [&](Point point) { return wants_point(now, point) && !wants_point(next, point); });
    return leaves_a_point || audits_longer(now, next) || (!now.dependencies && next.dependencies)
           || (now.unload_denied && !next.unload_denied) || (!now.user_namespaces && next.user_namespaces)
           || !has_all_of(now.allow_modules, next.allow_modules)
           || !has_all_of(now.allow_aliases, next.allow_aliases)
           || !has_all_of(next.deny_modules, now.deny_modules)
           || !has_all_of(next.deny_aliases, now.deny_aliases) || loosens_pins(now, next);
}

} // namespace kmodguard::core
