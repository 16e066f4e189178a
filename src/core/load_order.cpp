// SPDX-License-Identifier: AGPL-3.0-only
//
// The order in which modprobe loads: libkmod's kmod_module_get_probe_list, which keeps its own to itself
// unless something is loaded. Each hard dependency, then the module; around each of them its soft
// dependencies, which bring their own in the same manner. A test compares it with `modprobe --show-depends`
// for every module of a Debian kernel.
#include "core/decision.hpp"

#include <algorithm>
#include <set>

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
        if (!brought_.emplace(module).second) return;
        if (const ModuleRecord* record = index_.find(module))
            for (const std::string& dependency : record->dependencies)
                place(dependency);
        place(module);
    }

    /// The module itself, between its soft dependencies.
    void place(std::string_view module) {
        const ModuleRecord* record = index_.find(module);
        if (record != nullptr) bring_all(record->soft_before);
        const bool built_in = record != nullptr && record->built_in;
        if (!built_in && placed_.emplace(module).second)
            steps_.push_back({.module = std::string(module), .required = required_.contains(module)});
        if (record != nullptr) bring_all(record->soft_after);
    }

    void bring_all(const std::vector<std::string>& modules) {
        for (const std::string& module : modules)
            if (std::ranges::find(skip_, module) == skip_.end()) bring(module);
    }

    ModuleIndex& index_;
    const std::vector<std::string>& skip_;
    std::set<std::string, std::less<>> required_;
    std::set<std::string, std::less<>> brought_;
    std::set<std::string, std::less<>> placed_;
    std::vector<Step> steps_;
};

} // namespace

std::vector<Step> load_order(ModuleIndex& index, std::string_view module,
                             const std::vector<std::string>& skip) {
    return LoadOrder(index, module, skip).take();
}

} // namespace kmodguard::core
