// SPDX-License-Identifier: AGPL-3.0-only
//
// What a decision needs to know of the modules that exist. The real index asks libkmod (modules/), tests give
// it a table; the decision cannot tell them apart.
#pragma once

#include "core/policy.hpp"

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kmodguard::core {

/// What the COMMAND of modprobe.d's `install NAME COMMAND` does, as far as its words tell. modprobe hands it
/// to a shell, so all of it is known only when it has run; what is not known is named, and never taken for
/// nothing.
struct InstallCommand {
    std::string text; ///< as written
    /// Modules and aliases that it gives to modprobe and insmod, each once, in order.
    std::vector<std::string> loads;
    std::string unknown; ///< the first part of it whose effect is not known; "" if all is

    /// Such as /bin/false, /bin/true or `exit 1`: no request gets a module.
    [[nodiscard]] bool loads_nothing() const { return loads.empty() && unknown.empty(); }
    bool operator==(const InstallCommand&) const = default;
};

/// Reads a command of any length; of one longer than 4,096 bytes the rest is not known.
[[nodiscard]] InstallCommand read_install_command(std::string_view text);

/// One module as depmod and modprobe.d describe it.
struct ModuleRecord {
    std::string name;          ///< canonical
    std::string path;          ///< image file; empty when built in, or no module
    bool built_in = false;     ///< part of the kernel image: nothing to load, nothing to refuse
    bool command_only = false; ///< no module, but a name that modprobe.d has an install command of
    bool blacklisted = false;  ///< modprobe.d: hidden from aliases
    std::optional<InstallCommand> install_command = std::nullopt; ///< modprobe.d: what is done instead
    /// An install command of another name loads it: so its file may have another name than the image in it.
    bool named_by_command = false;
    bool by_modprobe =
        false; ///< only modprobe can load it: an install command, or a form the kernel does not take
    std::string options;                   ///< modprobe.d and kernel command line, as the kernel takes them
    std::vector<std::string> dependencies; ///< all hard ones, in the order in which they load
    std::vector<std::string> soft_before;  ///< soft dependencies "pre:", resolved to modules
    std::vector<std::string> soft_after;   ///< soft dependencies "post:", resolved to modules
};

/// What an image says of itself.
struct ImageFacts {
    std::string problem;      ///< why it cannot be judged ("not an ELF file"); empty when it can
    std::string name;         ///< in .gnu.linkonce.this_module: what the kernel registers
    std::string modinfo_name; ///< .modinfo name=; empty on kernels that do not write it
    std::optional<Sha256> sha256 = std::nullopt; ///< of the uncompressed image, where it was asked for
    /// Its own aliases, as patterns; nothing where they were not read.
    std::optional<std::vector<std::string>> aliases = std::nullopt;
    std::optional<bool> is_signed =
        std::nullopt;       ///< there is a signature, good or not, where it was looked for
    std::string state = {}; ///< tells this content of the file from any other; opaque here; "" if it cannot
    /// No kernel takes the bytes for a module: they have not even the beginning of one.
    bool no_module = false;
};

/// What the kernel itself does not load, whatever any policy says.
struct KernelLimits {
    std::vector<std::string> blacklist;   ///< module_blacklist= on its command line, as written
    bool loading_disabled = false;        ///< kernel.modules_disabled is 1, which nothing takes back
    std::string signature_wanted_by = {}; ///< what has it load signed modules alone; "" if nothing does
    bool operator==(const KernelLimits&) const = default;
};

using AliasVisitor = std::function<void(std::string_view alias, std::string_view module)>;

class ModuleIndex {
  public:
    virtual ~ModuleIndex() = default;

    /// Every module that modprobe would consider for `token`, in its order; none if nothing matches.
    /// Built-in and blacklisted ones included.
    [[nodiscard]] virtual std::vector<std::string> resolve(std::string_view token) = 0;

    /// The record of a canonical name, or nullptr. Valid as long as the index.
    [[nodiscard]] virtual const ModuleRecord* find(std::string_view name) = 0;

    /// `module` as it is loaded for `token`, where that differs: modprobe.d may give options for an alias,
    /// which modprobe adds to those of the module.
    [[nodiscard]] virtual std::optional<ModuleRecord> asked_for(const ModuleRecord& /*module*/,
                                                                std::string_view /*token*/) {
        return std::nullopt;
    }

    /// Whether modprobe.d says what `token` means, by an alias line: then nothing else does.
    [[nodiscard]] virtual bool is_configured_alias(std::string_view /*token*/) { return false; }

    /// Of the kernel that the modules are for; none where that does not run.
    [[nodiscard]] virtual const KernelLimits& kernel_limits() const {
        static const KernelLimits none;
        return none;
    }

    /// The aliases that a module's image gives it, as patterns, and modprobe.d's; nullptr where they cannot
    /// be read, or if the index has no such module: then nothing is known about them, which is not the same
    /// as that it has none. Valid until the next call.
    [[nodiscard]] virtual const std::vector<std::string>* aliases(std::string_view name) = 0;

    /// Calls `visit` with every alias of every module that can be loaded, as a pattern, and the module's
    /// canonical name; and with each module's name, which is asked for like an alias. Those of modprobe.d may
    /// be of modules that are built in or do not exist. False: not all are known.
    virtual bool for_each_alias(const AliasVisitor& /*visit*/) { return false; }

    /// Whether for_each_alias(), where it tells all, is to be taken for aliases(name): to ask it of all
    /// modules is much cheaper. Not of a module whose image has been read, which is right where depmod's
    /// files are not.
    [[nodiscard]] virtual bool has_indexed_aliases(std::string_view /*name*/) { return false; }

    /// What the image file of `module` says of itself now. The hash only where `with_hash`.
    [[nodiscard]] virtual ImageFacts image(const ModuleRecord& module, bool with_hash) = 0;
};

/// For a kernel whose modules cannot be looked up: none is found, and nothing is known of any.
class NoModules final : public ModuleIndex {
  public:
    std::vector<std::string> resolve(std::string_view) override { return {}; }
    const ModuleRecord* find(std::string_view) override { return nullptr; }
    const std::vector<std::string>* aliases(std::string_view) override { return nullptr; }
    ImageFacts image(const ModuleRecord&, bool) override {
        return {.problem = "there is no module index", .name = {}, .modinfo_name = {}};
    }
};

/// Which modules an alias pattern reaches, asked for many patterns: every alias of the index is read once,
/// and kept in order, so that a pattern is compared with those alone that begin as it does.
class AliasReach {
  public:
    /// Reads all aliases of `index`, which must outlive this object.
    explicit AliasReach(ModuleIndex& index);

    /// False: not all aliases could be read, so that what a pattern reaches is not known.
    [[nodiscard]] bool is_complete() const { return complete_; }

    /// Canonical names of the modules that `pattern` reaches: those that answer to it as a token, and those
    /// with an alias that equals it or that it matches. Of built-in modules only the former are known.
    [[nodiscard]] std::set<std::string> modules(const std::string& pattern) const;

    /// Every alias, folded, and its module, by the order of the aliases.
    [[nodiscard]] const auto& all() const { return aliases_; }

  private:
    ModuleIndex& index_;
    std::vector<std::pair<std::string, std::string>> aliases_; ///< folded, and the module; sorted
    bool complete_ = false;
};

} // namespace kmodguard::core
