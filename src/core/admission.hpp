// SPDX-License-Identifier: AGPL-3.0-only
//
// All that a policy admits where an image is seen and no token is, as a table of names. An enforcement point
// inside the kernel can look a name up and can do little more, and it is to have the very answers that
// decide() gives; so decide() reads them here too.
#pragma once

#include "core/decision.hpp"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace kmodguard::core {

/// Why a module may load where an image is seen and no token is (rule 4 of decision.hpp).
struct Admission {
    Reason reason = Reason::listed; ///< listed, alias_listed or dependency: the first of them that holds
    std::optional<Rule> rule;       ///< that lists it, or the first that admits one of its aliases
    std::string because_of;         ///< dependency: the admitted module that brings it
};

class Admissions {
  public:
    using ByName = std::map<std::string, Admission, std::less<>>;

    Admissions() = default; ///< admits nothing

    /// All that `policy` admits, of the modules that `index` knows and of the names that allow.modules lists;
    /// where it denies aliases, of the former only.
    /// Where several modules bring one, it is because of the first of them: those of allow.modules in the
    /// order written, then those that an alias admits, by name.
    Admissions(const Policy& policy, ModuleIndex& index);

    /// The admission of a canonical name, or nullptr: refused. Valid as long as this object.
    [[nodiscard]] const Admission* find(std::string_view module) const;
    [[nodiscard]] const ByName& all() const { return admitted_; }

    /// Takes away what `other` does not admit, and returns its names.
    std::vector<std::string> keep_only(const Admissions& other);

  private:
    ByName admitted_;
};

/// Notes on the modules that `decision` refuses for want of a rule that they are admitted as images: by
/// `admissions`, of the policy and the index that it was made with.
void note_images(Decision& decision, const Admissions& admissions);

} // namespace kmodguard::core
