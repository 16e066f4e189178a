// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/machine_status.hpp"
#include "ctl/verbs.hpp"

namespace kmodguard::ctl {

sys::Result<int> run_status(const Context& context) {
    const MachineStatus status = machine_status(context);
    if (!status.handler) return std::unexpected(status.handler.error());
    for (const std::string& line : lines_of(status))
        context.text(line);
    context.object(object_of(status));
    return status.daemon ? int{exit_done} : int{exit_code_of(status.daemon.error().kind)};
}

} // namespace kmodguard::ctl
