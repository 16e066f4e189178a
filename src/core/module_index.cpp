// SPDX-License-Identifier: AGPL-3.0-only
#include "core/module_index.hpp"

#include "core/names.hpp"
#include "core/pattern_set.hpp"

#include <algorithm>

namespace kmodguard::core {

AliasReach::AliasReach(ModuleIndex& index) : index_(index) {
    complete_ = index.for_each_alias([this](std::string_view alias, std::string_view module) {
        aliases_.emplace_back(fold_pattern(alias), module);
    });
    std::ranges::sort(aliases_);
}

std::set<std::string> AliasReach::modules(const std::string& pattern) const {
    std::set<std::string> reached;
    for (std::string& module : index_.resolve(pattern))
        reached.insert(std::move(module));
    PatternSet set;
    set.add(pattern, 0);
    const std::string folded = fold_pattern(pattern);
    const std::string_view beginning = std::string_view(folded).substr(0, folded.find_first_of("*?[\\"));
    auto alias = std::ranges::lower_bound(aliases_, beginning, {},
                                          [](const auto& known) { return std::string_view(known.first); });
    for (; alias != aliases_.end() && alias->first.starts_with(beginning); ++alias)
        if (set.covers(alias->first)) reached.insert(alias->second);
    return reached;
}

} // namespace kmodguard::core
