// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/trials.hpp"

#include "ctl/canary.hpp"
#include "sys/error_name.hpp"
#include "sys/file.hpp"
#include "sys/unique_fd.hpp"

#include <fmt/format.h>
#include <linux/module.h>
#include <sys/capability.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace kmodguard::ctl {
namespace {

using Image = std::span<const std::byte>;

sys::Result<int> load_from_memory(Image image) {
    return ::syscall(SYS_init_module, image.data(), image.size(), "") == 0 ? 0 : errno;
}

sys::Result<int> load_from_file(Image image, int flags) {
    const sys::UniqueFd fd = sys::memory_file(std::string(canary_name).c_str());
    if (!fd || ::write(fd.get(), image.data(), image.size()) != static_cast<ssize_t>(image.size()))
        return sys::system_failure("cannot write", "a file in memory");
    return ::syscall(SYS_finit_module, fd.get(), "", flags) == 0 ? 0 : errno;
}

bool may_load_modules() {
    const std::unique_ptr<void, int (*)(void*)> mine(cap_get_proc(), cap_free);
    cap_flag_value_t value = CAP_CLEAR;
    return mine && cap_get_flag(static_cast<cap_t>(mine.get()), CAP_SYS_MODULE, CAP_EFFECTIVE, &value) == 0
           && value == CAP_SET;
}

Finding try_to_load(const std::string& check, const CountsNow& now, LoadTrial trial,
                    const std::function<sys::Result<int>()>& load) {
    const auto before = now();
    const auto error = load();
    const auto after = now();
    if (!error) return bad(check, error.error().what, "free some memory, and run it again");
    if (!before || !after)
        return bad(check, "what was counted cannot be read, so nothing is known", "kmodctl status");
    trial.error = *error;
    trial.before = before->kernel;
    trial.after = after->kernel;
    return finding_of(check, trial);
}

/// Families that Linux has given up, or never had more of than the number.
constexpr std::array address_families = {AF_WANPIPE, AF_SNA,    AF_SECURITY, AF_NETBEUI, AF_ASH,
                                         AF_ECONET,  AF_DECnet, AF_IRDA,     AF_IPX};

/// False: the kernel has that family, so it need not ask for it.
bool request_family(int family) {
    const sys::UniqueFd fd(::socket(family, SOCK_RAW | SOCK_CLOEXEC, 0));
    return !fd && errno == EAFNOSUPPORT;
}

Finding finding_of(const std::string& check, const RequestTrial& trial) {
    const char* const remedy = "kmodctl doctor --fix, or kmodctl start";
    switch (outcome_of(trial)) {
    case RequestOutcome::refused_by_daemon:
        return ok(check, fmt::format("the kernel asked for {}, and the daemon refused it", trial.token));
    case RequestOutcome::refused_in_kernel:
        return ok(check, fmt::format("{} was refused in the kernel, which remembers it", trial.token));
    case RequestOutcome::passed_by:
        return bad(
            check,
            fmt::format("NOT guarded: the kernel asked for {}, and the daemon was not asked", trial.token),
            remedy);
    case RequestOutcome::not_seen: break;
    }
    return bad(check, fmt::format("NOT guarded: {} was requested, and the daemon was not asked", trial.token),
               remedy);
}

} // namespace

LoadOutcome outcome_of(const LoadTrial& trial) {
    const auto counted = [&trial](std::uint64_t kernel::Counters::* counter) {
        return trial.after.*counter > trial.before.*counter;
    };
    const bool refused = trial.error == EPERM || (trial.compressed && trial.error == ENOSYS);
    if (refused && counted(&kernel::Counters::refused)) return LoadOutcome::refused;
    if (trial.audit && counted(&kernel::Counters::audited)) return LoadOutcome::audited;
    if (counted(&kernel::Counters::allowed)) return LoadOutcome::allowed;
    if (counted(&kernel::Counters::skipped)) return LoadOutcome::skipped;
    return refused ? LoadOutcome::refused_by_another : LoadOutcome::not_judged;
}

Finding finding_of(const std::string& check, const LoadTrial& trial) {
    const std::string error = trial.error == 0 ? "no error" : sys::error_name(trial.error);
    switch (outcome_of(trial)) {
    case LoadOutcome::refused: return ok(check, fmt::format("refused by the kernel point ({})", error));
    case LoadOutcome::audited:
        return ok(check, fmt::format("judged by the kernel point, and let pass by audit mode ({})", error));
    case LoadOutcome::allowed:
        return note(check, fmt::format("judged by the kernel point, but the policy allows {}", canary_name),
                    fmt::format("kmodctl remove {}", canary_name));
    case LoadOutcome::skipped:
        return bad(check, fmt::format("NOT judged: the kernel left out the programs this time ({})", error),
                   "run it again; the notes of kmodctl status say when that happens");
    case LoadOutcome::refused_by_another:
        return bad(check,
                   fmt::format("refused ({}), but not by the kernel point, which did not see it", error),
                   "another security module may be asked before it (/sys/kernel/security/lsm); if not, "
                   "restart the daemon");
    case LoadOutcome::not_judged: break;
    }
    return bad(check, fmt::format("NOT guarded: the image was not refused ({})", error),
               "restart the daemon, which attaches the programs again");
}

std::string why_loading_proves_nothing(const sys::Paths& paths) {
    if (paths.moved()) return "paths are below another root than the machine's";
    const auto disabled = sys::read_pseudo_file("/proc/sys/kernel/modules_disabled");
    if (disabled && disabled->starts_with('1'))
        return "no process can load modules until the machine restarts (kernel.modules_disabled)";
    if (!may_load_modules()) return "this process has no CAP_SYS_MODULE";
    return "";
}

Findings try_loading(const CountsNow& now, bool audit, std::optional<modules::Container> compression) {
    const std::vector<std::byte> image = canary_image();
    Findings findings;
    findings.push_back(
        try_to_load("init_module", now, {.audit = audit}, [&image] { return load_from_memory(image); }));
    findings.push_back(
        try_to_load("finit_module", now, {.audit = audit}, [&image] { return load_from_file(image, 0); }));
    if (!compression) return findings;
    const std::string check = fmt::format("finit_module, {}", to_string(*compression));
    const auto compressed = compress(image, *compression);
    findings.push_back(
        compressed
            ? try_to_load(check, now, {.audit = audit, .compressed = true},
                          [&compressed] { return load_from_file(*compressed, MODULE_INIT_COMPRESSED_FILE); })
            : bad(check, compressed.error().what, "free some memory, and run it again"));
    return findings;
}

RequestOutcome outcome_of(const RequestTrial& trial) {
    const Counts& before = trial.before;
    const Counts& after = trial.after;
    if (after.refused_requests > before.refused_requests) return RequestOutcome::refused_by_daemon;
    if (after.kernel.remembered > before.kernel.remembered) return RequestOutcome::refused_in_kernel;
    if (after.kernel.requests > before.kernel.requests) return RequestOutcome::passed_by;
    return RequestOutcome::not_seen;
}

Finding try_requesting(const CountsNow& now, core::ModuleIndex& index) {
    const std::string check = "request";
    std::optional<RequestTrial> remembered;
    for (const int family : address_families) {
        RequestTrial trial{.token = fmt::format("net-pf-{}", family)};
        if (!index.resolve(trial.token).empty()) continue;
        const auto before = now();
        if (!before) return bad(check, "the daemon does not answer", "kmodctl status");
        if (!request_family(family)) continue;
        const auto after = now();
        if (!after) return bad(check, "the daemon does not answer any more", "kmodctl status");
        trial.before = *before;
        trial.after = *after;
        // Of one that the kernel remembers the hook hears nothing; there may be one that it does hear of.
        if (outcome_of(trial) != RequestOutcome::refused_in_kernel) return finding_of(check, trial);
        if (!remembered) remembered = trial;
    }
    if (remembered) return finding_of(check, *remembered);
    return note(check, "not tried: this kernel has modules for every address family",
                "look at the autoload point in kmodctl status");
}

} // namespace kmodguard::ctl
