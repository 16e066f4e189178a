// SPDX-License-Identifier: AGPL-3.0-only
#include "symbols/symbols.hpp"

#include <algorithm>
#include <utility>

namespace kmodguard::symbols {

std::size_t Symbols::lower_bound(std::string_view wanted) const {
    const auto name = [this](const Entry& entry) { return name_of(entry); };
    return static_cast<std::size_t>(std::ranges::lower_bound(entries_, wanted, {}, name) - entries_.begin());
}

std::vector<std::uint64_t> Symbols::find(std::string_view wanted) const {
    std::vector<std::uint64_t> found;
    for (auto i = lower_bound(wanted); i < count() && at(i).name == wanted; ++i)
        found.push_back(at(i).address);
    return found;
}

std::vector<Symbol> Symbols::with_stem(std::string_view stem) const {
    std::vector<Symbol> found;
    for (auto i = lower_bound(stem); i < count() && at(i).name == stem; ++i)
        found.push_back(at(i));
    const auto prefix = std::string(stem) + '.';
    for (auto i = lower_bound(prefix); i < count() && at(i).name.starts_with(prefix); ++i)
        found.push_back(at(i));
    return found;
}

bool SymbolsBuilder::add(std::string_view name, std::uint64_t address) {
    if (name.empty() || name.size() > max_name) return true;
    auto& names = symbols_.names_;
    if (count() == max_symbols || names.size() > UINT32_MAX - max_name) return false;
    symbols_.entries_.push_back(
        {static_cast<std::uint32_t>(names.size()), static_cast<std::uint32_t>(name.size()), address});
    names += name;
    return true;
}

Symbols SymbolsBuilder::finish(std::string source) {
    auto& entries = symbols_.entries_;
    const auto key = [this](const Symbols::Entry& entry) {
        return std::pair(symbols_.name_of(entry), entry.address);
    };
    std::ranges::sort(entries, {}, key);
    const auto doubles = std::ranges::unique(entries, {}, key);
    entries.erase(doubles.begin(), doubles.end());
    symbols_.source_ = std::move(source);
    return std::move(symbols_);
}

} // namespace kmodguard::symbols
