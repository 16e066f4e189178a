// SPDX-License-Identifier: AGPL-3.0-only
#include "compiled/inputs.hpp"

#include "sys/kernel.hpp"

#include <algorithm>
#include <sstream>
#include <system_error>
#include <vector>

namespace kmodguard::compiled {
namespace {

/// The words "MODULE.PARAMETER=VALUE", of which "modprobe.blacklist=" is one (kernel-command-line(7)): what
/// else there is differs from kernel to kernel. All of it where quotes say what a word is.
std::string for_modprobe(const std::string& command_line) {
    if (command_line.contains('"')) return command_line;
    std::string kept;
    std::istringstream words(command_line);
    for (std::string word; words >> word;)
        if (word.substr(0, word.find('=')).contains('.')) kept += word + ' ';
    return kept;
}

} // namespace

std::map<std::string, std::filesystem::path> modprobe_files(const sys::Paths& paths) {
    std::map<std::string, std::filesystem::path> files;
    for (const auto& folder : paths.modprobe_configuration()) {
        std::error_code error;
        std::filesystem::directory_iterator entry(folder, error);
        for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
            const std::string name = entry->path().filename();
            if (!name.starts_with('.') && (name.ends_with(".conf") || name.ends_with(".alias")))
                files.try_emplace(name, entry->path());
        }
    }
    return files;
}

sys::FileStates input_files(const sys::Paths& paths, const std::string& release) {
    const std::filesystem::path directory = paths.modules(release);
    std::vector<std::filesystem::path> files;
    for (const char* name :
         {"modules.dep.bin", "modules.alias.bin", "modules.symbols.bin", "modules.builtin.bin",
          "modules.builtin.alias.bin", "modules.builtin.modinfo", "modules.softdep"})
        files.push_back(directory / name);
    for (const auto& [name, file] : modprobe_files(paths))
        files.push_back(file);
    return sys::file_states(files);
}

bool Inputs::can_be_recognised() const {
    return std::ranges::all_of(
        files, [](const auto& file) { return !file.second || sys::has_time_of_change(*file.second); });
}

Inputs inputs_of(const sys::Paths& paths, const std::string& release) {
    return {.release = release,
            .root = paths.root(),
            .files = input_files(paths, release),
            .command_line =
                paths.moved() ? ""
                              : for_modprobe(sys::read_pseudo_file(paths.kernel_command_line()).value_or("")),
            .compression = sys::in_kernel_compression(paths)};
}

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

} // namespace kmodguard::compiled
