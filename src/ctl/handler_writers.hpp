// SPDX-License-Identifier: AGPL-3.0-only
//
// Who holds a file open for writing. The seal keeps everybody from opening the setting that names the
// kernel's handler of module requests; whoever has it open already could still write to it.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace kmodguard::ctl {

struct Writer {
    pid_t pid = 0;
    std::string command; ///< its name, as the kernel has it
};

/// The processes that have `file` open for writing, as far as proc(5), mounted at `proc`, shows them. `tail`
/// is how the file's path ends wherever its file system is mounted: other mounts of /proc show other files.
[[nodiscard]] std::vector<Writer> writers_of(const std::filesystem::path& proc,
                                             const std::filesystem::path& file, const std::string& tail);

} // namespace kmodguard::ctl
