// SPDX-License-Identifier: AGPL-3.0-only
//
// A core::ModuleIndex that is a table, so that a test says in one line which modules exist:
//
//     FakeIndex index;
//     index.module("dm_crypt").needs("dm_mod").soft_before("aes").alias("dm-crypt-*");
//
// Nothing is checked or completed: a name that no module() call created is one that the index does not know,
// and needs() lists all hard dependencies, the indirect ones too, in the order in which they load, as depmod
// does. Without more said, a module has a readable image of its own name.
#pragma once

#include "core/module_index.hpp"

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kmodguard::test {

/// A hash that differs from those of other numbers.
core::Sha256 content(std::uint8_t number);

/// One row of the table; each call adds to it. Texts of any length are one type to it, or each call would
/// compile functions of its own.
class FakeModule {
  public:
    explicit FakeModule(const std::string& name);

    template <typename... Names>
    FakeModule& needs(Names... names) {
        return add(record_.dependencies, {names...});
    }
    template <typename... Names>
    FakeModule& soft_before(Names... names) {
        return add(record_.soft_before, {names...});
    }
    template <typename... Names>
    FakeModule& soft_after(Names... names) {
        return add(record_.soft_after, {names...});
    }
    template <typename... Patterns>
    FakeModule& alias(Patterns... patterns) {
        return alias_in_image(patterns...).alias_in_index(patterns...);
    }
    /// One that depmod has not seen yet.
    template <typename... Patterns>
    FakeModule& alias_in_image(Patterns... patterns) {
        return add(aliases_, {patterns...});
    }
    /// One that the image had when depmod saw it.
    template <typename... Patterns>
    FakeModule& alias_in_index(Patterns... patterns) {
        return add(indexed_aliases_, {patterns...});
    }
    /// Those in its image cannot be read.
    FakeModule& aliases_unreadable();
    FakeModule& built_in();
    FakeModule& blacklisted();
    FakeModule& install_command(const std::string& text = "/bin/true");
    /// An install command of another name loads it.
    FakeModule& named_by_command();
    /// No module: there is only its install command.
    FakeModule& command_only(const std::string& text);
    FakeModule& options(const std::string& text);
    /// Where its image is.
    FakeModule& file(const std::string& path);
    /// Its image cannot be judged.
    FakeModule& unreadable(const std::string& problem = "not an ELF file");
    /// Its image carries another name.
    FakeModule& calls_itself(const std::string& name, const std::string& modinfo_name);
    FakeModule& with_content(const core::Sha256& hash);

  private:
    friend class FakeIndex;
    FakeModule& add(std::vector<std::string>& list, std::initializer_list<std::string_view> texts);

    core::ModuleRecord record_;
    core::ImageFacts image_;
    std::vector<std::string> aliases_;
    std::vector<std::string> indexed_aliases_;
    bool aliases_readable_ = true;
};

class FakeIndex : public core::ModuleIndex {
  public:
    FakeIndex();
    ~FakeIndex() override;
    FakeIndex(const FakeIndex&);
    FakeIndex& operator=(const FakeIndex&);
    FakeIndex(FakeIndex&&) noexcept;
    FakeIndex& operator=(FakeIndex&&) noexcept;

    /// The row of `name`, made if it is new.
    FakeModule& module(const std::string& name);

    /// `token` means just these, whether or not they exist.
    FakeIndex& resolves(const std::string& token, std::vector<std::string> modules);

    /// modprobe.d makes `alias` one of `module`, whether or not that exists. For for_each_alias() only.
    FakeIndex& configured_alias(const std::string& alias, const std::string& module);

    /// The kernel itself does not load these.
    FakeIndex& kernel_blacklist(std::vector<std::string> names);
    const core::KernelLimits& kernel_limits() const override { return limits_; }

    bool is_configured_alias(std::string_view token) override;

    /// What resolves() says, else the module of that name, else all that have an alias matching it.
    std::vector<std::string> resolve(std::string_view token) override;

    const core::ModuleRecord* find(std::string_view name) override;

    const std::vector<std::string>* aliases(std::string_view name) override;

    bool for_each_alias(const std::function<void(std::string_view, std::string_view)>& visit) override;

    bool has_indexed_aliases(std::string_view name) override;

    core::ImageFacts image(const core::ModuleRecord& module, bool with_hash) override;

    std::vector<std::string> read;   ///< modules whose image was looked at, in order
    std::vector<std::string> hashed; ///< modules whose image was looked at and hashed, in order

  private:
    static std::string folded(std::string_view text);

    std::map<std::string, FakeModule, std::less<>> modules_;
    std::map<std::string, std::vector<std::string>> answers_;
    std::vector<std::string> order_;
    std::vector<std::pair<std::string, std::string>> configured_aliases_;
    core::KernelLimits limits_;
};

} // namespace kmodguard::test
