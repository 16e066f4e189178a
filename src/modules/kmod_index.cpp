// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/kmod_index.hpp"

#include "core/names.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>
#include <fnmatch.h>
#include <libkmod.h>

#include <algorithm>

namespace kmodguard::modules {
namespace {

using ModuleList = std::unique_ptr<kmod_list, int (*)(kmod_list*)>;

ModuleList own(kmod_list* list) {
    return {list, kmod_module_unref_list};
}

std::vector<std::string> names_of(const ModuleList& list) {
    std::vector<std::string> names;
    const kmod_list* entry = nullptr;
    kmod_list_foreach(entry, list.get()) {
        const KmodModule module(kmod_module_get_module(entry), kmod_module_unref);
        names.emplace_back(kmod_module_get_name(module.get()));
    }
    return names;
}

std::string text_or_empty(const char* text) {
    return text != nullptr ? text : "";
}

/// What libkmod finds for `token`.
ModuleList look_up(kmod_ctx* context, std::string_view token) {
    kmod_list* found = nullptr;
    kmod_module_new_from_lookup(context, std::string(token).c_str(), &found);
    return own(found);
}

} // namespace

std::vector<std::string> installed_modules(const sys::Paths& paths, const std::string& release) {
    namespace fs = std::filesystem;
    std::vector<std::string> names;
    std::error_code error;
    fs::recursive_directory_iterator entry(paths.modules(release),
                                           fs::directory_options::skip_permission_denied, error);
    for (; !error && entry != fs::recursive_directory_iterator(); entry.increment(error)) {
        const std::string file = entry->path().filename();
        if (!file.ends_with(".ko") && file.find(".ko.") == std::string::npos) continue;
        if (auto name = core::module_name_of(file)) names.push_back(std::move(*name));
    }
    std::ranges::sort(names);
    names.erase(std::ranges::unique(names).begin(), names.end());
    return names;
}

KmodIndex::KmodIndex(KmodContext context, sys::Paths paths, CommandLineEntries foreign, bool running,
                     compiled::Inputs inputs)
    : context_(std::move(context)), paths_(std::move(paths)), foreign_(foreign), running_(running),
      inputs_(std::move(inputs)) {
    kmod_load_resources(context_.get()); // whatever is missing is searched in its file instead
    read_configuration();
    if (running_) limits_ = compiled::read_kernel_limits(paths_);
}

KmodIndex::~KmodIndex() = default;

sys::Result<std::unique_ptr<KmodIndex>> KmodIndex::open(const sys::Paths& paths, const std::string& release) {
    const std::filesystem::path directory = paths.modules(release);
    if (auto found = sys::file_identity(directory / "modules.dep.bin"); !found)
        return sys::failure(found.error().kind, found.error().what,
                            fmt::format("run depmod {}, or install the modules of this kernel", release));
    CommandLineEntries foreign;
    if (paths.moved()) foreign = TRY(command_line_entries(directory));
    auto inputs = compiled::inputs_of(paths, release); // before: what changes meanwhile counts as changed
    auto context = TRY(open_kmod_context(directory, modprobe_configuration_files(paths)));
    // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private
    return std::unique_ptr<KmodIndex>(new KmodIndex(std::move(context), paths, foreign,
                                                    release == sys::kernel_release(), std::move(inputs)));
}

void KmodIndex::read_configuration() {
    for_each_line(
        kmod_config_get_blacklists(context_.get()),
        [this](const std::string& module, const std::string&) { blacklist_.insert(core::fold(module)); },
        foreign_.blacklists);
    for_each_line(
        kmod_config_get_options(context_.get()),
        [this](const std::string& name, const std::string&) { option_names_.insert(name); },
        foreign_.options);
    for_each_line(kmod_config_get_install_commands(context_.get()), [this](const std::string& name,
                                                                           const std::string& text) {
        const auto [line, is_first] = commands_.try_emplace(name, core::read_install_command(text));
        if (!is_first) return; // modprobe takes the first one
        for (const std::string& loaded : line->second.loads)
            if (core::fold(loaded) != name) named_by_commands_.insert(core::fold(loaded));
    });
}

KmodModule KmodIndex::module_called(std::string_view name) const {
    kmod_module* found = nullptr;
    kmod_module_new_from_name(context_.get(), std::string(name).c_str(), &found);
    return {found, kmod_module_unref};
}

/// The image file of `module`. modules.dep may name files outside of its own folder, absolutely: they are
/// meant below the root as well.
std::string KmodIndex::path_of(const kmod_module* module) const {
    std::string path = text_or_empty(kmod_module_get_path(module));
    if (path.empty() || !paths_.moved()) return path;
    const std::string root = paths_.root() / "";
    return paths_.below(path.starts_with(root) ? path.substr(root.size()) : path);
}

/// Those of `module`, and of `alias` where it is asked for by one.
std::string KmodIndex::options_of(const kmod_module* module, const std::string& alias) const {
    if (foreign_.options == 0) return text_or_empty(kmod_module_get_options(module));
    const std::string name = kmod_module_get_name(module);
    std::string options;
    for_each_line(
        kmod_config_get_options(context_.get()),
        [&](const std::string& key, const std::string& value) {
            if (key == name || key == alias) options += (options.empty() ? "" : " ") + value;
        },
        foreign_.options);
    return options;
}

/// The alias by which libkmod comes from `token` to `module`, to which modprobe.d may give options: the line
/// of modprobe.d as it is written, or what was asked for.
std::string KmodIndex::alias_of(const std::string& token, const std::string& module) const {
    std::string alias;
    for_each_line(kmod_config_get_aliases(context_.get()),
                  [&](const std::string& pattern, const std::string& name) {
                      const bool leads_there =
                          core::fold(name) == module && ::fnmatch(pattern.c_str(), token.c_str(), 0) == 0;
                      if (alias.empty() && leads_there) alias = pattern;
                  });
    return alias.empty() ? token : alias;
}

std::vector<std::string> KmodIndex::resolve(std::string_view token) {
    std::vector<std::string> names;
    for (std::string& name : names_of(look_up(context_.get(), token)))
        if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
    return names;
}

std::optional<core::ModuleRecord> KmodIndex::asked_for(const core::ModuleRecord& module,
                                                       std::string_view token) {
    const std::string wanted = core::fold_pattern(token);
    const auto may_be_its_alias = [&](const std::string& name) {
        return name != module.name && ::fnmatch(name.c_str(), wanted.c_str(), 0) == 0;
    };
    if (std::ranges::none_of(option_names_, may_be_its_alias)) return std::nullopt;
    const ModuleList list = look_up(context_.get(), token);
    const kmod_list* entry = nullptr;
    kmod_list_foreach(entry, list.get()) {
        const KmodModule candidate(kmod_module_get_module(entry),
                                   kmod_module_unref); // one that knows its alias
        if (module.name != kmod_module_get_name(candidate.get())) continue;
        const std::string options = options_of(candidate.get(), alias_of(wanted, module.name));
        if (options == module.options) return std::nullopt;
        core::ModuleRecord asked = module;
        asked.options = options;
        asked.by_modprobe = asked.install_command || !compiled::kernel_takes(asked, inputs_.compression);
        return asked;
    }
    return std::nullopt;
}

bool KmodIndex::is_configured_alias(std::string_view token) {
    const std::string wanted = core::fold_pattern(token);
    bool found = false;
    for_each_line(kmod_config_get_aliases(context_.get()), [&](const std::string& alias, const std::string&) {
        found = found || ::fnmatch(alias.c_str(), wanted.c_str(), 0) == 0;
    });
    return found;
}

core::ModuleRecord KmodIndex::record_of(std::string_view name, kmod_module* module) const {
    core::ModuleRecord record;
    record.name = name;
    record.path = path_of(module);
    record.built_in = kmod_module_get_initstate(module) == KMOD_MODULE_BUILTIN;
    record.command_only = record.path.empty() && !record.built_in;
    record.blacklisted = blacklist_.contains(name);
    record.named_by_command = named_by_commands_.contains(name);
    record.options = options_of(module, record.name);
    record.dependencies = names_of(own(kmod_module_get_dependencies(module)));
    kmod_list* before = nullptr;
    kmod_list* after = nullptr;
    if (kmod_module_get_softdeps(module, &before, &after) >= 0) {
        record.soft_before = names_of(own(before));
        record.soft_after = names_of(own(after));
    }
    // A module that has soft dependencies is loaded by modprobe and not by its command (libkmod, ignorecmd).
    const char* command = kmod_module_get_install_commands(module); // also by a pattern
    if (command != nullptr && record.soft_before.empty() && record.soft_after.empty())
        record.install_command = core::read_install_command(command);
    record.by_modprobe = record.install_command || !compiled::kernel_takes(record, inputs_.compression);
    return record;
}

const core::ModuleRecord* KmodIndex::find(std::string_view name) {
    if (const auto known = records_.find(name); known != records_.end()) return &known->second;
    if (!core::is_module_name(name)) return nullptr;
    const KmodModule module = module_called(name);
    if (module == nullptr) return nullptr;
    if (name != kmod_module_get_name(module.get())) return nullptr; // libkmod cuts a name at its first dot
    const bool exists = kmod_module_get_path(module.get()) != nullptr
                        || kmod_module_get_initstate(module.get()) == KMOD_MODULE_BUILTIN;
    // None is remembered that does not exist: there is no end of such names.
    if (!exists && !commands_.contains(name)) return nullptr;
    core::ModuleRecord record = record_of(name, module.get());
    if (record.command_only && !record.install_command) return nullptr;
    return &records_.emplace(name, std::move(record)).first->second;
}

core::ImageFacts KmodIndex::image(const core::ModuleRecord& module, bool with_hash) {
    const auto now = sys::file_identity(module.path);
    if (now) {
        const auto known = images_.find(module.name);
        if (known != images_.end() && known->second.file == *now && (known->second.hashed || !with_hash))
            return known->second.facts;
    }
    images_.erase(module.name);
    const bool wants_signature = !limits_.signature_wanted_by.empty();
    auto identified =
        identify_file(module.path, {.image = {.with_hash = with_hash, .with_is_signed = wants_signature}});
    if (!identified) return {.problem = identified.error().what, .name = {}, .modinfo_name = {}};
    core::ImageFacts facts = identified->identity.facts;
    facts.state = to_string(identified->file);
    images_.emplace(module.name, CheckedImage{identified->file, with_hash, facts});
    return facts;
}

} // namespace kmodguard::modules
