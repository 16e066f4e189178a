// SPDX-License-Identifier: AGPL-3.0-only
//
// Loads modules on behalf of callers in user namespaces, to whom the kernel lets load nothing, where the
// policy says so (allow.user_namespaces). The right to load is lent for the policy's modules, not for the
// caller's bytes: what is loaded is this machine's own file of that name, found by the module index and
// judged like any other image, with the options that modprobe.d gives it. Of the caller's call only the name
// in its image counts.
//
// Anybody may make a user namespace, and has every capability in it. So it takes one that root made; and with
// a container, whose own is known, no other that its processes make.
#pragma once

#include "core/judge.hpp"
#include "enforce/process/caller.hpp"
#include "enforce/process/image_copy.hpp"
#include "enforce/process/kernel_modules.hpp"

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace kmodguard::process {

/// Whether kmodctl itself could load a module for others: it has CAP_SYS_MODULE, in the initial user
/// namespace, and modules are not disabled.
[[nodiscard]] Taken<void> may_lend();

class Lender {
  public:
    /// All of them must outlive the object.
    struct Dependencies {
        core::Judge& judge;
        KernelModules& kernel;
        MemoryBudget& memory;
        std::mutex& decompressing; ///< locked while an image is decompressed
        std::uint64_t limit;       ///< bytes of an image
    };

    /// `only`: the one user namespace, by its inode number, whose callers are served; nullopt: any that root
    /// made.
    Lender(const Dependencies& dependencies, std::optional<std::uint64_t> only)
        : dependencies_(dependencies), only_(only) {}

    /// Whether modules are loaded on behalf of `caller`, who may load none itself. Refusal: EPERM, with what
    /// is in the way.
    [[nodiscard]] Taken<void> serves(const Caller& caller) const;

    /// One file of this machine that was judged, and loaded if it is admitted.
    struct Attempt {
        std::string module;
        std::string file;
        core::Decision decision;
        std::optional<core::Sha256> sha256;
        int error = 0;        ///< 0, or an errno: what the kernel said, or that it was not asked
        std::string why = {}; ///< it was not asked; "" if it was
    };

    /// Loads `module`, and before it what it needs and is not loaded yet, each only if `goes_on()` still
    /// holds then. The last attempt is that of the module itself, unless one before it failed. Refusal:
    /// nothing was tried, and why.
    [[nodiscard]] Taken<std::vector<Attempt>> load(const std::string& module,
                                                   const std::function<bool()>& goes_on);

  private:
    [[nodiscard]] Taken<std::vector<core::ModuleRecord>> to_load(const std::string& module) const;
    [[nodiscard]] Taken<ImageCopy> read(const core::ModuleRecord& record);
    [[nodiscard]] Attempt attempt(const core::ModuleRecord& record, const std::function<bool()>& goes_on);

    Dependencies dependencies_;
    std::optional<std::uint64_t> only_;
};

} // namespace kmodguard::process
