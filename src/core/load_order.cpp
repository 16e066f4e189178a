// SPDX-License-Identifier: AGPL-3.0-only
//
// The order in which modprobe loads: libkmod's kmod_module_get_probe_list, which keeps its own to itself
// unless something is loaded. Each hard dependency, then the module; around each of them its soft
// dependencies, which bring their own in the same manner. A test compares it with `modprobe --show-depends`
// for every module of a Debian kernel. What an install command loads comes before its module, as a step of
// its own: only modprobe takes it, and it is there to be judged.
#include "core/decision.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace kmodguard::core {
namespace {

class LoadOrder {
  public:
    LoadOrder(ModuleIndex& index, std::string_view wanted, const std::vector<std::string>& skip)
        : index_(index), skip_(skip) {
        required_.emplace(wanted);
        if (const ModuleRecord* record = index_.find(wanted))
            required_.insert(record->dependencies.begin(), record->dependencies.end());
        bring(wanted);
    }

    std::vector<Step> take() { return std::move(steps_); }

  private:
    /// A module that is wanted for itself or as a soft dependency: with its hard dependencies.
    void bring(std::string_view module) {
        if (!so_far().brought.emplace(module).second) return;
        if (const ModuleRecord* record = index_.find(module))
            for (const std::string& dependency : record->dependencies)
                place(dependency);
        place(module);
    }

    /// The module itself, between its soft dependencies.
    void place(std::string_view module) {
        const ModuleRecord* record = index_.find(module);
        if (record != nullptr) bring_all(record->soft_before);
        if (record != nullptr && record->install_command) bring_what_is_run(*record);
        if (record == nullptr || !record->built_in) add(module);
        if (record != nullptr) bring_all(record->soft_after);
    }

    void add(std::string_view module) {
        if (by_command_ && by_itself_.placed.contains(module)) return; // it is there by then
        if (!so_far().placed.emplace(module).second) return;
        steps_.push_back({.module = std::string(module),
                          .required = !by_command_ && required_.contains(module),
                          .by_command = by_command_});
    }

    /// What the install command of `record` loads, once for each command: they may name each other.
    void bring_what_is_run(const ModuleRecord& record) {
        if (!commands_.insert(record.name).second) return;
        const bool outer = std::exchange(by_command_, true);
        for (const std::string& name : record.install_command->loads)
            for (const std::string& module : index_.resolve(name))
                if (!commands_.contains(module)) bring(module);
        by_command_ = outer;
    }

    void bring_all(const std::vector<std::string>& modules) {
        for (const std::string& module : modules)
            if (std::ranges::find(skip_, module) == skip_.end()) bring(module);
    }

    ModuleIndex& index_;
    const std::vector<std::string>& skip_;
    std::set<std::string, std::less<>> required_;
    /// What a command loads may be needed again by itself, if the command does not come to it.
    struct SoFar {
        std::set<std::string, std::less<>> brought;
        std::set<std::string, std::less<>> placed;
    };
    SoFar& so_far() { return by_command_ ? run_ : by_itself_; }

    SoFar by_itself_;
    SoFar run_;
    bool by_command_ = false;
    std::set<std::string, std::less<>> commands_; ///< modules whose install command was read
    std::vector<Step> steps_;
};

} // namespace

std::vector<Step> load_order(ModuleIndex& index, std::string_view module,
                             const std::vector<std::string>& skip) {
    return LoadOrder(index, module, skip).take();
}

} // namespace kmodguard::core
