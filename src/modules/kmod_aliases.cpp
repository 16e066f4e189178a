// SPDX-License-Identifier: AGPL-3.0-only
//
// The aliases of modules, and all else that an index has, to be compiled.
#include "core/names.hpp"
#include "modules/depmod_index.hpp"
#include "modules/kmod_index.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>
#include <libkmod.h>

#include <memory>
#include <set>
#include <utility>

namespace kmodguard::modules {
namespace {

std::vector<compiled::Alias> aliases_of(sys::Result<std::vector<DepmodEntry>>&& entries) {
    std::vector<compiled::Alias> aliases;
    if (!entries) return aliases;
    for (DepmodEntry& entry : *entries)
        aliases.push_back({std::move(entry.key), std::move(entry.value), entry.priority});
    return aliases;
}

std::vector<std::string> keys_of(const sys::Result<std::vector<DepmodEntry>>& entries) {
    std::vector<std::string> keys;
    if (!entries) return keys;
    for (const DepmodEntry& entry : *entries)
        keys.push_back(entry.key);
    return keys;
}

/// Calls `visit` with the name of each module, as if it were an alias of that module.
sys::Result<void> for_each_indexed_name(const std::filesystem::path& directory,
                                        const core::AliasVisitor& visit) {
    for (const DepmodEntry& entry : TRY(read_depmod_index(directory / "modules.dep.bin")))
        visit(entry.key, entry.key);
    return {};
}

} // namespace

sys::Result<void> for_each_indexed_alias(const std::filesystem::path& directory,
                                         const core::AliasVisitor& visit) {
    for (const DepmodEntry& entry : TRY(read_depmod_index(directory / "modules.alias.bin")))
        visit(entry.key, entry.value);
    return {};
}

compiled::IndexSource KmodIndex::source() {
    const std::filesystem::path directory = kmod_get_dirname(context_.get());
    compiled::IndexSource source;
    source.inputs = inputs_;
    const auto names = read_depmod_index(directory / "modules.dep.bin");
    const auto built_in = read_depmod_index(directory / "modules.builtin.bin");
    auto aliases = read_depmod_index(directory / "modules.alias.bin");
    auto built_in_aliases = read_depmod_index(directory / "modules.builtin.alias.bin");
    source.has_all_aliases = names && aliases;
    source.has_built_in_aliases = built_in_aliases.has_value();
    source.indexed_names = keys_of(names);
    source.built_in_names = keys_of(built_in);
    source.aliases = aliases_of(std::move(aliases));
    source.symbols = aliases_of(read_depmod_index(directory / "modules.symbols.bin"));
    source.built_in_aliases = aliases_of(std::move(built_in_aliases));

    for_each_line(
        kmod_config_get_options(context_.get()),
        [&](const std::string& name, const std::string& value) { source.options.push_back({name, value}); },
        foreign_.options);
    for_each_line(kmod_config_get_aliases(context_.get()),
                  [&](const std::string& alias, const std::string& module) {
                      const auto number = static_cast<std::uint32_t>(source.configured_aliases.size());
                      source.configured_aliases.push_back({alias, module, number});
                  });
    for_each_line(kmod_config_get_remove_commands(context_.get()),
                  [&](const std::string& name, const std::string&) { source.command_names.push_back(name); });
    for (const auto& [name, command] : commands_)
        source.install_names.push_back(name);

    std::set<std::string, std::less<>> all(source.indexed_names.begin(), source.indexed_names.end());
    all.insert(source.built_in_names.begin(), source.built_in_names.end());
    all.insert(source.install_names.begin(), source.install_names.end());
    for (const std::string& name : all)
        if (const core::ModuleRecord* record = find(name)) source.modules.push_back(*record);
    return source;
}

std::optional<std::vector<std::string>> KmodIndex::read_aliases(const core::ModuleRecord& record) const {
    const KmodModule module = module_called(record.name);
    if (module == nullptr) return std::nullopt;
    const char* path = kmod_module_get_path(module.get());
    if (record.path != (path != nullptr ? path : "")) {
        // libkmod would open another file than the one below the root.
        const auto image = identify_file(record.path, {.image = {.with_aliases = true}});
        if (!image || !image->identity.facts.problem.empty() || !image->identity.facts.aliases)
            return std::nullopt;
        return with_configured(*image->identity.facts.aliases, record);
    }
    kmod_list* information = nullptr;
    if (!record.command_only && kmod_module_get_info(module.get(), &information) < 0) return std::nullopt;
    const std::unique_ptr<kmod_list, void (*)(kmod_list*)> list(information, kmod_module_info_free_list);
    std::vector<std::string> aliases;
    const kmod_list* entry = nullptr;
    kmod_list_foreach(entry, list.get()) {
        const char* alias = kmod_module_info_get_value(entry);
        if (alias != nullptr && std::string_view(kmod_module_info_get_key(entry)) == "alias")
            aliases.emplace_back(alias);
    }
    return with_configured(std::move(aliases), record);
}

/// And those of modprobe.d.
std::vector<std::string> KmodIndex::with_configured(std::vector<std::string> aliases,
                                                    const core::ModuleRecord& record) const {
    for_each_line(kmod_config_get_aliases(context_.get()),
                  [&](const std::string& alias, const std::string& module_name) {
                      if (core::fold(module_name) == record.name) aliases.push_back(alias);
                  });
    return aliases;
}

const std::vector<std::string>* KmodIndex::aliases(std::string_view name) {
    const core::ModuleRecord* record = find(name);
    if (record == nullptr) return nullptr;
    sys::FileIdentity now; // of what has no file: none, it does not change
    if (!record->built_in && !record->command_only) {
        const auto identity = sys::file_identity(record->path);
        if (!identity) return nullptr;
        now = *identity;
    }
    const auto known = aliases_.find(name);
    if (known != aliases_.end() && known->second.file == now) return &known->second.aliases;
    auto read = read_aliases(*record);
    if (!read) return nullptr; // and not remembered: it may be readable the next time
    const auto kept = aliases_.insert_or_assign(std::string(name), KnownAliases{now, std::move(*read)});
    return &kept.first->second.aliases;
}

bool KmodIndex::for_each_alias(const core::AliasVisitor& visit) {
    const auto visit_folded = [&visit](std::string_view alias, std::string_view module) {
        visit(alias, core::fold(module));
    };
    // Without the index nothing is known to be admitted by an alias, and so nothing is.
    const auto aliases = for_each_indexed_alias(kmod_get_dirname(context_.get()), visit_folded);
    const auto names = for_each_indexed_name(kmod_get_dirname(context_.get()), visit_folded);
    for_each_line(kmod_config_get_aliases(context_.get()), visit_folded);
    for (const auto& [name, command] : commands_) // of which those of no module are not in the index
        visit(name, name);
    return aliases && names;
}

bool KmodIndex::has_indexed_aliases(std::string_view name) {
    const core::ModuleRecord* record = find(name);
    if (record == nullptr || record->built_in || record->command_only) return false;
    const std::filesystem::path directory = kmod_get_dirname(context_.get());
    const auto index = sys::file_identity(directory / "modules.alias.bin");
    const auto file = sys::file_identity(record->path);
    if (!index || !file || file->changed_ns > index->changed_ns) return false;
    const auto known = aliases_.find(name);
    return known == aliases_.end() || known->second.file != *file;
}

} // namespace kmodguard::modules
