// SPDX-License-Identifier: AGPL-3.0-only
#include "compiled/index.hpp"

#include "compiled/hash_table.hpp"
#include "compiled/index_layout.hpp"
#include "core/names.hpp"
#include "sys/kernel.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <utility>

namespace kmodguard::compiled {
namespace {

/// As libkmod has it (alias_normalize); nothing: it looks up no such token.
std::optional<std::string> normalized(std::string_view token) {
    std::string text(token);
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '-') text[i] = '_';
        if (text[i] == ']') return std::nullopt;
        if (text[i] != '[') continue;
        i = text.find(']', i);
        if (i == std::string::npos) return std::nullopt;
    }
    return text;
}

Inputs inputs_in(const File& file, const IndexIdentity& identity) {
    Inputs inputs{.release = std::string(file.text(identity.release)),
                  .root = file.text(identity.root),
                  .files = {},
                  .command_line = std::string(file.text(identity.command_line)),
                  .compression = std::string(file.text(identity.compression))};
    for (const InputEntry& input : file.table<InputEntry>(Table::inputs)) {
        auto& state = inputs.files[file.text(input.path)];
        if (input.is_there != 0)
            state = sys::FileIdentity{input.device, input.inode, input.size, input.changed_ns};
    }
    return inputs;
}

IndexIdentity identity_in(const File& file) {
    const auto identity = file.table<IndexIdentity>(Table::identity);
    return identity.empty() ? IndexIdentity() : identity.front();
}

bool covers(const ImageReader::Wanted& had, const ImageReader::Wanted& wanted) {
    return (had.hash || !wanted.hash) && (had.aliases || !wanted.aliases)
           && (had.is_signed || !wanted.is_signed) && (had.unpacked || !wanted.unpacked);
}

} // namespace

bool kernel_takes(const core::ModuleRecord& record, std::string_view compression) {
    constexpr std::size_t max_options = 2048;
    const auto fits_a_line = [](const std::string& text) {
        return core::printable(text, text.size() + 1) == text;
    };
    const bool form =
        record.path.ends_with(".ko") || (!compression.empty() && record.path.ends_with(compression));
    return form && record.options.size() <= max_options && fits_a_line(record.options)
           && fits_a_line(record.path);
}

CompiledIndex::CompiledIndex(File file, sys::Paths paths, ImageReader& reader, UnpackedImages* unpacked)
    : file_(std::move(file)), paths_(std::move(paths)), reader_(reader), unpacked_(unpacked),
      configured_(file_, PatternTable::configured), aliases_table_(file_, PatternTable::aliases),
      symbols_(file_, PatternTable::symbols), built_in_(file_, PatternTable::built_in) {
    const IndexIdentity identity = identity_in(file_);
    inputs_ = inputs_in(file_, identity);
    running_ = inputs_.release == sys::kernel_release();
    has_all_aliases_ = identity.has_all_aliases != 0;
    has_built_in_aliases_ = identity.has_built_in_aliases != 0;
    if (running_) limits_ = read_kernel_limits(paths_);
}

const ModuleEntry* CompiledIndex::entry_of(std::string_view name) const {
    const auto modules = file_.table<ModuleEntry>(Table::modules);
    const std::uint32_t hash = hash_of(name);
    const ModuleEntry* found = nullptr;
    probe(file_.table<ModuleSlot>(Table::module_slots), hash, [&](const ModuleSlot& slot) {
        if (slot.is_taken == 0) return Probe::stop;
        if (slot.hash != hash || slot.module >= modules.size()
            || file_.text(modules[slot.module].name) != name)
            return Probe::go_on;
        found = &modules[slot.module];
        return Probe::stop;
    });
    return found;
}

std::vector<std::string> CompiledIndex::names_in(Range range) const {
    std::vector<std::string> names;
    for (const Text name : File::part(file_.table<Text>(Table::names), range))
        names.emplace_back(file_.text(name));
    return names;
}

bool CompiledIndex::is_command(std::string_view name) const {
    return std::ranges::any_of(file_.table<CommandEntry>(Table::commands),
                               [&](const CommandEntry& command) { return file_.text(command.name) == name; });
}

std::vector<std::string> CompiledIndex::resolve(std::string_view token) {
    const auto wanted = normalized(token);
    if (!wanted) return {};
    std::vector<std::string> names;
    const auto take = [&names](const std::vector<PatternTable::Match>& matches) {
        for (const PatternTable::Match& match : matches)
            if (std::ranges::find(names, match.module) == names.end()) names.emplace_back(match.module);
        return !names.empty();
    };
    // What libkmod asks one after the other (kmod, kmod_module_new_from_lookup), and where it has an answer,
    // no further.
    if (take(configured_.match(*wanted))) return names;
    const ModuleEntry* entry = entry_of(*wanted);
    if (entry != nullptr && (entry->flags & module_indexed) != 0) return {*wanted};
    if (wanted->starts_with("symbol:") && take(symbols_.match(*wanted))) return names;
    if (is_command(*wanted)) return {*wanted};
    if (take(aliases_table_.match(*wanted))) return names;
    if (entry != nullptr && (entry->flags & module_built_in) != 0) return {*wanted};
    take(built_in_.match(*wanted));
    return names;
}

core::ModuleRecord CompiledIndex::record_of(const ModuleEntry& module) const {
    core::ModuleRecord record;
    record.name = file_.text(module.name);
    record.path = file_.text(module.path);
    record.options = file_.text(module.options);
    record.built_in = (module.flags & module_record_built_in) != 0;
    record.command_only = (module.flags & module_command_only) != 0;
    record.blacklisted = (module.flags & module_blacklisted) != 0;
    record.named_by_command = (module.flags & module_named_by_command) != 0;
    record.by_modprobe = (module.flags & module_by_modprobe) != 0;
    if ((module.flags & module_has_command) != 0)
        record.install_command = core::read_install_command(file_.text(module.command));
    record.dependencies = names_in(module.dependencies);
    record.soft_before = names_in(module.soft_before);
    record.soft_after = names_in(module.soft_after);
    return record;
}

const core::ModuleRecord* CompiledIndex::find(std::string_view name) {
    if (const auto known = records_.find(name); known != records_.end()) return &known->second;
    const ModuleEntry* entry = entry_of(name);
    if (entry == nullptr || (entry->flags & module_has_record) == 0) return nullptr;
    return &records_.emplace(name, record_of(*entry)).first->second;
}

std::string CompiledIndex::options_of(std::string_view module, std::string_view alias) const {
    std::string options;
    for (const OptionEntry& option : file_.table<OptionEntry>(Table::options)) {
        const std::string_view name = file_.text(option.name);
        if (name != module && name != alias) continue;
        if (!options.empty()) options += ' ';
        options += file_.text(option.value);
    }
    return options;
}

std::optional<core::ModuleRecord> CompiledIndex::asked_for(const core::ModuleRecord& module,
                                                           std::string_view token) {
    const std::string wanted = core::fold_pattern(token);
    const auto may_be_its_alias = [&](const OptionEntry& option) {
        const std::string name(file_.text(option.name));
        return name != module.name && ::fnmatch(name.c_str(), wanted.c_str(), 0) == 0;
    };
    if (std::ranges::none_of(file_.table<OptionEntry>(Table::options), may_be_its_alias)) return std::nullopt;
    const auto found = resolve(token);
    if (std::ranges::find(found, module.name) == found.end()) return std::nullopt;
    // The alias by which libkmod comes there: the line of modprobe.d as it is written, or what was asked for.
    std::string alias = wanted;
    for (const PatternTable::Match& match : configured_.match(wanted))
        if (core::fold(match.module) == module.name) {
            alias = match.pattern();
            break;
        }
    core::ModuleRecord asked = module;
    asked.options = options_of(module.name, alias);
    if (asked.options == module.options) return std::nullopt;
    asked.by_modprobe = asked.install_command || !kernel_takes(asked, inputs_.compression);
    return asked;
}

bool CompiledIndex::is_configured_alias(std::string_view token) {
    return !configured_.match(core::fold_pattern(token)).empty();
}

core::ImageFacts CompiledIndex::read_image(const core::ModuleRecord& record, ImageReader::Wanted wanted) {
    const auto now = sys::file_identity(record.path);
    const auto known = images_.find(record.name);
    if (known != images_.end()) {
        if (now && known->second.file == *now && covers(known->second.asked, wanted))
            return known->second.facts;
        if (now && known->second.file == *now) { // so that no two questions take turns
            wanted.hash = wanted.hash || known->second.asked.hash;
            wanted.aliases = wanted.aliases || known->second.asked.aliases;
            wanted.is_signed = wanted.is_signed || known->second.asked.is_signed;
        }
        images_.erase(known);
    }
    auto read = reader_.read(record.path, wanted);
    if (!read) return {.problem = read.error().what, .name = {}, .modinfo_name = {}};
    read->facts.state = to_string(read->file);
    if (read->unpacked && unpacked_ != nullptr)
        unpacked_->keep(record.name, record.path, read->facts, wanted.unpacked->name,
                        std::move(read->unpacked));
    return images_.emplace(record.name, KnownImage{read->file, wanted, std::move(read->facts)})
        .first->second.facts;
}

bool CompiledIndex::is_known(const core::ModuleRecord& record) const {
    const auto known = images_.find(record.name);
    if (known == images_.end()) return false;
    const auto now = sys::file_identity(record.path);
    return now && known->second.file == *now;
}

core::ImageFacts CompiledIndex::image(const core::ModuleRecord& module, bool with_hash) {
    ImageReader::Wanted wanted{.hash = with_hash, .is_signed = !limits_.signature_wanted_by.empty()};
    // What modprobe loads, it unpacks itself. Where a process waits, what is known is not read once more for
    // it: the kernel unpacks the file at a lower price.
    if (unpacked_ != nullptr && !module.by_modprobe && !module.path.ends_with(".ko")
        && (unpacked_->is_ahead() || !is_known(module)))
        wanted.unpacked = unpacked_->wanted(module.name);
    wanted.hash = wanted.hash || wanted.unpacked; // its record has it: the kernel sees no more of the file
    return read_image(module, std::move(wanted));
}

std::optional<std::vector<std::string>> CompiledIndex::own_aliases(const core::ModuleRecord& record) {
    if (record.command_only) return std::vector<std::string>();
    if (record.built_in) {
        if (!has_built_in_aliases_) return std::nullopt;
        std::vector<std::string> aliases;
        built_in_.for_each([&](std::string_view alias, std::string_view module) {
            if (module == record.name) aliases.emplace_back(alias);
        });
        return aliases;
    }
    const core::ImageFacts facts = read_image(record, {.aliases = true});
    if (!facts.problem.empty()) return std::nullopt;
    return facts.aliases;
}

const std::vector<std::string>* CompiledIndex::aliases(std::string_view name) {
    const core::ModuleRecord* record = find(name);
    if (record == nullptr) return nullptr;
    sys::FileIdentity now;
    if (!record->built_in && !record->command_only) {
        const auto identity = sys::file_identity(record->path);
        if (!identity) return nullptr;
        now = *identity;
    }
    const auto known = aliases_.find(name);
    if (known != aliases_.end() && known->second.file == now) return &known->second.aliases;
    auto aliases = own_aliases(*record);
    if (!aliases) return nullptr; // and not remembered: it may be readable the next time
    configured_.for_each([&](std::string_view alias, std::string_view module) {
        if (core::fold(module) == record->name) aliases->emplace_back(alias);
    });
    return &aliases_.insert_or_assign(std::string(name), KnownAliases{now, std::move(*aliases)})
                .first->second.aliases;
}

bool CompiledIndex::for_each_alias(const core::AliasVisitor& visit) {
    const auto visit_folded = [&visit](std::string_view alias, std::string_view module) {
        visit(alias, core::fold(module));
    };
    aliases_table_.for_each(visit_folded);
    for (const ModuleEntry& module : file_.table<ModuleEntry>(Table::modules))
        if ((module.flags & module_indexed) != 0)
            visit_folded(file_.text(module.name), file_.text(module.name));
    configured_.for_each(visit_folded);
    for (const CommandEntry& command : file_.table<CommandEntry>(Table::commands))
        if (command.is_install != 0) visit(file_.text(command.name), file_.text(command.name));
    return has_all_aliases_;
}

bool CompiledIndex::has_indexed_aliases(std::string_view name) {
    const core::ModuleRecord* record = find(name);
    if (record == nullptr || record->built_in || record->command_only) return false;
    const auto index = inputs_.files.find(paths_.modules(inputs_.release) / "modules.alias.bin");
    const auto file = sys::file_identity(record->path);
    if (index == inputs_.files.end() || !index->second || !file
        || file->changed_ns > index->second->changed_ns)
        return false;
    const auto known = images_.find(name);
    return known == images_.end() || known->second.file != *file || !known->second.asked.aliases;
}

bool is_current(const core::Decision& decision, core::ModuleIndex& index) {
    const auto is_unchanged = [&index](const core::Step& step) {
        if (step.judged.empty())
            return true; // audit mode, or nothing to load: the plan promises nothing about it
        const core::ModuleRecord* record = index.find(step.module);
        if (record == nullptr) return false;
        const auto now = sys::file_identity(record->path);
        return now && to_string(*now) == step.judged;
    };
    return std::ranges::all_of(decision.modules, [&](const core::ModuleDecision& module) {
        return !decision.loads(module) || std::ranges::all_of(module.chain, is_unchanged);
    });
}

bool CompiledIndex::outdated() const {
    return inputs_.files != input_files(paths_, inputs_.release)
           || (running_ && read_kernel_limits(paths_) != limits_);
}

} // namespace kmodguard::compiled
