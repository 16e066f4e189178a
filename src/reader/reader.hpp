// SPDX-License-Identifier: AGPL-3.0-only
//
// All that is read of files which others than kmodguard wrote, in the form in which it is used: depmod's and
// modprobe.d's as a compiled index, policy files as a policy, images as what they say of themselves. Parsers
// and decompressors are large and have had their faults, so the daemon has none of them: it asks a process
// that may do nothing else (process.hpp). Programs that live shortly read by themselves (local/).
#pragma once

#include "compiled/file.hpp"
#include "compiled/image_reader.hpp"
#include "core/policy.hpp"
#include "core/runtime_changes.hpp"
#include "sys/result.hpp"

#include <filesystem>
#include <string>
#include <vector>

namespace kmodguard::reader {

struct ReadPolicy {
    core::PolicySource source;
    std::vector<std::string> warnings; ///< a line each
};

/// Keeps `policy` at `path` for a start at which the files cannot be used. Nothing is written where it is
/// kept already. Where it cannot be, as on a full disk, the one of before is removed: it may allow more.
[[nodiscard]] sys::Result<void> keep(const ReadPolicy& policy, const std::filesystem::path& path);
[[nodiscard]] sys::Result<ReadPolicy> kept_policy(const std::filesystem::path& path);

/// A policy file that is to be written.
struct NewText {
    std::filesystem::path file; ///< symbolic links followed
    std::filesystem::path shown_as;
    std::string text;
};

/// Writes the files, each as a whole, and returns as what they are shown. Each keeps its owner, group and
/// mode as far as the caller may give them (sys::replace_file_atomically). An error says which had been
/// written.
[[nodiscard]] sys::Result<std::vector<std::string>> write(const std::vector<NewText>& files);

class Reader : public compiled::ImageReader {
  public:
    /// The modules of kernel `release`. An error if depmod never made an index there.
    [[nodiscard]] virtual sys::Result<compiled::File> index(const std::string& release) = 0;
    /// The policy files. An error, of the kind of the first, if they are none that can be used.
    [[nodiscard]] virtual sys::Result<ReadPolicy> policy() = 0;
    /// The policy files that change, if the files as they are now get `changes`.
    [[nodiscard]] virtual sys::Result<std::vector<NewText>> edited(const core::RuntimeChanges& changes) = 0;
    /// It may rest: nothing is asked for the time being.
    virtual void rest() {}
};

} // namespace kmodguard::reader
