// SPDX-License-Identifier: AGPL-3.0-only
//
// The proof of the points: what they say of themselves is one thing, what happens when a module is loaded
// another.
#include "ctl/checks.hpp"
#include "ctl/trials.hpp"
#include "enforce/autoload/handler.hpp"
#include "modules/kmod_index.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace kmodguard::ctl {
namespace {

std::optional<Counts> counts_now(const Context& context, bool from_daemon) {
    if (!from_daemon)
        return Counts{.refused_requests = 0, .kernel = kernel::pinned_status(context.paths).counters};
    const auto answer = context.ask("STATUS");
    const auto daemon = read_daemon_status(answer);
    if (!daemon) return std::nullopt;
    return Counts{.refused_requests = daemon->refused,
                  .kernel = kernel_status(context.paths, answer).counters};
}

std::optional<modules::Container> container_of(const std::string& suffix) {
    if (suffix == ".xz") return modules::Container::xz;
    if (suffix == ".zst") return modules::Container::zstd;
    if (suffix == ".gz") return modules::Container::gzip;
    return std::nullopt;
}

bool is_audit(const DoctorContext& doctor) {
    const MachineStatus& status = doctor.status;
    return status.daemon ? status.daemon->mode == core::Mode::audit : status.kernel.audit;
}

Findings check_loading(const DoctorContext& doctor, const CountsNow& now) {
    if (!doctor.status.kernel.is_enforced()) return {}; // check_kernel_point() reports that
    const sys::Paths& paths = doctor.context.paths;
    if (const std::string why = why_loading_proves_nothing(paths); !why.empty())
        return {note("loading", fmt::format("not tried: {}", why),
                     "run kmodctl doctor where root can load modules")};
    return try_loading(now, is_audit(doctor), container_of(sys::in_kernel_compression(paths)));
}

Findings check_requesting(const DoctorContext& doctor, const CountsNow& now) {
    const sys::Paths& paths = doctor.context.paths;
    const auto not_tried = [](const std::string& why, std::string remedy) {
        return Findings{note("request", fmt::format("not tried: {}", why), std::move(remedy))};
    };
    if (paths.moved())
        return not_tried("paths are below another root than the machine's", "leave --root out");
    if (!doctor.status.daemon) return not_tried("the daemon does not run", "kmodctl start");
    const auto& handler = doctor.status.handler;
    if (!handler || !handler->current || handler->disabled())
        return {}; // another check reports it, or there is nothing to guard
    const auto index = modules::KmodIndex::open(paths, sys::kernel_release());
    if (!index) return not_tried(index.error().what, "run depmod");
    return {try_requesting(now, **index)};
}

} // namespace

Findings check_by_trial(const DoctorContext& doctor) {
    const bool from_daemon = doctor.status.daemon.has_value();
    const CountsNow now = [&doctor, from_daemon] { return counts_now(doctor.context, from_daemon); };
    Findings findings = check_loading(doctor, now);
    std::ranges::move(check_requesting(doctor, now), std::back_inserter(findings));
    return findings;
}

} // namespace kmodguard::ctl
