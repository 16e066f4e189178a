// SPDX-License-Identifier: AGPL-3.0-only
//
// Images as somebody would make them who wants two readers to find two names in one: a module of kbuild's,
// changed in places that the readers look at, and damaged.
#pragma once

#include "modules/elf_builder.hpp"
#include "verdicts/random.hpp"

#include <string>
#include <vector>

namespace kmodguard::verdicts {

/// The names that images and policies are about. Some differ in little, one is as long as can be.
[[nodiscard]] const std::vector<std::string>& module_names();

struct Image {
    test::Bytes bytes;
    std::string made; ///< of which module, and how it was changed
};

/// An image of one of module_names(), or of none; every other one unchanged.
[[nodiscard]] Image random_image(Random& random);

/// Changes one thing of `spec` and says which; "" if this one has no such thing.
[[nodiscard]] std::string change_names(test::ElfSpec& spec, Random& random);
[[nodiscard]] std::string change_sections(test::ElfSpec& spec, Random& random);
[[nodiscard]] std::string change_header(test::ElfSpec& spec, Random& random);
[[nodiscard]] std::string damage(test::Bytes& image, Random& random);

} // namespace kmodguard::verdicts
