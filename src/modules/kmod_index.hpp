// SPDX-License-Identifier: AGPL-3.0-only
//
// The modules of one kernel as modprobe sees them, because the same library answers: libkmod reads depmod's
// index and modprobe.d. Nothing is read before it is asked for, and what was once asked stays in memory; an
// attacker can make it grow to the number of modules that exist, no further.
#pragma once

#include "compiled/index.hpp"
#include "core/module_index.hpp"
#include "modules/image.hpp"
#include "modules/kmod_context.hpp"
#include "sys/file.hpp"
#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

struct kmod_list;
struct kmod_module;

namespace kmodguard::modules {

using KmodModule = std::unique_ptr<kmod_module, kmod_module* (*)(kmod_module*)>;

/// Canonical names of the image files below /lib/modules/`release`, sorted, each once: libkmod answers for
/// names, but does not list them. Unreadable folders are skipped.
[[nodiscard]] std::vector<std::string> installed_modules(const sys::Paths& paths, const std::string& release);

/// Calls `visit` with every alias of modules.alias.bin in `directory`, as depmod folded it, and the name of
/// its module. On failure it was called with none.
[[nodiscard]] sys::Result<void> for_each_indexed_alias(const std::filesystem::path& directory,
                                                       const core::AliasVisitor& visit);

/// Not thread-safe. Questions fill caches, so even they need the index for themselves.
class KmodIndex final : public core::ModuleIndex {
  public:
    /// The index of kernel `release` below `paths`. Fails if depmod never made one there.
    [[nodiscard]] static sys::Result<std::unique_ptr<KmodIndex>> open(const sys::Paths& paths,
                                                                      const std::string& release);
    ~KmodIndex() override;
    KmodIndex(const KmodIndex&) = delete;
    KmodIndex& operator=(const KmodIndex&) = delete;

    [[nodiscard]] std::vector<std::string> resolve(std::string_view token) override;
    [[nodiscard]] const core::ModuleRecord* find(std::string_view name) override;
    [[nodiscard]] std::optional<core::ModuleRecord> asked_for(const core::ModuleRecord& module,
                                                              std::string_view token) override;
    [[nodiscard]] bool is_configured_alias(std::string_view token) override;
    [[nodiscard]] const core::KernelLimits& kernel_limits() const override { return limits_; }
    [[nodiscard]] const std::vector<std::string>* aliases(std::string_view name) override;
    /// None of depmod's, or not all, if its index cannot be read now. It is read again each time, and not
    /// kept.
    bool for_each_alias(const core::AliasVisitor& visit) override;
    /// For a file that has not changed since depmod wrote its index, and whose aliases were not read from it.
    [[nodiscard]] bool has_indexed_aliases(std::string_view name) override;
    [[nodiscard]] core::ImageFacts image(const core::ModuleRecord& module, bool with_hash) override;

    /// All of it, for a compiled file.
    [[nodiscard]] compiled::IndexSource source();

  private:
    struct CheckedImage {
        sys::FileIdentity file;
        bool hashed = false;
        core::ImageFacts facts;
    };
    template <typename T>
    using ByName = std::map<std::string, T, std::less<>>;

    struct KnownAliases {
        sys::FileIdentity file; ///< that they were read from
        std::vector<std::string> aliases;
    };

    /// `running`: the modules are for the kernel that runs there.
    KmodIndex(KmodContext context, sys::Paths paths, CommandLineEntries foreign, bool running,
              compiled::Inputs inputs);
    void read_configuration();
    [[nodiscard]] KmodModule module_called(std::string_view name) const;
    [[nodiscard]] std::string path_of(const kmod_module* module) const;
    [[nodiscard]] std::string options_of(const kmod_module* module, const std::string& alias) const;
    [[nodiscard]] std::string alias_of(const std::string& token, const std::string& module) const;
    [[nodiscard]] std::optional<std::vector<std::string>>
    read_aliases(const core::ModuleRecord& record) const;
    [[nodiscard]] std::vector<std::string> with_configured(std::vector<std::string> aliases,
                                                           const core::ModuleRecord& record) const;
    core::ModuleRecord record_of(std::string_view name, kmod_module* module) const;

    KmodContext context_;
    sys::Paths paths_;
    /// Of the running kernel's command line, which says nothing of the modules below another root.
    CommandLineEntries foreign_;
    bool running_ = false;
    compiled::Inputs inputs_;   ///< before they were opened
    core::KernelLimits limits_; ///< none of a kernel that does not run
    std::set<std::string, std::less<>> blacklist_;
    ByName<core::InstallCommand> commands_; ///< by the name that the line is for, which may be a pattern
    std::set<std::string, std::less<>> named_by_commands_; ///< folded, of other names than the line's
    std::set<std::string, std::less<>> option_names_;      ///< of modules, and of aliases as they are written
    ByName<core::ModuleRecord> records_;
    ByName<KnownAliases> aliases_;
    ByName<CheckedImage> images_;
};

} // namespace kmodguard::modules
