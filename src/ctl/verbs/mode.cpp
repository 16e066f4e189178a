// SPDX-License-Identifier: AGPL-3.0-only
#include "core/policy.hpp"
#include "ctl/machine_status.hpp"
#include "ctl/verbs.hpp"

#include <fmt/format.h>

namespace kmodguard::ctl {
namespace {

sys::Result<int> show_mode(const Context& context, const ModeOptions& options) {
    if (options.limit)
        return sys::failure(sys::ErrorKind::invalid, "there is no mode to be in force for that time",
                            "kmodctl mode audit --for 30m");
    const auto daemon = TRY(daemon_status(context));
    context.text(describe_mode(daemon));
    if (daemon.wanted_mode)
        context.text(fmt::format("wanted: {}, and not in force: {}", to_string(*daemon.wanted_mode),
                                 daemon.wanted_problem.value_or("")));
    events::Json::Object object{{"mode", daemon.mode ? to_string(*daemon.mode) : ""}};
    if (daemon.mode_seconds_left) object.emplace_back("seconds_left", *daemon.mode_seconds_left);
    if (daemon.mode_forced) object.emplace_back("forced", *daemon.mode_forced);
    if (daemon.wanted_mode) object.emplace_back("wanted", to_string(*daemon.wanted_mode));
    context.object(std::move(object));
    return exit_done;
}

} // namespace

sys::Result<int> run_mode(const Context& context, const ModeOptions& options) {
    if (!options.mode) return show_mode(context, options);
    const std::string_view mode = to_string(*options.mode);
    return context.change_and_print("MODE", options.limit ? fmt::format("{} {}", mode, options.limit->count())
                                                          : std::string(mode));
}

} // namespace kmodguard::ctl
