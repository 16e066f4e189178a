// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/verbs.hpp"

namespace kmodguard::ctl {

int run_remove(const Context& context) {
    return context.change_and_print("REMOVE", context.arguments.front());
}

} // namespace kmodguard::ctl
