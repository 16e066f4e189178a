// SPDX-License-Identifier: AGPL-3.0-only
//
// The proof of the points: what they say of themselves is one thing, what happens when somebody tries
// another.
#include "ctl/checks.hpp"
#include "ctl/trials.hpp"
#include "enforce/autoload/handler.hpp"
#include "modules/kmod_index.hpp"
#include "sys/kernel.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

namespace kmodguard::ctl {
namespace {

std::optional<Counts> counts_now(const Context& context, bool from_daemon) {
    if (!from_daemon)
        return Counts{.refused_requests = 0, .kernel = kernel::pinned_status(context.paths).counters};
    const auto daemon = context.ask("STATUS");
    if (!daemon) return std::nullopt;
    Counts counts{.refused_requests = 0, .kernel = kernel_status(context.paths, daemon).counters};
    const std::string refused = daemon->value("refused");
    std::from_chars(refused.data(), refused.data() + refused.size(), counts.refused_requests);
    return counts;
}

std::optional<modules::Container> container_of(const std::string& suffix) {
    if (suffix == ".xz") return modules::Container::xz;
    if (suffix == ".zst") return modules::Container::zstd;
    if (suffix == ".gz") return modules::Container::gzip;
    return std::nullopt;
}

bool is_audit(const Patient& patient) {
    return patient.daemon ? patient.daemon->value("mode") == "audit" : patient.kernel.audit;
}

Findings check_loading(const Patient& patient, const CountsNow& now) {
    if (!patient.kernel.is_enforced()) return {}; // said already
    const sys::Paths& paths = patient.context.paths;
    if (const std::string why = why_loading_tells_nothing(paths); !why.empty())
        return {worth_knowing("loading", fmt::format("not tried: {}", why),
                              "run kmodctl doctor where root can load modules")};
    return try_loading(now, is_audit(patient), container_of(sys::in_kernel_compression(paths)));
}

Findings check_requesting(const Patient& patient, const CountsNow& now) {
    const sys::Paths& paths = patient.context.paths;
    const auto not_tried = [](const std::string& why, std::string remedy) {
        return Findings{worth_knowing("request", fmt::format("not tried: {}", why), std::move(remedy))};
    };
    if (paths.moved())
        return not_tried("paths are below another root than the machine's", "leave --root out");
    if (!patient.daemon) return not_tried("the daemon does not run", "kmodctl start");
    const auto handler = autoload::handler_status(paths);
    if (!handler || !handler->current || handler->disabled()) return {}; // said already, and nothing to guard
    const auto index = modules::KmodIndex::open(paths, sys::kernel_release());
    if (!index) return not_tried(index.error().what, "run depmod");
    return {try_requesting(now, **index)};
}

} // namespace

Findings check_by_trial(const Patient& patient) {
    const bool from_daemon = patient.daemon.has_value();
    const CountsNow now = [&patient, from_daemon] { return counts_now(patient.context, from_daemon); };
    Findings findings = check_loading(patient, now);
    std::ranges::move(check_requesting(patient, now), std::back_inserter(findings));
    return findings;
}

} // namespace kmodguard::ctl
