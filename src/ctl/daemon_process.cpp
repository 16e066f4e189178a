// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/daemon_process.hpp"

#include "installation.hpp"
#include "sys/process.hpp"
#include "sys/unix_socket.hpp"

#include <fmt/format.h>
#include <unistd.h>

namespace kmodguard::ctl {
namespace {

constexpr std::chrono::seconds timeout{30};

sys::Result<void> systemctl(const char* action) {
    const auto finished = TRY(sys::run_program({"systemctl", action, service_unit}));
    if (finished.status == 0) return {};
    return sys::failure(sys::ErrorKind::failed, fmt::format("systemctl {} {} failed", action, service_unit),
                        fmt::format("journalctl -u {} -b shows why", service_unit));
}

} // namespace

bool managed_by_systemd(const sys::Paths& paths) {
    return !paths.moved() && ::access("/run/systemd/system", F_OK) == 0;
}

bool daemon_runs(const sys::Paths& paths) {
    return sys::connect_unix(paths.socket(), std::chrono::seconds(1)).has_value();
}

sys::Result<void> start_daemon(const sys::Paths& paths) {
    if (managed_by_systemd(paths)) return systemctl("start");
    if (daemon_runs(paths)) return {};
    std::vector<std::string> command{installation::daemon, "--background"};
    if (paths.moved()) command.insert(command.end(), {"--root", paths.root().native()});
    command.emplace_back("--ready-fd");
    if (::access(installation::daemon, X_OK) != 0)
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("the daemon {} is not installed", installation::daemon),
                            "make install, or reinstall the package");
    return sys::start_daemon(std::move(command), timeout);
}

sys::Result<void> stop_daemon(const sys::Paths& paths) {
    if (managed_by_systemd(paths)) return systemctl("stop");
    const auto connection = sys::connect_unix(paths.socket(), std::chrono::seconds(1));
    if (!connection) {
        if (connection.error().kind == sys::ErrorKind::unreachable) return {};
        return std::unexpected(connection.error());
    }
    const auto peer = TRY(sys::peer_of(*connection));
    return sys::terminate(peer.pid, timeout);
}

bool is_stopping() {
    const auto jobs = sys::run_program({"systemctl", "list-jobs", "--no-legend", service_unit});
    return jobs && jobs->status == 0 && jobs->output.find(" stop ") != std::string::npos;
}

} // namespace kmodguard::ctl
