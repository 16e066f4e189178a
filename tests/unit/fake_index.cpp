// SPDX-License-Identifier: AGPL-3.0-only
#include "fake_index.hpp"

#include <fnmatch.h>

#include <algorithm>

namespace kmodguard::test {

core::Sha256 content(std::uint8_t number) {
    core::Sha256 hash{};
    hash.fill(number);
    return hash;
}

FakeModule::FakeModule(const std::string& name) {
    record_.name = name;
    record_.path = "/lib/modules/test/" + name + ".ko";
    image_.name = name;
    image_.modinfo_name = name;
    image_.sha256 = content(1);
}

FakeModule& FakeModule::aliases_unreadable() {
    aliases_readable_ = false;
    return *this;
}

FakeModule& FakeModule::built_in() {
    record_.built_in = true;
    record_.path.clear();
    return *this;
}

FakeModule& FakeModule::blacklisted() {
    record_.blacklisted = true;
    return *this;
}

FakeModule& FakeModule::install_command(const std::string& text) {
    record_.install_command = core::read_install_command(text);
    return *this;
}

FakeModule& FakeModule::named_by_command() {
    record_.named_by_command = true;
    return *this;
}

FakeModule& FakeModule::command_only(const std::string& text) {
    record_.command_only = true;
    record_.path.clear();
    return install_command(text);
}

FakeModule& FakeModule::options(const std::string& text) {
    record_.options = text;
    return *this;
}

FakeModule& FakeModule::file(const std::string& path) {
    record_.path = path;
    return *this;
}

FakeModule& FakeModule::unreadable(const std::string& problem) {
    image_ = {};
    image_.problem = problem;
    return *this;
}

FakeModule& FakeModule::calls_itself(const std::string& name, const std::string& modinfo_name) {
    image_.problem.clear();
    image_.name = name;
    image_.modinfo_name = modinfo_name;
    return *this;
}

FakeModule& FakeModule::with_content(const core::Sha256& hash) {
    image_.sha256 = hash;
    return *this;
}

FakeModule& FakeModule::add(std::vector<std::string>& list, std::initializer_list<std::string_view> texts) {
    list.insert(list.end(), texts.begin(), texts.end());
    return *this;
}

FakeIndex::FakeIndex() = default;
FakeIndex::~FakeIndex() = default;
FakeIndex::FakeIndex(const FakeIndex&) = default;
FakeIndex& FakeIndex::operator=(const FakeIndex&) = default;
FakeIndex::FakeIndex(FakeIndex&&) noexcept = default;
FakeIndex& FakeIndex::operator=(FakeIndex&&) noexcept = default;

FakeModule& FakeIndex::module(const std::string& name) {
    const auto [row, added] = modules_.try_emplace(name, name);
    if (added) order_.push_back(name);
    return row->second;
}

FakeIndex& FakeIndex::resolves(const std::string& token, std::vector<std::string> modules) {
    answers_[folded(token)] = std::move(modules);
    return *this;
}

FakeIndex& FakeIndex::configured_alias(const std::string& alias, const std::string& module) {
    configured_aliases_.emplace_back(alias, module);
    return *this;
}

FakeIndex& FakeIndex::kernel_blacklist(std::vector<std::string> names) {
    limits_.blacklist = std::move(names);
    return *this;
}

bool FakeIndex::is_configured_alias(std::string_view token) {
    return std::ranges::any_of(configured_aliases_, [wanted = folded(token)](const auto& line) {
        return ::fnmatch(folded(line.first).c_str(), wanted.c_str(), 0) == 0;
    });
}

std::vector<std::string> FakeIndex::resolve(std::string_view token) {
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

const core::ModuleRecord* FakeIndex::find(std::string_view name) {
    const auto row = modules_.find(name);
    return row == modules_.end() ? nullptr : &row->second.record_;
}

const std::vector<std::string>* FakeIndex::aliases(std::string_view name) {
    const auto row = modules_.find(name);
    return row == modules_.end() || !row->second.aliases_readable_ ? nullptr : &row->second.aliases_;
}

bool FakeIndex::for_each_alias(const std::function<void(std::string_view, std::string_view)>& visit) {
    for (const std::string& name : order_)
        for (const std::string& alias : modules_.at(name).indexed_aliases_)
            visit(alias, name);
    for (const auto& [alias, name] : configured_aliases_)
        visit(alias, name);
    return true;
}

bool FakeIndex::has_indexed_aliases(std::string_view name) {
    const auto row = modules_.find(name);
    if (row == modules_.end() || !row->second.aliases_readable_) return false;
    for (const auto& [alias, module] : configured_aliases_)
        if (module == name) return false; // aliases() has none of them
    return row->second.aliases_ == row->second.indexed_aliases_;
}

core::ImageFacts FakeIndex::image(const core::ModuleRecord& module, bool with_hash) {
    (with_hash ? hashed : read).push_back(module.name);
    core::ImageFacts facts = modules_.at(module.name).image_;
    if (!with_hash) facts.sha256.reset();
    return facts;
}

std::string FakeIndex::folded(std::string_view text) {
    std::string result(text);
    std::ranges::replace(result, '-', '_');
    return result;
}

} // namespace kmodguard::test
