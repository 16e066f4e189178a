// SPDX-License-Identifier: AGPL-3.0-only
//
// Runs an emulated machine whose module loads are decided by a policy, from outside: through the debugger's
// stub of QEMU, with nothing in the guest. Or attaches to one that runs.
#include "ctl/child_command.hpp"
#include "ctl/guest_setup.hpp"
#include "ctl/judge_and_sinks.hpp"
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

/// A line for people on standard error. Standard output is the guest's.
void log(const Context& context, const std::string& text) {
    if (context.json)
        fmt::print(stderr, "{}\n", events::Json(events::Json::Object{{"message", text}}).line());
    else
        fmt::print(stderr, "kmodctl: {}\n", text);
}

/// All that a session needs, in the order in which it is made.
struct Point {
    const GuestOptions& options;
    GuestSetup setup;
    std::unique_ptr<core::Judge> judge;
    std::unique_ptr<events::Recorder> recorder;
    bool quiet = false;
};

sys::Result<Point> make_point(const Context& context, const GuestOptions& options) {
    Point point{
        .options = options, .setup = TRY(guest_setup(options)), .judge = nullptr, .recorder = nullptr};
    auto policy = TRY(guest_policy(context, options));
    point.quiet = options.quiet || policy.quiet;
    auto sinks = TRY(open_sinks(context, options.log_dir, point.quiet));
    point.judge = TRY(make_guest_judge(context.paths, options, std::move(policy)));
    point.recorder = std::make_unique<events::Recorder>(std::move(sinks), recorder_capacity);
    return point;
}

std::unique_ptr<guest::Session> make_session(const Context& context, Point& point, gdb::Client debugger,
                                             guest::Session::Boot boot) {
    guest::Session::Setup setup;
    setup.watch.hash = point.options.hash;
    setup.boot = boot;
    setup.search = [interception = point.options.interception, architecture = point.setup.architecture](
                       gdb::Client& halted) { return kernel_in_memory(interception, halted, *architecture); };
    if (!point.quiet) setup.report = [&context](const std::string& text) { log(context, text); };
    return std::make_unique<guest::Session>(std::move(debugger), *point.setup.architecture,
                                            point.setup.kernel, *point.judge, *point.recorder,
                                            std::move(setup));
}

/// Watches the guest until it ends, `child` ends, or a signal comes that is not for the child: the
/// signal's number, or 0.
sys::Result<int> watch_until_end(guest::Session& session, const sys::UniqueFd& signals,
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

void print_statistics(const Context& context, const guest::Session& session) {
    using std::chrono::microseconds;
    const guest::StopStatistics& stops = session.statistics();
    const auto all = std::chrono::duration_cast<microseconds>(stops.stopped).count();
    const auto longest = std::chrono::duration_cast<microseconds>(stops.longest).count();
    if (!context.json)
        return log(context,
                   fmt::format("{} attempts; the guest was stopped {} times, {} us in all, {} us at most",
                               session.attempts(), stops.stops, all, longest));
    const events::Json::Object object{{"attempts", session.attempts()},
                                      {"stops", stops.stops},
                                      {"stopped_us", all},
                                      {"longest_us", longest}};
    fmt::print(stderr, "{}\n", events::Json(object).line());
}

void print_end(const Context& context, const Point& point, const guest::Session& session) {
    if (point.options.statistics) print_statistics(context, session);
    if (point.quiet || session.found() || session.attempts() > 0) return;
    log(context, "the guest's kernel was never found, and nothing was decided: are these its symbols?");
}

sys::Result<void> watch(const Context& context, Point& point, const std::filesystem::path& socket,
                        const sys::UniqueFd& signals, const sys::Child& child,
                        std::unique_ptr<guest::Session>& session) {
    auto debugger = TRY(gdb::Client::connect(socket, connect_timeout));
    // A machine that goes on where another has stopped has begun before.
    const Words& command = point.options.command;
    const bool has_run = guest::has_option(command, "loadvm") || guest::has_option(command, "incoming");
    session = make_session(context, point, std::move(debugger),
                           has_run ? guest::Session::Boot::attached : guest::Session::Boot::first);
    TRY(session->begin());
    TRY(watch_until_end(*session, signals, &child));
    return {};
}

/// An emulator whose machine is stopped, and that is not watched, is not left running. False: it had ended.
bool end_emulator(const sys::Child& child) {
    constexpr int moment = 1000; // ms, for one that has hung up because it ends
    constexpr int end_timeout = 10000;
    const auto has_ended = [&child](int milliseconds) {
        pollfd wait{.fd = child.process.get(), .events = POLLIN, .revents = 0};
        return ::poll(&wait, 1, milliseconds) == 1;
    };
    if (has_ended(moment)) return false;
    ::kill(child.pid, SIGTERM); // it was not waited for: the number is still its own
    if (!has_ended(end_timeout)) ::kill(child.pid, SIGKILL);
    return true;
}

/// An error of a guest is no error of the command line.
sys::Error of_guest(sys::Error error) {
    if (error.kind == sys::ErrorKind::invalid) error.kind = sys::ErrorKind::failed;
    return error;
}

sys::Result<int> run_emulator(const Context& context, Point& point, const sys::UniqueFd& signals,
                              const sigset_t& before) {
    auto socket = TRY(guest::StubSocket::create(point.options.log_dir.value_or("")));
    const auto child = guest::start_emulator(point.options.command, socket, before);
    if (!child) return report_launch_failure(context, child.error());
    socket.hand_over();
    if (!point.quiet) log(context, fmt::format("debugger socket: {}", socket.path().string()));

    std::optional<sys::Error> failed;
    std::unique_ptr<guest::Session> session;
    if (const auto watched = watch(context, point, socket.path(), signals, *child, session); !watched)
        failed = watched.error();
    if (failed && !end_emulator(*child)) failed.reset(); // it had ended by itself, and so hung up
    const auto ending = sys::wait_for(child->process);
    if (session) print_end(context, point, *session);
    session.reset();
    point.recorder.reset();
    if (failed) return std::unexpected(of_guest(*failed));
    if (!ending) return std::unexpected(ending.error());
    return end_as(*ending, before);
}

sys::Result<int> attach(const Context& context, Point& point, const sys::UniqueFd& signals) {
    auto debugger = TRY(gdb::Client::connect(*point.options.gdb, connect_timeout));
    const auto session = make_session(context, point, std::move(debugger), guest::Session::Boot::attached);
    const auto begun = session->begin();
    const auto watched_until =
        begun ? watch_until_end(*session, signals, nullptr) : std::unexpected(begun.error());
    if (!watched_until) {
        log(context, "the guest stays stopped until kmodctl attaches to it again");
        return std::unexpected(of_guest(watched_until.error()));
    }
    if (*watched_until != 0) TRY(session->leave());
    print_end(context, point, *session);
    return exit_done;
}

} // namespace

sys::Result<int> run_guest(const Context& context, const GuestOptions& options) {
    if (options.gdb && !options.command.empty())
        return sys::failure(sys::ErrorKind::invalid,
                            "either --gdb SOCKET or the emulator's command, not both");
    if (!options.gdb && options.command.empty())
        return sys::failure(sys::ErrorKind::invalid, "there is no emulator to run",
                            "kmodctl guest [OPTION...] -- qemu-system-... ARGUMENT...");
    const sigset_t forwarded = forwarded_signals();
    sigset_t before;
    block_signals(forwarded, before);
    const sys::UniqueFd signals(::signalfd(-1, &forwarded, SFD_CLOEXEC));
    auto point = TRY(make_point(context, options));
    return options.gdb ? attach(context, point, signals) : run_emulator(context, point, signals, before);
}

} // namespace kmodguard::ctl
