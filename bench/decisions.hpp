// SPDX-License-Identifier: AGPL-3.0-only
#pragma once

#include "sample.hpp"

namespace kmodguard::bench {

/// Registers every benchmark. `sample` must outlive them.
void register_decisions(const Sample& sample);

} // namespace kmodguard::bench
