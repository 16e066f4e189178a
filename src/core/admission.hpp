// SPDX-License-Identifier: AGPL-3.0-only
//
// All that a policy admits where an image is seen and no token is, as a table of names. An enforcement point
// inside the kernel can look a name up and can do little more, and it is to have the very answers that
// decide_image() gives; so that reads them here too. Modules that are in the kernel already are judged by
// them as well: no policy takes those out, so people are shown which of them it would not let in.
#pragma once

#include "core/decision.hpp"

#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::core {

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
    /// Takes away what is of these names, and returns what it was.
    std::vector<std::string> take_away(const std::set<std::string, std::less<>>& modules);

  private:
    template <typename Stays>
    std::vector<std::string> keep_where(Stays stays);

    ByName admitted_;
};

/// Notes on the modules that `decision` refuses for want of a rule that they are admitted as images: by
/// `admissions`, of the policy and the index that it was made with.
void note_images(Decision& decision, const Admissions& admissions);

/// The judgements on those of the `loaded` modules that `policy` would not let in now, whatever its mode:
/// first the denied ones, then the others, each by name. A module is judged by its name, as an image is: what
/// an admitted one pulls in as a dependency is admitted. Pins are left out of it, since it is not known what
/// was loaded. `admissions` are those of `policy` and `index`.
[[nodiscard]] std::vector<ModuleDecision> not_admitted(const Policy& policy, ModuleIndex& index,
                                                       const Admissions& admissions,
                                                       const std::vector<std::string>& loaded);

/// Whether a rule refuses such a module, and not the want of one.
[[nodiscard]] inline bool is_denied(const ModuleDecision& loaded) {
    return loaded.rule.has_value();
}

/// "2 loaded modules would not be admitted, and stay until they are unloaded: af_key (denied), loop"; of many
/// the first. "" if there are none.
[[nodiscard]] std::string explain_loaded(const std::vector<ModuleDecision>& not_admitted);
/// What to do about them.
inline constexpr std::string_view remedy_for_loaded =
    "rmmod takes a module out, kmodctl allow admits it the next time, kmodctl explain tells why it is not";

/// Makes of the refusal of an image for want of a rule, where a module of that name is in the kernel already,
/// what the kernel makes of it: there is nothing to load, and nothing to refuse. False: it is no such
/// refusal, and stays what it is.
[[nodiscard]] bool take_for_loaded(Decision& decision);

} // namespace kmodguard::core
