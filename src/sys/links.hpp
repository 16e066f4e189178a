// SPDX-License-Identifier: AGPL-3.0-only
//
// Symbolic links below a root that is not the machine's own, in an image of another machine: there an
// absolute one means a path below that root, and "../" does not lead out of it. The kernel would follow both
// into the running machine.
#pragma once

#include <filesystem>

namespace kmodguard::sys {

/// The file that `path`, which is below `root`, is for a system whose root that is. `path` itself, as it is,
/// if no link on it leads out of `root`: then the kernel finds the same. What does not exist is taken as it
/// is named. A path that winds through more than 40 links leads nowhere: if one of them leads out, it comes
/// back with one component too many, so that it cannot be opened.
[[nodiscard]] std::filesystem::path follow_below(const std::filesystem::path& root,
                                                 const std::filesystem::path& path);

} // namespace kmodguard::sys
