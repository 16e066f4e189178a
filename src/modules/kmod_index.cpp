// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/kmod_index.hpp"

#include "core/names.hpp"
#include "modules/image_file.hpp"

#include <fmt/format.h>
#include <libkmod.h>

#include <algorithm>

namespace kmodguard::modules {
namespace {

using ModulePointer = std::unique_ptr<kmod_module, kmod_module* (*)(kmod_module*)>;
using ModuleList = std::unique_ptr<kmod_list, int (*)(kmod_list*)>;

ModulePointer own(kmod_module* module) {
    return {module, kmod_module_unref};
}
ModuleList own(kmod_list* list) {
    return {list, kmod_module_unref_list};
}

std::vector<std::string> names_of(const kmod_list* list) {
    std::vector<std::string> names;
    const kmod_list* entry = nullptr;
    kmod_list_foreach(entry, list) {
        const ModulePointer module = own(kmod_module_get_module(entry));
        names.emplace_back(kmod_module_get_name(module.get()));
    }
    return names;
}

std::string text_or_empty(const char* text) {
    return text != nullptr ? text : "";
}

/// Calls `use(key, value)` for every entry of one kind of modprobe.d lines.
template <typename Use>
void for_each_line(kmod_config_iter* iterator, Use use) {
    if (iterator == nullptr) return;
    while (kmod_config_iter_next(iterator))
        use(text_or_empty(kmod_config_iter_get_key(iterator)),
            text_or_empty(kmod_config_iter_get_value(iterator)));
    kmod_config_iter_free_iter(iterator);
}

} // namespace

KmodIndex::KmodIndex(kmod_ctx* context) : context_(context, kmod_unref) {
    kmod_set_log_fn(context, [](void*, int, const char*, int, const char*, const char*, va_list) {}, nullptr);
    kmod_load_resources(context); // whatever is missing is searched in its file instead
    read_blacklist();
}

KmodIndex::~KmodIndex() = default;

sys::Result<std::unique_ptr<KmodIndex>> KmodIndex::open(const sys::Paths& paths, const std::string& release) {
    const std::filesystem::path directory = paths.modules(release);
    if (auto found = sys::file_identity(directory / "modules.dep.bin"); !found)
        return sys::failure(found.error().kind, found.error().what,
                            fmt::format("run depmod {}, or install the modules of this kernel", release));
    const auto configuration = paths.modprobe_configuration();
    std::vector<const char*> directories;
    for (const auto& path : configuration)
        directories.push_back(path.c_str());
    directories.push_back(nullptr);
    kmod_ctx* context = kmod_new(directory.c_str(), directories.data());
    if (context == nullptr)
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("libkmod cannot read {}", directory.native()));
    return std::unique_ptr<KmodIndex>(new KmodIndex(context)); // NOLINT: the constructor is private
}

void KmodIndex::read_blacklist() {
    for_each_line(
        kmod_config_get_blacklists(context_.get()),
        [this](const std::string& module, const std::string&) { blacklist_.insert(core::fold(module)); });
}

std::vector<std::string> KmodIndex::resolve(std::string_view token) {
    kmod_list* found = nullptr;
    kmod_module_new_from_lookup(context_.get(), std::string(token).c_str(), &found);
    const ModuleList list = own(found);
    std::vector<std::string> names;
    for (std::string& name : names_of(list.get()))
        if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
    return names;
}

core::ModuleRecord KmodIndex::record_of(const std::string& name, kmod_module* module) const {
    core::ModuleRecord record;
    record.name = name;
    record.path = text_or_empty(kmod_module_get_path(module));
    record.built_in = record.path.empty();
    record.blacklisted = blacklist_.contains(name);
    record.has_install_command = kmod_module_get_install_commands(module) != nullptr;
    record.options = text_or_empty(kmod_module_get_options(module));
    const ModuleList dependencies = own(kmod_module_get_dependencies(module));
    record.dependencies = names_of(dependencies.get());
    kmod_list* before = nullptr;
    kmod_list* after = nullptr;
    if (kmod_module_get_softdeps(module, &before, &after) >= 0) {
        const ModuleList before_list = own(before);
        const ModuleList after_list = own(after);
        record.soft_before = names_of(before_list.get());
        record.soft_after = names_of(after_list.get());
    }
    return record;
}

const core::ModuleRecord* KmodIndex::find(std::string_view name) {
    if (const auto known = records_.find(name); known != records_.end()) return &known->second;
    if (!core::is_module_name(name)) return nullptr;
    const std::string text(name);
    kmod_module* found = nullptr;
    if (kmod_module_new_from_name(context_.get(), text.c_str(), &found) < 0) return nullptr;
    const ModulePointer module = own(found);
    const bool exists =
        kmod_module_get_path(found) != nullptr || kmod_module_get_initstate(found) == KMOD_MODULE_BUILTIN;
    if (!exists) return nullptr; // and not remembered: there is no end of names that do not exist
    return &records_.emplace(text, record_of(text, found)).first->second;
}

const std::vector<std::string>& KmodIndex::aliases(std::string_view name) {
    static const std::vector<std::string> none;
    if (const auto known = aliases_.find(name); known != aliases_.end()) return known->second;
    if (find(name) == nullptr) return none;
    std::vector<std::string> aliases;
    kmod_module* found = nullptr;
    if (kmod_module_new_from_name(context_.get(), std::string(name).c_str(), &found) < 0) return none;
    const ModulePointer module = own(found);
    kmod_list* information = nullptr;
    kmod_module_get_info(found, &information);
    const std::unique_ptr<kmod_list, void (*)(kmod_list*)> list(information, kmod_module_info_free_list);
    const kmod_list* entry = nullptr;
    kmod_list_foreach(entry, list.get()) {
        if (std::string_view(kmod_module_info_get_key(entry)) == "alias")
            aliases.push_back(text_or_empty(kmod_module_info_get_value(entry)));
    }
    for_each_line(kmod_config_get_aliases(context_.get()),
                  [&](const std::string& alias, const std::string& module_name) {
                      if (core::fold(module_name) == name) aliases.push_back(alias);
                  });
    return aliases_.emplace(name, std::move(aliases)).first->second;
}

core::ImageFacts KmodIndex::image(const core::ModuleRecord& module, bool with_hash) {
    const auto now = sys::file_identity(module.path);
    if (now) {
        const auto known = images_.find(module.name);
        if (known != images_.end() && known->second.file == *now && (known->second.hashed || !with_hash))
            return known->second.facts;
    }
    images_.erase(module.name);
    auto identified = identify_file(module.path, {.image = {.with_hash = with_hash}});
    if (!identified)
        return {.problem = identified.error().what, .name = {}, .modinfo_name = {}, .sha256 = {}};
    core::ImageFacts facts = identified->identity.facts;
    images_.emplace(module.name, CheckedImage{identified->file, with_hash, facts});
    return facts;
}

std::optional<sys::FileIdentity> KmodIndex::checked_file(std::string_view module) const {
    const auto known = images_.find(module);
    return known == images_.end() ? std::nullopt : std::optional(known->second.file);
}

bool KmodIndex::outdated() const {
    return kmod_validate_resources(context_.get()) != KMOD_RESOURCES_OK;
}

} // namespace kmodguard::modules
