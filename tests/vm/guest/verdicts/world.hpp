// SPDX-License-Identifier: AGPL-3.0-only
//
// A small machine of made-up modules, a policy for it, and the images that somebody brings.
#pragma once

#include "core/policy.hpp"
#include "fake_index.hpp"
#include "modules/image.hpp"
#include "verdicts/image.hpp"

#include <string>
#include <vector>

namespace kmodguard::verdicts {

struct World {
    test::FakeIndex index;
    core::PolicySource policy;
    std::vector<Image> images;
    std::vector<modules::ImageIdentity> identities; ///< of the images, with their hashes
};

/// The same for the same seed.
[[nodiscard]] World random_world(std::uint64_t seed);

/// The policy on one line, for a report.
[[nodiscard]] std::string describe(const core::PolicySource& policy);

} // namespace kmodguard::verdicts
