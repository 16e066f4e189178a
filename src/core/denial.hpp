// SPDX-License-Identifier: AGPL-3.0-only
//
// What the deny rules say of one module by itself. What it would pull in as dependencies is the caller's to
// ask about.
#pragma once

#include "core/decision.hpp"

#include <optional>
#include <string>

namespace kmodguard::core {

struct Denial {
    Reason reason = Reason::denied_module;
    std::optional<Rule> rule; ///< none where the module's own aliases are not known
    std::string detail;       ///< why it is refused, where no rule says it
};

/// The deny rule that matches `module` by its name or by one of its own aliases; its name counts as one of
/// them, since the kernel may ask for it by that. Where aliases are denied, one whose own are not known is.
[[nodiscard]] std::optional<Denial> module_denial(const Policy& policy, ModuleIndex& index,
                                                  const std::string& module);

/// The same by what the index knows, without a look into the module's image: that is to be asked as well
/// before the module may load.
[[nodiscard]] std::optional<Denial> indexed_denial(const Policy& policy, ModuleIndex& index,
                                                   const std::string& module);

/// The same of one that another module would pull in. Of what `index` has not only the name can be
/// denied: it does not load, and what needs it is judged by that.
[[nodiscard]] std::optional<Denial> dependency_denial(const Policy& policy, ModuleIndex& index,
                                                      const std::string& module);

/// The same of the module that an image is. What `index` has not is judged by what the image says of itself.
[[nodiscard]] std::optional<Denial> image_denial(const Policy& policy, ModuleIndex& index,
                                                 const std::string& module, const ImageFacts& facts);

} // namespace kmodguard::core
