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
    return limits;
}

} // namespace kmodguard::modules
