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

Result<void> keep_capabilities(const std::vector<std::string_view>& names) {
    const std::unique_ptr<void, int (*)(void*)> now(cap_get_proc(), cap_free);
    const std::unique_ptr<void, int (*)(void*)> kept(cap_init(), cap_free);
    if (!now || !kept) return system_failure("cannot read", "the capabilities of this process");
    for (const std::string_view name : names) {
        cap_value_t capability = 0;
        if (cap_from_name(std::string(name).c_str(), &capability) != 0)
            return failure(ErrorKind::invalid, "there is no capability " + std::string(name));
        cap_flag_value_t permitted = CAP_CLEAR;
        cap_get_flag(static_cast<cap_t>(now.get()), capability, CAP_PERMITTED, &permitted);
        for (const cap_flag_t set : {CAP_PERMITTED, CAP_EFFECTIVE})
            cap_set_flag(static_cast<cap_t>(kept.get()), set, 1, &capability, permitted);
    }
    if (cap_set_proc(static_cast<cap_t>(kept.get())) != 0)
        return system_failure("cannot drop", "capabilities");
    return {};
}

} // namespace kmodguard::sys
