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

constexpr std::chrono::seconds connect_timeout{30}; ///< QEMU answers when its machine is built

/// What people want to know meanwhile. Standard output is the guest's.
void report(const Context& context, const std::string& text) {
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
    auto settings = TRY(guest_settings(context));
    auto policy = TRY(guest_policy(context));
    Point point{.settings = std::move(settings), .judge = nullptr, .recorder = nullptr};
    point.quiet = context.has("quiet") || policy.quiet;
    auto sinks = TRY(open_sinks(context, point.quiet));
    auto judge = TRY(make_guest_judge(context, std::move(policy)));
    point.judge = std::move(judge);
    point.recorder = std::make_unique<events::Recorder>(std::move(sinks), recorder_capacity);
    return point;
}

std::unique_ptr<guest::Session> make_session(const Context& context, Point& point, gdb::Client debugger,
                                             guest::Session::Boot boot) {
    guest::Session::Settings settings;
    settings.watch.hash = context.has("hash");
    settings.boot = boot;
    settings.search = [&context, architecture = point.settings.architecture](gdb::Client& halted) {
        return kernel_in_memory(context, halted, *architecture);
    };
    if (!point.quiet) settings.report = [&context](const std::string& text) { report(context, text); };
    return std::make_unique<guest::Session>(std::move(debugger), *point.settings.architecture,
                                            point.settings.kernel, *point.judge, *point.recorder,
                                            std::move(settings));
}

/// Polls the guest until it ends, `child` ends, or a signal comes that is not for the child: the
/// signal's number, or 0.
sys::Result<int> poll_until_end(guest::Session& session, const sys::UniqueFd& signals,
                                const sys::Child* child) {
    while (true) {
        pollfd waits[] = {
            {.fd = session.fd(), .events = POLLIN, .revents = 0},
            {.fd = signals.get(), .events = POLLIN, .revents = 0},
            {.fd = child != nullptr ? child->process.get() : -1, .events = POLLIN, .revents = 0}};
        const auto timeout = static_cast<int>(session.timeout().count());
        if (::poll(waits, std::size(waits), timeout) < 0) continue; // interrupted
        signalfd_siginfo info{};
        if (waits[1].revents != 0
            && ::read(signals.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
            if (child == nullptr) return static_cast<int>(info.ssi_signo);
            forward_signal(info, child->pid, child->process);
        }
        const bool goes_on = TRY(session.poll());
        if (!goes_on || waits[2].revents != 0) return 0;
    }
}

void report_statistics(const Context& context, const guest::Session& session) {
    using std::chrono::microseconds;
    const guest::StopStatistics& stops = session.statistics();
    const auto all = std::chrono::duration_cast<microseconds>(stops.stopped).count();
    const auto longest = std::chrono::duration_cast<microseconds>(stops.longest).count();
    if (!context.json)
        return report(context,
                      fmt::format("{} attempts; the guest was stopped {} times, {} us in all, {} us at most",
                                  session.attempts(), stops.stops, all, longest));
    const events::Json::Object object{{"attempts", session.attempts()},
                                      {"stops", stops.stops},
                                      {"stopped_us", all},
                                      {"longest_us", longest}};
    fmt::print(stderr, "{}\n", events::Json(object).line());
}

void report_end(const Context& context, const Point& point, const guest::Session& session) {
    if (context.has("statistics")) report_statistics(context, session);
    if (point.quiet || session.found() || session.attempts() > 0) return;
    report(context, "the guest's kernel was never found, and nothing was decided: are these its symbols?");
}

sys::Result<void> watch(const Context& context, Point& point, const std::filesystem::path& socket,
                        const sys::UniqueFd& signals, const sys::Child& child,
                        std::unique_ptr<guest::Session>& session) {
    auto debugger = TRY(gdb::Client::connect(socket, connect_timeout));
    // A machine that goes on where another has stopped has begun before.
    const bool has_run =
        guest::has_option(context.arguments, "loadvm") || guest::has_option(context.arguments, "incoming");
    session = make_session(context, point, std::move(debugger),
                           has_run ? guest::Session::Boot::attached : guest::Session::Boot::first);
    TRY(session->begin());
    static_cast<void>(TRY(poll_until_end(*session, signals, &child)));
    return {};
}

/// An emulator whose machine stands still, and that no kmodctl watches, is not left running. False: it had
/// ended.
bool end_emulator(const sys::Child& child) {
    constexpr int moment = 1000; // ms, for one that has hung up because it ends
    constexpr int timeout = 10000;
    const auto has_ended = [&child](int milliseconds) {
        pollfd wait{.fd = child.process.get(), .events = POLLIN, .revents = 0};
        return ::poll(&wait, 1, milliseconds) == 1;
    };
    if (has_ended(moment)) return false;
    ::kill(child.pid, SIGTERM); // no process has waited for it: the number is still its own
    if (!has_ended(timeout)) ::kill(child.pid, SIGKILL);
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
    if (!point.quiet) report(context, fmt::format("debugger socket: {}", socket->path().string()));

    std::optional<sys::Error> failed;
    std::unique_ptr<guest::Session> session;
    if (const auto watched = watch(context, point, socket->path(), signals, *child, session); !watched)
        failed = watched.error();
    if (failed && !end_emulator(*child)) failed.reset(); // it had ended by itself, and so hung up
    const auto ending = sys::wait_for(child->process);
    if (session) report_end(context, point, *session);
    session.reset();
    point.recorder.reset();
    if (failed) return context.fail(of_guest(*failed));
    if (!ending) return context.fail(ending.error());
    return end_as(*ending, before);
}

int attach(const Context& context, Point& point, const std::string& socket, const sys::UniqueFd& signals) {
    auto debugger = gdb::Client::connect(socket, connect_timeout);
    if (!debugger) return context.fail(debugger.error());
    const auto session = make_session(context, point, std::move(*debugger), guest::Session::Boot::attached);
    const auto begun = session->begin();
    const auto ended = begun ? poll_until_end(*session, signals, nullptr) : std::unexpected(begun.error());
    if (!ended) {
        report(context, "the guest stands still until kmodctl attaches to it again");
        return context.fail(of_guest(ended.error()));
    }
    if (*ended != 0)
        if (const auto left = session->leave(); !left) return context.fail(left.error());
    report_end(context, point, *session);
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
