// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/capabilities.hpp"

#include <sys/capability.h>
#include <sys/prctl.h>

#include <memory>

namespace kmodguard::sys {

Result<void> drop_all_capabilities() {
    for (cap_value_t capability = 0; capability < cap_max_bits(); ++capability)
        if (cap_drop_bound(capability) != 0 && errno != EPERM)
            return system_failure("cannot drop", "the capability bounding set");
    if (cap_reset_ambient() != 0) return system_failure("cannot drop", "ambient capabilities");
    const std::unique_ptr<void, int (*)(void*)> none(cap_init(), cap_free);
    if (!none || cap_set_proc(static_cast<cap_t>(none.get())) != 0)
        return system_failure("cannot drop", "capabilities");
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return system_failure("cannot set", "no_new_privs");
    return {};
}

} // namespace kmodguard::sys
