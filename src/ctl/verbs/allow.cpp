// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/verbs.hpp"

namespace kmodguard::ctl {

int run_allow(const Context& context) {
    return context.change_and_print("ALLOW", context.arguments.front());
}

} // namespace kmodguard::ctl
