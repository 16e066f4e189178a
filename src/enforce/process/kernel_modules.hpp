// SPDX-License-Identifier: AGPL-3.0-only
//
// The system calls that a supervisor makes in its callers' stead. An interface, so that a test can see what
// would have reached a kernel.
#pragma once

#include "modules/image_source.hpp"

#include <string>

namespace kmodguard::process {

class KernelModules {
  public:
    virtual ~KernelModules() = default;

    /// init_module(2): 0 or an errno.
    [[nodiscard]] virtual int load(const modules::Buffer& image, const std::string& parameters) = 0;
    /// finit_module(2) of a file with these bytes. They are taken over, to be in memory once.
    [[nodiscard]] virtual int load_file(modules::Buffer image, const std::string& parameters, int flags) = 0;
    /// Whether a module is there, and live, that calls itself `module`. False where that cannot be seen.
    [[nodiscard]] virtual bool is_loaded(const std::string& module) = 0;
    /// delete_module(2).
    [[nodiscard]] virtual int unload(const std::string& module, unsigned flags) = 0;
};

/// The running kernel.
class RunningKernel final : public KernelModules {
  public:
    [[nodiscard]] int load(const modules::Buffer& image, const std::string& parameters) override;
    [[nodiscard]] int load_file(modules::Buffer image, const std::string& parameters, int flags) override;
    [[nodiscard]] bool is_loaded(const std::string& module) override;
    [[nodiscard]] int unload(const std::string& module, unsigned flags) override;
};

} // namespace kmodguard::process
