// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/verbs.hpp"

namespace kmodguard::ctl {

int run_reload(const Context& context) {
    return context.change_and_print("RELOAD", context.has("discard") ? "discard" : "");
}

} // namespace kmodguard::ctl
