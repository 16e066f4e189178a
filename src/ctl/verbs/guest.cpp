// SPDX-License-Identifier: AGPL-3.0-only
//
// Runs an emulated machine whose module loads are decided by a policy, from outside: through the debugger's
// stub of QEMU, with nothing in the guest. Or attaches to one that runs.
#include "ctl/guest_settings.hpp"
#include "ctl/started_command.hpp"
#include "ctl/supervision.hpp"
#include "ctl/verbs.hpp"
#include "enforce/guest/emulator.hpp"
#include "enforce/guest/session.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>

namespace kmodguard::ctl {
namespace {

constexpr std::chrono::seconds connect_patience{30}; ///< QEMU answers when its machine is built

/// What people want to know meanwhile. Standard output is the guest's.
void say(const Context& context, const std::string& text) {
    if (context.json)
        fmt::print(stderr, "{}\n", events::Json(events::Json::Object{{"message", text}}).line());
    else
        fmt::print(stderr, "kmodctl: {}\n", text);
}

/// All that a session needs, in the order in which it is made.
struct Point {
    GuestSettings settings;
    std::unique_ptr<core::Judge> judge;
    std::unique_ptr<events::Recorder> recorder;
    bool quiet = false;
};

sys::Result<Point> make_point(const Context& context) {
    auto settings = guest_settings(context);
    if (!settings) return std::unexpected(settings.error());
    auto policy = guest_policy(context);
    if (!policy) return std::unexpected(policy.error());
    Point point{.settings = std::move(*settings), .judge = nullptr, .recorder = nullptr};
    point.quiet = context.has("quiet") || policy->quiet;
    auto sinks = open_sinks(context, point.quiet);
    if (!sinks) return std::unexpected(sinks.error());
    auto judge = make_guest_judge(context, std::move(*policy));
    if (!judge) return std::unexpected(judge.error());
    point.judge = std::move(*judge);
    point.recorder = std::make_unique<events::Recorder>(std::move(*sinks), recorder_capacity);
    return point;
}

std::unique_ptr<guest::Session> make_session(const Context& context, Point& point, gdb::Client debugger,
                                             bool from_its_start) {
    guest::Session::Settings settings;
    settings.watch.hash = context.has("hash");
    settings.from_its_start = from_its_start;
    settings.search = [&context, architecture = point.settings.architecture](gdb::Client& halted) {
        return kernel_in_memory(context, halted, *architecture);
    };
    if (!point.quiet) settings.tell = [&context](const std::string& text) { say(context, text); };
    return std::make_unique<guest::Session>(std::move(debugger), *point.settings.architecture,
                                            point.settings.kernel, *point.judge, *point.recorder,
                                            std::move(settings));
}

/// Attends to the guest until it ends, `child` ends, or a signal comes that is not for the child: the
/// signal's number, or 0.
sys::Result<int> attend(guest::Session& session, const sys::UniqueFd& signals, const sys::Child* child) {
    while (true) {
        pollfd waits[] = {
            {.fd = session.fd(), .events = POLLIN, .revents = 0},
            {.fd = signals.get(), .events = POLLIN, .revents = 0},
            {.fd = child != nullptr ? child->process.get() : -1, .events = POLLIN, .revents = 0}};
        const auto patience = static_cast<int>(session.patience().count());
        if (::poll(waits, std::size(waits), patience) < 0) continue; // interrupted
        signalfd_siginfo info{};
        if (waits[1].revents != 0
            && ::read(signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
            if (child == nullptr) return static_cast<int>(info.ssi_signo);
            forward_signal(info, child->pid, child->process);
        }
        const auto goes_on = session.attend();
        if (!goes_on) return std::unexpected(goes_on.error());
        if (!*goes_on || waits[2].revents != 0) return 0;
    }
}

void tell_statistics(const Context& context, const guest::Session& session) {
    using std::chrono::microseconds;
    const guest::StopStatistics& stops = session.statistics();
    const auto all = std::chrono::duration_cast<microseconds>(stops.stopped).count();
    const auto longest = std::chrono::duration_cast<microseconds>(stops.longest).count();
    if (!context.json)
        return say(context,
                   fmt::format("{} attempts; the guest was stopped {} times, {} us in all, {} us at most",
                               session.attempts(), stops.stops, all, longest));
    const events::Json::Object object{{"attempts", session.attempts()},
                                      {"stops", stops.stops},
                                      {"stopped_us", all},
                                      {"longest_us", longest}};
    fmt::print(stderr, "{}\n", events::Json(object).line());
}

void tell_end(const Context& context, const Point& point, const guest::Session& session) {
    if (context.has("statistics")) tell_statistics(context, session);
    if (point.quiet || session.found() || session.attempts() > 0) return;
    say(context, "the guest's kernel was never found, and nothing was decided: are these its symbols?");
}

sys::Result<void> watch(const Context& context, Point& point, const std::filesystem::path& socket,
                        const sys::UniqueFd& signals, const sys::Child& child,
                        std::unique_ptr<guest::Session>& session) {
    auto debugger = gdb::Client::connect(socket, connect_patience);
    if (!debugger) return std::unexpected(debugger.error());
    // A machine that goes on where another has stopped has begun before.
    const bool from_its_start =
        !guest::has_option(context.arguments, "loadvm") && !guest::has_option(context.arguments, "incoming");
    session = make_session(context, point, std::move(*debugger), from_its_start);
    if (auto begun = session->begin(); !begun) return begun;
    const auto attended = attend(*session, signals, &child);
    if (!attended) return std::unexpected(attended.error());
    return {};
}

/// An emulator whose machine stands still, and that nobody watches, is not left running. False: it had ended.
bool end_emulator(const sys::Child& child) {
    constexpr int moment = 1000; // ms, for one that has hung up because it ends
    constexpr int patience = 10000;
    const auto has_ended = [&child](int milliseconds) {
        pollfd wait{.fd = child.process.get(), .events = POLLIN, .revents = 0};
        return ::poll(&wait, 1, milliseconds) == 1;
    };
    if (has_ended(moment)) return false;
    ::kill(child.pid, SIGTERM); // nobody has waited for it: the number is still its own
    if (!has_ended(patience)) ::kill(child.pid, SIGKILL);
    return true;
}

/// An error of a guest is no error of the command line.
sys::Error of_guest(sys::Error error) {
    if (error.kind == sys::ErrorKind::invalid) error.kind = sys::ErrorKind::failed;
    return error;
}

int run_emulator(const Context& context, Point& point, const sys::UniqueFd& signals, const sigset_t& before) {
    auto socket = guest::StubSocket::create(context.option("log-dir").value_or(""));
    if (!socket) return context.fail(socket.error());
    const auto child = guest::start_emulator(context.arguments, *socket, before);
    if (!child) return report_launch_failure(context, child.error());
    socket->hand_over();
    if (!point.quiet) say(context, fmt::format("debugger socket: {}", socket->path().string()));

    std::optional<sys::Error> failed;
    std::unique_ptr<guest::Session> session;
    if (const auto watched = watch(context, point, socket->path(), signals, *child, session); !watched)
        failed = watched.error();
    if (failed && !end_emulator(*child)) failed.reset(); // it had ended by itself, and so hung up
    const auto ending = sys::wait_for(child->process);
    if (session) tell_end(context, point, *session);
    session.reset();
    point.recorder.reset();
    if (failed) return context.fail(of_guest(*failed));
    if (!ending) return context.fail(ending.error());
    return end_as(*ending, before);
}

int attach(const Context& context, Point& point, const std::string& socket, const sys::UniqueFd& signals) {
    auto debugger = gdb::Client::connect(socket, connect_patience);
    if (!debugger) return context.fail(debugger.error());
    const auto session = make_session(context, point, std::move(*debugger), false);
    const auto begun = session->begin();
    const auto attended = begun ? attend(*session, signals, nullptr) : std::unexpected(begun.error());
    if (!attended) {
        say(context, "the guest stands still until kmodctl attaches to it again");
        return context.fail(of_guest(attended.error()));
    }
    if (*attended != 0)
        if (const auto left = session->leave(); !left) return context.fail(left.error());
    tell_end(context, point, *session);
    return exit_done;
}

} // namespace

int run_guest(const Context& context) {
    const auto socket = context.option("gdb");
    if (socket.has_value() != context.arguments.empty()) {
        context.warn(socket
                         ? "either --gdb SOCKET or the emulator's command, not both"
                         : "there is no emulator to run: kmodctl guest ... -- qemu-system-... ARGUMENT...");
        return exit_usage;
    }
    const sigset_t forwarded = forwarded_signals();
    sigset_t before;
    block_signals(forwarded, before);
    const sys::UniqueFd signals(::signalfd(-1, &forwarded, SFD_CLOEXEC));
    auto point = make_point(context);
    if (!point) return context.fail(point.error());
    return socket ? attach(context, *point, *socket, signals)
                  : run_emulator(context, *point, signals, before);
}

} // namespace kmodguard::ctl
