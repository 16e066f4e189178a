// SPDX-License-Identifier: AGPL-3.0-only
#include "compiled/hash_table.hpp"
#include "compiled/index.hpp"
#include "compiled/index_layout.hpp"

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::compiled {
namespace {

class IndexWriter {
  public:
    explicit IndexWriter(const IndexSource& source) : source_(source) {}

    sys::Result<std::string> write() && {
        write_inputs();
        write_modules();
        write_configuration();
        PatternTable::write(file_, PatternTable::configured, source_.configured_aliases);
        PatternTable::write(file_, PatternTable::aliases, source_.aliases);
        PatternTable::write(file_, PatternTable::symbols, source_.symbols);
        PatternTable::write(file_, PatternTable::built_in, source_.built_in_aliases);
        return file_.finish();
    }

  private:
    void write_inputs() {
        const Inputs& inputs = source_.inputs;
        file_.set<IndexIdentity>(Table::identity,
                                 {{.release = file_.add(inputs.release),
                                   .root = file_.add(inputs.root.native()),
                                   .command_line = file_.add(inputs.command_line),
                                   .compression = file_.add(inputs.compression),
                                   .has_all_aliases = source_.has_all_aliases ? 1U : 0U,
                                   .has_built_in_aliases = source_.has_built_in_aliases ? 1U : 0U}});
        std::vector<InputEntry> files;
        for (const auto& [path, state] : inputs.files) {
            InputEntry entry{.path = file_.add(path.native()), .is_there = state ? 1U : 0U};
            if (state) {
                entry.device = state->device;
                entry.inode = state->inode;
                entry.size = state->size;
                entry.changed_ns = state->changed_ns;
            }
            files.push_back(entry);
        }
        file_.set(Table::inputs, files);
    }

    Range add_names(const std::vector<std::string>& names) {
        const Range range{static_cast<std::uint32_t>(names_.size()),
                          static_cast<std::uint32_t>(names.size())};
        for (const std::string& name : names)
            names_.push_back(file_.add(name));
        return range;
    }

    void add_record(const core::ModuleRecord& record) {
        ModuleEntry& entry = entries_[record.name];
        entry.path = file_.add(record.path);
        entry.options = file_.add(record.options);
        entry.dependencies = add_names(record.dependencies);
        entry.soft_before = add_names(record.soft_before);
        entry.soft_after = add_names(record.soft_after);
        if (record.install_command) entry.command = file_.add(record.install_command->text);
        const auto set = [&entry](bool is_so, ModuleFlag flag) {
            if (is_so) entry.flags |= flag;
        };
        set(true, module_has_record);
        set(record.built_in, module_record_built_in);
        set(record.command_only, module_command_only);
        set(record.blacklisted, module_blacklisted);
        set(record.named_by_command, module_named_by_command);
        set(record.by_modprobe, module_by_modprobe);
        set(record.install_command.has_value(), module_has_command);
    }

    void write_modules() {
        for (const std::string& name : source_.indexed_names)
            entries_[name].flags |= module_indexed;
        for (const std::string& name : source_.built_in_names)
            entries_[name].flags |= module_built_in;
        for (const core::ModuleRecord& record : source_.modules)
            add_record(record);
        std::vector<ModuleEntry> modules;
        std::vector<ModuleSlot> slots(slots_for(entries_.size()));
        for (auto& [name, entry] : entries_) {
            entry.name = file_.add(name);
            const std::uint32_t hash = hash_of(name);
            slots[free_slot(slots, hash, [](const ModuleSlot& slot) { return slot.is_taken == 0; })] = {
                hash, static_cast<std::uint32_t>(modules.size()), 1};
            modules.push_back(entry);
        }
        file_.set(Table::modules, modules);
        file_.set(Table::module_slots, slots);
        file_.set(Table::names, names_);
    }

    void write_configuration() {
        std::vector<OptionEntry> options;
        for (const IndexSource::Option& option : source_.options)
            options.push_back({file_.add(option.name), file_.add(option.value)});
        file_.set(Table::options, options);
        const std::set<std::string_view> install(source_.install_names.begin(), source_.install_names.end());
        std::set<std::string_view> all(source_.command_names.begin(), source_.command_names.end());
        all.insert(install.begin(), install.end());
        std::vector<CommandEntry> commands;
        for (const std::string_view name : all)
            commands.push_back({file_.add(name), install.contains(name) ? 1U : 0U});
        file_.set(Table::commands, commands);
    }

    const IndexSource& source_;
    FileWriter file_;
    std::map<std::string, ModuleEntry> entries_;
    std::vector<Text> names_;
};

} // namespace

sys::Result<std::string> compile(const IndexSource& source) {
    return IndexWriter(source).write();
}

} // namespace kmodguard::compiled
