// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/kmod_index.hpp"

#include "core/names.hpp"
#include "modules/alias_index.hpp"
#include "modules/kernel_limits.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>
#include <fnmatch.h>
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

/// Calls `use(key, value)` for every entry of one kind of modprobe.d lines but the last `left_out`.
template <typename Use>
void for_each_line(kmod_config_iter* iterator, Use use, std::size_t left_out = 0) {
    if (iterator == nullptr) return;
    std::vector<std::pair<std::string, std::string>> lines;
    while (kmod_config_iter_next(iterator))
        lines.emplace_back(text_or_empty(kmod_config_iter_get_key(iterator)),
                           text_or_empty(kmod_config_iter_get_value(iterator)));
    kmod_config_iter_free_iter(iterator);
    lines.resize(lines.size() - std::min(lines.size(), left_out));
    for (const auto& [key, value] : lines)
        use(key, value);
}

} // namespace

KmodIndex::KmodIndex(KmodContext context, const sys::Paths& paths, CommandLineEntries foreign, bool running)
    : context_(std::move(context)), paths_(paths), foreign_(foreign),
      compression_(sys::in_kernel_compression(paths)), running_(running) {
    index_files_ = read_index_state();
    kmod_load_resources(context_.get()); // whatever is missing is searched in its file instead
    read_blacklist();
    read_install_commands();
    read_option_names();
    if (running_) limits_ = read_kernel_limits(paths_);
}

KmodIndex::~KmodIndex() = default;

sys::Result<std::unique_ptr<KmodIndex>> KmodIndex::open(const sys::Paths& paths, const std::string& release) {
    const std::filesystem::path directory = paths.modules(release);
    if (auto found = sys::file_identity(directory / "modules.dep.bin"); !found)
        return sys::failure(found.error().kind, found.error().what,
                            fmt::format("run depmod {}, or install the modules of this kernel", release));
    CommandLineEntries foreign;
    if (paths.moved()) {
        const auto entries = TRY(command_line_entries(directory));
        foreign = entries;
    }
    auto context = TRY(open_kmod_context(directory, modprobe_configuration_files(paths)));
    // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private
    return std::unique_ptr<KmodIndex>(
        new KmodIndex(std::move(context), paths, foreign, release == sys::kernel_release()));
}

void KmodIndex::read_blacklist() {
    for_each_line(
        kmod_config_get_blacklists(context_.get()),
        [this](const std::string& module, const std::string&) { blacklist_.insert(core::fold(module)); },
        foreign_.blacklists);
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

void KmodIndex::read_install_commands() {
    for_each_line(kmod_config_get_install_commands(context_.get()), [this](const std::string& name,
                                                                           const std::string& text) {
        const auto [line, is_first] = commands_.try_emplace(name, core::read_install_command(text));
        if (!is_first) return; // modprobe takes the first one
        for (const std::string& loaded : line->second.loads)
            if (core::fold(loaded) != name) named_by_commands_.insert(core::fold(loaded));
    });
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

void KmodIndex::read_option_names() {
    for_each_line(
        kmod_config_get_options(context_.get()),
        [this](const std::string& name, const std::string&) { option_names_.insert(name); },
        foreign_.options);
}

std::optional<core::ModuleRecord> KmodIndex::asked_for(const core::ModuleRecord& module,
                                                       std::string_view token) {
    const std::string wanted = core::fold_pattern(token);
    const auto may_be_its_alias = [&](const std::string& name) {
        return name != module.name && ::fnmatch(name.c_str(), wanted.c_str(), 0) == 0;
    };
    if (std::ranges::none_of(option_names_, may_be_its_alias)) return std::nullopt;
    kmod_list* found = nullptr;
    kmod_module_new_from_lookup(context_.get(), std::string(token).c_str(), &found);
    const ModuleList list = own(found);
    const kmod_list* entry = nullptr;
    kmod_list_foreach(entry, list.get()) {
        const ModulePointer candidate = own(kmod_module_get_module(entry)); // one that knows its alias
        if (module.name != kmod_module_get_name(candidate.get())) continue;
        const std::string options = options_of(candidate.get(), alias_of(wanted, module.name));
        if (options == module.options) return std::nullopt;
        core::ModuleRecord asked = module;
        asked.options = options;
        asked.by_modprobe = asked.install_command || !kernel_takes(asked);
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

/// Whether finit_module can be given the image file and the options as they are. Both must also fit a line of
/// the plan.
bool KmodIndex::kernel_takes(const core::ModuleRecord& record) const {
    constexpr std::size_t max_options = 2048;
    const auto fits_a_line = [](const std::string& text) {
        return core::printable(text, text.size() + 1) == text;
    };
    const bool form =
        record.path.ends_with(".ko") || (!compression_.empty() && record.path.ends_with(compression_));
    return form && record.options.size() <= max_options && fits_a_line(record.options)
           && fits_a_line(record.path);
}

std::optional<core::InstallCommand> KmodIndex::command_of(kmod_module* module) const {
    const char* text = kmod_module_get_install_commands(module); // also by a pattern
    if (text == nullptr) return std::nullopt;
    return core::read_install_command(text);
}

core::ModuleRecord KmodIndex::record_of(const std::string& name, kmod_module* module) const {
    core::ModuleRecord record;
    record.name = name;
    record.path = path_of(module);
    record.built_in = kmod_module_get_initstate(module) == KMOD_MODULE_BUILTIN;
    record.command_only = record.path.empty() && !record.built_in;
    record.blacklisted = blacklist_.contains(name);
    record.named_by_command = named_by_commands_.contains(name);
    record.options = options_of(module, name);
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
    // A module that has soft dependencies is loaded by modprobe and not by its command (libkmod, ignorecmd).
    if (record.soft_before.empty() && record.soft_after.empty()) record.install_command = command_of(module);
    record.by_modprobe = record.install_command || !kernel_takes(record);
    return record;
}

const core::ModuleRecord* KmodIndex::find(std::string_view name) {
    if (const auto known = records_.find(name); known != records_.end()) return &known->second;
    if (!core::is_module_name(name)) return nullptr;
    const std::string text(name);
    kmod_module* found = nullptr;
    if (kmod_module_new_from_name(context_.get(), text.c_str(), &found) < 0) return nullptr;
    const ModulePointer module = own(found);
    if (name != kmod_module_get_name(found)) return nullptr; // libkmod cuts a name at its first dot
    const bool exists =
        kmod_module_get_path(found) != nullptr || kmod_module_get_initstate(found) == KMOD_MODULE_BUILTIN;
    // None is remembered that does not exist: there is no end of such names.
    if (!exists && !commands_.contains(name)) return nullptr;
    core::ModuleRecord record = record_of(text, found);
    if (record.command_only && !record.install_command) return nullptr;
    return &records_.emplace(text, std::move(record)).first->second;
}

std::optional<std::vector<std::string>> KmodIndex::read_aliases(const core::ModuleRecord& record) const {
    kmod_module* found = nullptr;
    if (kmod_module_new_from_name(context_.get(), record.name.c_str(), &found) < 0) return std::nullopt;
    const ModulePointer module = own(found);
    if (record.path != text_or_empty(kmod_module_get_path(found))) {
        // libkmod would open another file than the one below the root.
        const auto image = identify_file(record.path, {.image = {.with_modinfo = true}});
        if (!image || !image->identity.facts.problem.empty() || !image->identity.facts.aliases)
            return std::nullopt;
        return with_configured(*image->identity.facts.aliases, record);
    }
    kmod_list* information = nullptr;
    if (!record.command_only && kmod_module_get_info(found, &information) < 0) return std::nullopt;
    const std::unique_ptr<kmod_list, void (*)(kmod_list*)> list(information, kmod_module_info_free_list);
    std::vector<std::string> aliases;
    const kmod_list* entry = nullptr;
    kmod_list_foreach(entry, list.get()) {
        if (std::string_view(kmod_module_info_get_key(entry)) == "alias")
            aliases.push_back(text_or_empty(kmod_module_info_get_value(entry)));
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

const KmodIndex::KnownAliases* KmodIndex::known_aliases(std::string_view name) {
    const core::ModuleRecord* record = find(name);
    if (record == nullptr) return nullptr;
    sys::FileIdentity now; // of what has no file: none, it does not change
    if (!record->built_in && !record->command_only) {
        const auto identity = sys::file_identity(record->path);
        if (!identity) return nullptr;
        now = *identity;
    }
    const auto known = aliases_.find(name);
    if (known != aliases_.end() && known->second.file == now) return &known->second;
    auto aliases = read_aliases(*record);
    if (!aliases) return nullptr; // and not remembered: it may be readable the next time
    return &aliases_.insert_or_assign(std::string(name), KnownAliases{now, std::move(*aliases)})
                .first->second;
}

bool KmodIndex::knows_aliases(std::string_view name) {
    return known_aliases(name) != nullptr;
}

const std::vector<std::string>& KmodIndex::aliases(std::string_view name) {
    static const std::vector<std::string> none;
    const KnownAliases* known = known_aliases(name);
    return known == nullptr ? none : known->aliases;
}

bool KmodIndex::for_each_alias(const std::function<void(std::string_view, std::string_view)>& visit) {
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

sys::Result<FileImage> KmodIndex::packed_image(const core::ModuleRecord& module, const ContentKey& key) {
    if (module.built_in)
        return sys::failure(sys::ErrorKind::not_found,
                            fmt::format("{} is built into the kernel and has no image file", module.name));
    auto image = identify_file(module.path, {.image = {.with_hash = true}, .key = key});
    if (image) image->identity.facts.state = to_string(image->file);
    return image;
}

KmodIndex::IndexFiles KmodIndex::read_index_state() const {
    const std::filesystem::path directory = kmod_get_dirname(context_.get());
    IndexFiles state;
    for (const char* name :
         {"modules.dep.bin", "modules.alias.bin", "modules.symbols.bin", "modules.builtin.bin",
          "modules.builtin.alias.bin", "modules.builtin.modinfo", "modules.softdep"}) {
        const auto file = sys::file_identity(directory / name);
        state.push_back(file ? std::optional(*file) : std::nullopt);
    }
    return state;
}

bool KmodIndex::outdated() const {
    return kmod_validate_resources(context_.get()) != KMOD_RESOURCES_OK || index_files_ != read_index_state()
           || (running_ && read_kernel_limits(paths_) != limits_);
}

} // namespace kmodguard::modules
