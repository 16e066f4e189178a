// SPDX-License-Identifier: AGPL-3.0-only
//
// The modules of one kernel, from a compiled file: what modprobe would find for a token, without libkmod, and
// without reading anything of depmod's or modprobe.d's. What an image says of itself is not in the file: it
// is asked of an ImageReader, and remembered by the state of the image's file.
#pragma once

#include "compiled/file.hpp"
#include "compiled/image_reader.hpp"
#include "compiled/inputs.hpp"
#include "compiled/pattern_table.hpp"
#include "compiled/unpacked_images.hpp"
#include "core/decision.hpp"
#include "core/module_index.hpp"
#include "sys/file.hpp"
#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::compiled {

struct ModuleEntry;

/// All that an index is compiled of. Names are canonical where nothing else is said.
struct IndexSource {
    struct Option {
        std::string name; ///< a module, or an alias as it is written
        std::string value;
    };
    Inputs inputs;
    std::vector<core::ModuleRecord> modules; ///< all that there are, built-in ones and commands included
    std::vector<std::string> indexed_names;  ///< that modprobe finds by name: also those of no valid form
    std::vector<std::string> built_in_names;
    std::vector<std::string> command_names; ///< modprobe.d: of install and remove lines
    std::vector<std::string> install_names; ///< of install lines
    std::vector<Option> options;            ///< modprobe.d and the kernel's command line, in order
    std::vector<Alias> configured_aliases;  ///< of modprobe.d; the priority is the line's number
    std::vector<Alias> aliases;             ///< of depmod's
    std::vector<Alias> symbols;
    std::vector<Alias> built_in_aliases;
    bool has_all_aliases = false; ///< depmod's indexes of aliases and of modules could be read
    bool has_built_in_aliases = false;
};

/// The compiled file.
[[nodiscard]] sys::Result<std::string> compile(const IndexSource& source);

/// Not thread-safe. Questions fill caches, so even they need the index for themselves.
class CompiledIndex final : public core::ModuleIndex {
  public:
    /// Of `file`. `reader` must outlive it, and `unpacked`, if there is one, where images of compressed files
    /// are kept that the kernel could be handed so.
    CompiledIndex(File file, sys::Paths paths, ImageReader& reader, UnpackedImages* unpacked = nullptr);
    CompiledIndex(const CompiledIndex&) = delete;
    CompiledIndex& operator=(const CompiledIndex&) = delete;

    /// What the file was made of: one that was kept is to be made again if that is not inputs_of() now.
    [[nodiscard]] const Inputs& inputs() const { return inputs_; }

    [[nodiscard]] std::vector<std::string> resolve(std::string_view token) override;
    [[nodiscard]] const core::ModuleRecord* find(std::string_view name) override;
    [[nodiscard]] std::optional<core::ModuleRecord> asked_for(const core::ModuleRecord& module,
                                                              std::string_view token) override;
    [[nodiscard]] bool is_configured_alias(std::string_view token) override;
    [[nodiscard]] const core::KernelLimits& kernel_limits() const override { return limits_; }
    [[nodiscard]] const std::vector<std::string>* aliases(std::string_view name) override;
    bool for_each_alias(const core::AliasVisitor& visit) override;
    [[nodiscard]] bool has_indexed_aliases(std::string_view name) override;
    [[nodiscard]] core::ImageFacts image(const core::ModuleRecord& module, bool with_hash) override;

    /// Whether what it was made of, as far as that can, or the kernel's limits changed since this process has
    /// it: then another is to be made.
    [[nodiscard]] bool outdated() const;

  private:
    template <typename T>
    using ByName = std::map<std::string, T, std::less<>>;
    struct KnownImage {
        sys::FileIdentity file;
        ImageReader::Wanted asked; ///< what was read of it
        core::ImageFacts facts;
    };
    struct KnownAliases {
        sys::FileIdentity file; ///< that they were read from; of what has no file: none, it does not change
        std::vector<std::string> aliases;
    };

    [[nodiscard]] const ModuleEntry* entry_of(std::string_view name) const;
    [[nodiscard]] core::ModuleRecord record_of(const ModuleEntry& module) const;
    [[nodiscard]] std::vector<std::string> names_in(Range range) const;
    [[nodiscard]] bool is_command(std::string_view name) const;
    [[nodiscard]] std::string options_of(std::string_view module, std::string_view alias) const;
    /// What its file says now, of which at least `wanted` is asked; an error is in the facts.
    [[nodiscard]] core::ImageFacts read_image(const core::ModuleRecord& record, ImageReader::Wanted wanted);
    /// Whether anything was read of its file as it is now.
    [[nodiscard]] bool is_known(const core::ModuleRecord& record) const;
    [[nodiscard]] std::optional<std::vector<std::string>> own_aliases(const core::ModuleRecord& record);

    File file_;
    sys::Paths paths_;
    ImageReader& reader_;
    UnpackedImages* unpacked_;
    Inputs inputs_;
    bool running_ = false;
    bool has_all_aliases_ = false;
    bool has_built_in_aliases_ = false;
    core::KernelLimits limits_; ///< none of a kernel that does not run
    PatternTable configured_;
    PatternTable aliases_table_;
    PatternTable symbols_;
    PatternTable built_in_;
    ByName<core::ModuleRecord> records_;
    ByName<KnownAliases> aliases_;
    ByName<KnownImage> images_;
};

/// Whether every image that `decision`, made with `index`, would load still is in the state in which it was
/// judged.
[[nodiscard]] bool is_current(const core::Decision& decision, core::ModuleIndex& index);

/// Whether finit_module can be given the image file and the options of `record` as they are, where the kernel
/// decompresses `compression` by itself. Both must also fit a line of the plan.
[[nodiscard]] bool kernel_takes(const core::ModuleRecord& record, std::string_view compression);

} // namespace kmodguard::compiled
