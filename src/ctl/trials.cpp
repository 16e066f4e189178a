// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/trials.hpp"

#include "ctl/canary.hpp"
#include "modules/kmod_index.hpp"
#include "sys/file.hpp"
#include "sys/kernel.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <fmt/format.h>
#include <linux/module.h>
#include <sys/capability.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <span>

namespace kmodguard::ctl {
namespace {

using Image = std::span<const std::byte>;

/// Nothing where what was counted cannot be read.
using CountsNow = std::function<std::optional<Counts>()>;

std::optional<Counts> counts_now(const Context& context, bool from_daemon) {
    if (!from_daemon) return Counts{.kernel = kernel::pinned_status(context.paths).counters};
    const auto answer = context.ask("STATUS");
    const auto daemon = read_daemon_status(answer);
    if (!daemon) return std::nullopt;
    return Counts{.refused_requests = daemon->refused,
                  .kernel = kernel_status(context.paths, answer).counters};
}

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

/// Why the canary would prove nothing here; "" if it would.
std::string why_loading_proves_nothing(const sys::Paths& paths) {
    if (paths.moved()) return "paths are below another root than the machine's";
    const auto disabled = sys::read_pseudo_file("/proc/sys/kernel/modules_disabled");
    if (disabled && disabled->starts_with('1'))
        return "no process can load modules until the machine restarts (kernel.modules_disabled)";
    if (!may_load_modules()) return "this process has no CAP_SYS_MODULE";
    return "";
}

Finding no_memory(const std::string& check, const sys::Error& error) {
    return {check, Level::bad, error.what, "free some memory, and run it again"};
}

Finding try_to_load(const std::string& check, const CountsNow& now, LoadTrial trial,
                    const std::function<sys::Result<int>()>& load) {
    const auto before = now();
    const auto error = load();
    const auto after = now();
    if (!error) return no_memory(check, error.error());
    if (!before || !after)
        return {check, Level::bad, "what was counted cannot be read, so nothing is known", "kmodctl status"};
    trial.error = *error;
    trial.before = before->kernel;
    trial.after = after->kernel;
    return finding_of(check, trial);
}

/// What this kernel decompresses by itself.
modules::Container decompressed_by_kernel(const sys::Paths& paths) {
    const std::string suffix = sys::in_kernel_compression(paths);
    if (suffix == ".xz") return modules::Container::xz;
    if (suffix == ".zst") return modules::Container::zstd;
    return suffix == ".gz" ? modules::Container::gzip : modules::Container::raw;
}

std::vector<Finding> try_loading(const CountsNow& now, bool audit, const sys::Paths& paths) {
    if (const std::string why = why_loading_proves_nothing(paths); !why.empty())
        return {{"loading", Level::note, fmt::format("not tried: {}", why),
                 "run kmodctl doctor where root can load modules"}};
    const std::vector<std::byte> image = canary_image();
    std::vector<Finding> findings{
        try_to_load("init_module", now, {.audit = audit}, [&image] { return load_from_memory(image); }),
        try_to_load("finit_module", now, {.audit = audit}, [&image] { return load_from_file(image, 0); })};
    const modules::Container compression = decompressed_by_kernel(paths);
    if (compression == modules::Container::raw) return findings;
    const std::string check = fmt::format("finit_module, {}", to_string(compression));
    const auto compressed = compress(image, compression);
    findings.push_back(
        compressed
            ? try_to_load(check, now, {.audit = audit, .compressed = true},
                          [&compressed] { return load_from_file(*compressed, MODULE_INIT_COMPRESSED_FILE); })
            : no_memory(check, compressed.error()));
    return findings;
}

/// Families that Linux has given up, or never had more of than the number.
constexpr std::array address_families = {AF_WANPIPE, AF_SNA,    AF_SECURITY, AF_NETBEUI, AF_ASH,
                                         AF_ECONET,  AF_DECnet, AF_IRDA,     AF_IPX};

/// False: the kernel has that family, so it need not ask for it.
bool request_family(int family) {
    const sys::UniqueFd fd(::socket(family, SOCK_RAW | SOCK_CLOEXEC, 0));
    return !fd && errno == EAFNOSUPPORT;
}

constexpr const char* request_check = "request";

Finding finding_of(const RequestTrial& trial) {
    const auto found = [&trial](Level level, fmt::format_string<const std::string&> text) {
        return Finding{request_check, level, fmt::format(text, trial.token),
                       level == Level::bad ? "kmodctl doctor --fix, or kmodctl start" : ""};
    };
    switch (outcome_of(trial)) {
    case RequestOutcome::refused_by_daemon:
        return found(Level::ok, "the kernel asked for {}, and the daemon refused it");
    case RequestOutcome::refused_in_kernel:
        return found(Level::ok, "{} was refused in the kernel, which remembers it");
    case RequestOutcome::passed_by:
        return found(Level::bad, "NOT guarded: the kernel asked for {}, and the daemon was not asked");
    case RequestOutcome::not_seen: break;
    }
    return found(Level::bad, "NOT guarded: {} was requested, and the daemon was not asked");
}

/// None of `index` answers to the family that is asked for.
Finding try_requesting(const CountsNow& now, core::ModuleIndex& index) {
    std::optional<RequestTrial> remembered;
    for (const int family : address_families) {
        RequestTrial trial{.token = fmt::format("net-pf-{}", family)};
        if (!index.resolve(trial.token).empty()) continue;
        const auto before = now();
        if (!before) return {request_check, Level::bad, "the daemon does not answer", "kmodctl status"};
        if (!request_family(family)) continue;
        const auto after = now();
        if (!after)
            return {request_check, Level::bad, "the daemon does not answer any more", "kmodctl status"};
        trial.before = *before;
        trial.after = *after;
        // Of one that the kernel remembers the hook hears nothing; there may be one that it does hear of.
        if (outcome_of(trial) != RequestOutcome::refused_in_kernel) return finding_of(trial);
        if (!remembered) remembered = trial;
    }
    if (remembered) return finding_of(*remembered);
    return {request_check, Level::note, "not tried: this kernel has modules for every address family",
            "look at the autoload point in kmodctl status"};
}

std::optional<Finding> try_requesting(const CountsNow& now, const Context& context,
                                      const MachineStatus& status) {
    const auto not_tried = [](const std::string& why, std::string remedy) {
        return Finding{request_check, Level::note, fmt::format("not tried: {}", why), std::move(remedy)};
    };
    if (context.paths.moved())
        return not_tried("paths are below another root than the machine's", "leave --root out");
    if (!status.daemon) return not_tried("the daemon does not run", "kmodctl start");
    if (!status.handler || !status.handler->current || status.handler->disabled())
        return std::nullopt; // another check reports it, or there is nothing to guard
    const auto index = modules::KmodIndex::open(context.paths, sys::kernel_release());
    if (!index) return not_tried(index.error().what, "run depmod");
    return try_requesting(now, **index);
}

} // namespace

Finding finding_of(const std::string& check, const LoadTrial& trial) {
    const std::string error = trial.error == 0 ? "no error" : sys::error_name(trial.error);
    const auto counted = [&trial](std::uint64_t kernel::Counters::* counter) {
        return trial.after.*counter > trial.before.*counter;
    };
    const bool refused = trial.error == EPERM || (trial.compressed && trial.error == ENOSYS);
    if (refused && counted(&kernel::Counters::refused))
        return {check, Level::ok, fmt::format("refused by the kernel point ({})", error)};
    if (trial.audit && counted(&kernel::Counters::audited))
        return {check, Level::ok,
                fmt::format("judged by the kernel point, and let pass by audit mode ({})", error)};
    if (counted(&kernel::Counters::allowed))
        return {check, Level::note,
                fmt::format("judged by the kernel point, but the policy allows {}", canary_name),
                fmt::format("kmodctl remove {}", canary_name)};
    if (counted(&kernel::Counters::skipped))
        return {check, Level::bad,
                fmt::format("NOT judged: the kernel left out the programs this time ({})", error),
                "run it again; the notes of kmodctl status say when that happens"};
    if (refused)
        return {check, Level::bad,
                fmt::format("refused ({}), but not by the kernel point, which did not see it", error),
                "another security module may be asked before it (/sys/kernel/security/lsm); if not, "
                "restart the daemon"};
    return {check, Level::bad, fmt::format("NOT guarded: the image was not refused ({})", error),
            "restart the daemon, which attaches the programs again"};
}

RequestOutcome outcome_of(const RequestTrial& trial) {
    const Counts& before = trial.before;
    const Counts& after = trial.after;
    if (after.refused_requests > before.refused_requests) return RequestOutcome::refused_by_daemon;
    if (after.kernel.remembered > before.kernel.remembered) return RequestOutcome::refused_in_kernel;
    if (after.kernel.requests > before.kernel.requests) return RequestOutcome::passed_by;
    return RequestOutcome::not_seen;
}

std::vector<Finding> try_points(const Context& context, const MachineStatus& status) {
    const CountsNow now = [&context, from_daemon = status.daemon.has_value()] {
        return counts_now(context, from_daemon);
    };
    std::vector<Finding> findings;
    if (status.kernel.is_enforced()) { // else doctor has reported it already
        const bool audit = status.daemon ? status.daemon->mode == core::Mode::audit : status.kernel.audit;
        findings = try_loading(now, audit, context.paths);
    }
    if (auto finding = try_requesting(now, context, status)) findings.push_back(std::move(*finding));
    return findings;
}

} // namespace kmodguard::ctl
