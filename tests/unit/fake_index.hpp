// SPDX-License-Identifier: AGPL-3.0-only
//
// A core::ModuleIndex that is a table, so that a test says in one line which modules exist:
//
//     FakeIndex index;
//     index.module("dm_crypt").needs("dm_mod").soft_before("aes").alias("dm-crypt-*");
//
// Nothing is checked or completed: a name that no module() call created is one that the index does not know,
// and needs() lists all hard dependencies, the indirect ones too, in the order in which they load, as depmod
// does. Without more said, a module has a readable image of its own name.
#pragma once

#include "core/module_index.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kmodguard::test {

/// A hash that differs from those of other numbers.
inline core::Sha256 content(std::uint8_t number) {
    core::Sha256 hash{};
    hash.fill(number);
    return hash;
}

/// One row of the table; each call adds to it.
class FakeModule {
  public:
    explicit FakeModule(const std::string& name) {
        record_.name = name;
        record_.path = "/lib/modules/test/" + name + ".ko";
        image_.name = name;
        image_.modinfo_name = name;
        image_.sha256 = content(1);
    }

    template <typename... Names>
    FakeModule& needs(const Names&... names) {
        (record_.dependencies.emplace_back(names), ...);
        return *this;
    }
    template <typename... Names>
    FakeModule& soft_before(const Names&... names) {
        (record_.soft_before.emplace_back(names), ...);
        return *this;
    }
    template <typename... Names>
    FakeModule& soft_after(const Names&... names) {
        (record_.soft_after.emplace_back(names), ...);
        return *this;
    }
    template <typename... Patterns>
    FakeModule& alias(const Patterns&... patterns) {
        return alias_in_image(patterns...).alias_in_index(patterns...);
    }
    /// One that depmod has not seen yet.
    template <typename... Patterns>
    FakeModule& alias_in_image(const Patterns&... patterns) {
        (aliases_.emplace_back(patterns), ...);
        return *this;
    }
    /// One that the image had when depmod saw it.
    template <typename... Patterns>
    FakeModule& alias_in_index(const Patterns&... patterns) {
        (indexed_aliases_.emplace_back(patterns), ...);
        return *this;
    }
    /// Those in its image cannot be read.
    FakeModule& aliases_unreadable() {
        aliases_readable_ = false;
        return *this;
    }
    FakeModule& built_in() {
        record_.built_in = true;
        record_.path.clear();
        return *this;
    }
    FakeModule& blacklisted() {
        record_.blacklisted = true;
        return *this;
    }
    FakeModule& install_command() {
        record_.has_install_command = true;
        return *this;
    }
    FakeModule& options(const std::string& text) {
        record_.options = text;
        return *this;
    }
    /// Its image cannot be judged.
    FakeModule& unreadable(const std::string& problem = "not an ELF file") {
        image_ = {};
        image_.problem = problem;
        return *this;
    }
    /// Its image carries another name.
    FakeModule& calls_itself(const std::string& name, const std::string& modinfo_name) {
        image_.problem.clear();
        image_.name = name;
        image_.modinfo_name = modinfo_name;
        return *this;
    }
    FakeModule& with_content(const core::Sha256& hash) {
        image_.sha256 = hash;
        return *this;
    }

  private:
    friend class FakeIndex;
    core::ModuleRecord record_;
    core::ImageFacts image_;
    std::vector<std::string> aliases_;
    std::vector<std::string> indexed_aliases_;
    bool aliases_readable_ = true;
};

class FakeIndex : public core::ModuleIndex {
  public:
    /// The row of `name`, made if it is new.
    FakeModule& module(const std::string& name) {
        const auto [row, added] = modules_.try_emplace(name, name);
        if (added) order_.push_back(name);
        return row->second;
    }

    /// `token` means just these, whether or not they exist.
    FakeIndex& resolves(const std::string& token, std::vector<std::string> modules) {
        answers_[folded(token)] = std::move(modules);
        return *this;
    }

    /// modprobe.d makes `alias` one of `module`, whether or not that exists. For for_each_alias() only.
    FakeIndex& configured_alias(const std::string& alias, const std::string& module) {
        configured_aliases_.emplace_back(alias, module);
        return *this;
    }

    /// What resolves() says, else the module of that name, else all that have an alias matching it.
    std::vector<std::string> resolve(std::string_view token) override {
        const std::string wanted = folded(token);
        if (const auto answer = answers_.find(wanted); answer != answers_.end()) return answer->second;
        if (modules_.contains(wanted)) return {wanted};
        std::vector<std::string> found;
        for (const std::string& name : order_) {
            const auto matches = [&wanted](const std::string& alias) {
                return ::fnmatch(folded(alias).c_str(), wanted.c_str(), 0) == 0;
            };
            if (std::ranges::any_of(modules_.at(name).indexed_aliases_, matches)) found.push_back(name);
        }
        return found;
    }

    const core::ModuleRecord* find(std::string_view name) override {
        const auto row = modules_.find(name);
        return row == modules_.end() ? nullptr : &row->second.record_;
    }

    bool knows_aliases(std::string_view name) override {
        const auto row = modules_.find(name);
        return row == modules_.end() || row->second.aliases_readable_;
    }

    const std::vector<std::string>& aliases(std::string_view name) override {
        static const std::vector<std::string> none;
        const auto row = modules_.find(name);
        return row == modules_.end() || !row->second.aliases_readable_ ? none : row->second.aliases_;
    }

    bool for_each_alias(const std::function<void(std::string_view, std::string_view)>& visit) override {
        for (const std::string& name : order_)
            for (const std::string& alias : modules_.at(name).indexed_aliases_)
                visit(alias, name);
        for (const auto& [alias, name] : configured_aliases_)
            visit(alias, name);
        return true;
    }

    bool has_indexed_aliases(std::string_view name) override {
        const auto row = modules_.find(name);
        if (row == modules_.end() || !row->second.aliases_readable_) return false;
        for (const auto& [alias, module] : configured_aliases_)
            if (module == name) return false; // aliases() has none of them
        return row->second.aliases_ == row->second.indexed_aliases_;
    }

    core::ImageFacts image(const core::ModuleRecord& module, bool with_hash) override {
        (with_hash ? hashed : read).push_back(module.name);
        core::ImageFacts facts = modules_.at(module.name).image_;
        if (!with_hash) facts.sha256.reset();
        return facts;
    }

    std::vector<std::string> read;   ///< modules whose image was looked at, in order
    std::vector<std::string> hashed; ///< modules whose image was looked at and hashed, in order

  private:
    static std::string folded(std::string_view text) {
        std::string result(text);
        std::ranges::replace(result, '-', '_');
        return result;
    }

    std::map<std::string, FakeModule, std::less<>> modules_;
    std::map<std::string, std::vector<std::string>> answers_;
    std::vector<std::string> order_;
    std::vector<std::pair<std::string, std::string>> configured_aliases_;
};

} // namespace kmodguard::test
