// SPDX-License-Identifier: AGPL-3.0-only
//
// The modules of one kernel as modprobe sees them, because the same library answers: libkmod reads depmod's
// index and modprobe.d. Nothing is read before it is asked for, and what was once asked stays in memory; an
// attacker can make it grow to the number of modules that exist, no further.
#pragma once

#include "core/module_index.hpp"
#include "modules/image_file.hpp"
#include "modules/kmod_context.hpp"
#include "sys/file.hpp"
#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <functional>
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
    [[nodiscard]] bool knows_aliases(std::string_view name) override;
    [[nodiscard]] const std::vector<std::string>& aliases(std::string_view name) override;
    /// None of depmod's, or not all, if its index cannot be read now. It is read again each time, and not
    /// kept.
    bool for_each_alias(
        const std::function<void(std::string_view alias, std::string_view module)>& visit) override;
    /// For a file that has not changed since depmod wrote its index, and whose aliases were not read from it.
    [[nodiscard]] bool has_indexed_aliases(std::string_view name) override;
    [[nodiscard]] core::ImageFacts image(const core::ModuleRecord& module, bool with_hash) override;

    /// The image file of `module` as it is now: always with the hash, and with the tag of its bytes under
    /// `key` unless it has a problem. It is read whole, and not kept.
    [[nodiscard]] static sys::Result<FileImage> packed_image(const core::ModuleRecord& module,
                                                             const ContentKey& key);

    /// Whether depmod ran, or modprobe.d or the kernel's limits changed, since open(): then open a new one.
    [[nodiscard]] bool outdated() const;

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
    KmodIndex(KmodContext context, const sys::Paths& paths, CommandLineEntries foreign, bool running);
    [[nodiscard]] std::string path_of(const kmod_module* module) const;
    [[nodiscard]] std::string options_of(const kmod_module* module, const std::string& alias) const;
    [[nodiscard]] std::string alias_of(const std::string& token, const std::string& module) const;
    void read_blacklist();
    void read_install_commands();
    void read_option_names();
    [[nodiscard]] bool kernel_takes(const core::ModuleRecord& record) const;
    [[nodiscard]] std::optional<std::vector<std::string>>
    read_aliases(const core::ModuleRecord& record) const;
    [[nodiscard]] std::vector<std::string> with_configured(std::vector<std::string> aliases,
                                                           const core::ModuleRecord& record) const;
    /// nullptr if they cannot be read.
    [[nodiscard]] const KnownAliases* known_aliases(std::string_view name);
    [[nodiscard]] std::optional<core::InstallCommand> command_of(kmod_module* module) const;
    core::ModuleRecord record_of(const std::string& name, kmod_module* module) const;

    KmodContext context_;
    sys::Paths paths_;
    /// Of the running kernel's command line, which says nothing of the modules below another root.
    CommandLineEntries foreign_;
    std::string compression_; ///< suffix of images that the kernel decompresses itself; "" if none
    bool running_ = false;
    /// The state of depmod's files, as they were before they were opened. libkmod notices changes only of
    /// those that it keeps open, and keeps none open if one is missing or broken.
    using IndexFiles = std::vector<std::optional<sys::FileIdentity>>;
    [[nodiscard]] IndexFiles read_index_state() const;
    IndexFiles index_files_;
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
