// SPDX-License-Identifier: AGPL-3.0-only
#include "modules/kernel_limits.hpp"

#include "sys/file.hpp"
#include "sys/kernel.hpp"

#include <sstream>

namespace kmodguard::modules {

core::KernelLimits read_kernel_limits(const sys::Paths& paths) {
    core::KernelLimits limits;
    std::istringstream names(sys::kernel_parameter(paths, "module_blacklist").value_or(""));
    for (std::string name; std::getline(names, name, ',');)
        if (!name.empty()) limits.blacklist.push_back(std::move(name));
    limits.loading_disabled = sys::read_pseudo_file(paths.loading_disabled()).value_or("").starts_with('1');
    // "none [integrity] confidentiality": the one in brackets is in force.
    if (sys::read_pseudo_file(paths.signature_setting()).value_or("").starts_with('Y'))
        limits.signature_wanted_by = "module.sig_enforce";
    else if (const auto lockdown = sys::read_pseudo_file(paths.lockdown());
             lockdown && lockdown->contains('[') && !lockdown->contains("[none]"))
        limits.signature_wanted_by = "lockdown";
    return limits;
}

} // namespace kmodguard::modules
