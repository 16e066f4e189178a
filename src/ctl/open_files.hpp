// SPDX-License-Identifier: AGPL-3.0-only
//
// Which processes have open what the seal keeps all from opening: the setting that names the kernel's handler
// of module requests, and the kernel point's maps. A process that has it open already could still use it, and
// so could root, by taking the descriptor over (pidfd_getfd(2)).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kmodguard::ctl {

struct Process {
    pid_t pid = 0;
    std::string command; ///< its name, as the kernel has it
};

/// The processes that have `file` open for writing, as far as proc(5), mounted at `proc`, shows them. `tail`
/// is how the file's path ends wherever its file system is mounted: other mounts of /proc show other files.
[[nodiscard]] std::vector<Process> writers_of(const std::filesystem::path& proc,
                                              const std::filesystem::path& file, const std::string& tail);

/// The processes that have a descriptor of one of the BPF maps with these ids, likewise.
[[nodiscard]] std::vector<Process> processes_with_maps(const std::filesystem::path& proc,
                                                       const std::vector<std::uint32_t>& ids);

} // namespace kmodguard::ctl
