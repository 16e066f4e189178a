// SPDX-License-Identifier: AGPL-3.0-only
//
// A second opinion on every decision, written from the text of the rules and not from the code under test:
// slow, plain, with lists and sets only. Where several things speak against a module it does not care which
// of them is named first, except that a denial of the module itself comes before all else.
#pragma once

#include "core/decision.hpp"

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::test {

using Names = std::set<std::string>;

class Oracle {
  public:
    Oracle(const core::PolicySource& policy, core::ModuleIndex& index, std::string token);

    struct Opinion {
        std::set<core::Reason> reasons; ///< any of which may be given
        bool allowed = false;
        bool loads = false;
        Names chain;            ///< what is loaded if it loads
        Names required;         ///< those of them whose failure is fatal
        std::string because_of; ///< of an image admitted as a dependency
    };

    Opinion on(const std::string& module);

    Opinion on_image(const core::ImageFacts& facts);

    /// What modprobe would load, in no order: all hard and soft dependencies of everything it comes by.
    Names everything(const std::string& module);

  private:
    std::set<core::Reason> reasons_on(const std::string& module);

    core::Reason image_reason(const std::string& module, const core::ImageFacts& facts,
                              std::string& because_of);

    /// The modules that may be loaded and that the index gives an alias which the policy allows.
    Names admitted_by_alias();

    /// The first module admitted for itself that brings `module` and nothing denied; "" if none does.
    std::string bringer_of(const std::string& module);

    /// What of everything is to be loaded if the module is. Where modprobe runs, for an install command of
    /// any of them, it leaves out nothing but soft dependencies that do not exist.
    Names what_is_wanted(const std::string& module);

    /// The module, what it needs, and of what it wants all that is fit, with what that needs and wants.
    Names what_is_fit(const std::string& module);

    template <typename Take>
    Names closure(const std::string& module, const Take& take);

    /// What keeps `name` from loading along with `module`; `listed` if nothing does.
    core::Reason fault_of(const std::string& name, const std::string& module);

    bool has_pinned_content(const std::string& name, const core::ImageFacts& facts) const;

    Names hard(const std::string& module);

    bool is_hidden(const core::ModuleRecord& record) const;

    bool is_denied(const std::string& module);
    /// What does not exist does not load: its name alone can be denied.
    bool is_denied_where_brought(const std::string& module);

    /// By its name, which the kernel may ask for it by, or by an alias of its own.
    bool is_denied_by_alias(const std::string& module);

    /// Whether it may have an alias that is denied.
    bool hides_its_aliases(const std::string& module);

    /// Whether one of `patterns` is the same text as the alias, or matches it.
    static bool names_or_covers(const std::vector<core::PolicySource::Entry>& patterns,
                                std::string_view alias);

    static bool lists(const std::vector<core::PolicySource::Entry>& entries, const std::string& module);

    static bool matches_any(const std::vector<core::PolicySource::Entry>& patterns, const std::string& text);

    static std::string folded(std::string_view text, bool is_pattern);

    const core::PolicySource& policy_;
    core::ModuleIndex& index_;
    std::string token_;
};

/// What differs between a decision on an image and the second opinion; empty if nothing.
std::string objection(const core::PolicySource& policy, core::ModuleIndex& index,
                      const core::ImageFacts& facts, const core::Decision& decision);

/// What differs between a decision and the second opinion, and which of the promises that hold for every
/// decision it breaks; empty if nothing.
std::string objection(const core::PolicySource& policy, core::ModuleIndex& index,
                      const core::Decision& decision);

} // namespace kmodguard::test
