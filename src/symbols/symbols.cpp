// SPDX-License-Identifier: AGPL-3.0-only
#include "symbols/symbols.hpp"

#include <algorithm>
#include <ranges>
#include <utility>

namespace kmodguard::symbols {

std::size_t Symbols::lower_bound(std::string_view wanted) const {
    const auto indexes = std::views::iota(0UZ, entries_.size());
    return static_cast<std::size_t>(
        std::ranges::lower_bound(indexes, wanted, {}, [this](std::size_t index) { return name(index); })
        - indexes.begin());
}

std::span<const std::uint64_t> Symbols::find(std::string_view wanted) const {
    const auto begin = lower_bound(wanted);
    auto end = begin;
    while (end < entries_.size() && name(end) == wanted)
        ++end;
    return std::span(addresses_).subspan(begin, end - begin);
}

std::vector<Symbol> Symbols::with_stem(std::string_view stem) const {
    std::vector<Symbol> found;
    for (auto i = lower_bound(stem); i < entries_.size() && name(i) == stem; ++i)
        found.push_back(at(i));
    const auto prefix = std::string(stem) + '.';
    for (auto i = lower_bound(prefix); i < entries_.size() && name(i).starts_with(prefix); ++i)
        found.push_back(at(i));
    return found;
}

bool SymbolsBuilder::add(std::string_view name, std::uint64_t address) {
    if (name.empty() || name.size() > max_name) return true;
    if (entries_.size() == max_symbols || names_.size() > UINT32_MAX - max_name) return false;
    entries_.push_back(
        {static_cast<std::uint32_t>(names_.size()), static_cast<std::uint32_t>(name.size()), address});
    names_ += name;
    return true;
}

Symbols SymbolsBuilder::finish(std::string source) {
    const auto key = [this](const Entry& entry) {
        return std::pair(std::string_view(names_).substr(entry.begin, entry.size), entry.address);
    };
    std::ranges::sort(entries_, {}, key);
    const auto doubles = std::ranges::unique(entries_, {}, key);
    entries_.erase(doubles.begin(), doubles.end());

    Symbols symbols;
    symbols.entries_.reserve(entries_.size());
    symbols.addresses_.reserve(entries_.size());
    for (const auto& entry : entries_) {
        symbols.entries_.push_back({entry.begin, entry.size});
        symbols.addresses_.push_back(entry.address);
    }
    symbols.names_ = std::move(names_);
    symbols.word_size_ = word_size_;
    symbols.source_ = std::move(source);
    return symbols;
}

} // namespace kmodguard::symbols
