// SPDX-License-Identifier: AGPL-3.0-only
//
// Runs an emulated machine whose module loads are decided by a policy, from outside: through the debugger's
// stub of QEMU, with nothing in the guest. Or attaches to one that runs.
#include "config/policy_schema.hpp"
#include "ctl/point_verbs.hpp"
#include "ctl/verbs.hpp"
#include "enforce/guest/architecture.hpp"
#include "enforce/guest/emulator.hpp"
#include "enforce/guest/find_kernel.hpp"
#include "enforce/guest/session.hpp"
#include "modules/image.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <ranges>

namespace kmodguard::ctl {
namespace {

sys::Result<const guest::Architecture*> chosen_architecture(const GuestOptions& options) {
    const std::string program = options.command.empty() ? "" : options.command.front();
    const std::string name = options.architecture.value_or(program);
    if (const auto* architecture = guest::find_architecture(name)) return architecture;
    const auto known = guest::architectures() | std::views::transform(&guest::Architecture::name);
    return sys::failure(sys::ErrorKind::invalid,
                        name.empty() ? "the guest's architecture is not known"
                                     : fmt::format("\"{}\" names no known architecture", name),
                        fmt::format("--architecture takes {}", fmt::join(known, ", ")));
}

/// An error of a guest, or of its files, is no error of the command line.
sys::Error of_guest(sys::Error error) {
    if (error.kind == sys::ErrorKind::invalid) error.kind = sys::ErrorKind::failed;
    return error;
}

/// Of --symbols, or of the image that the emulator boots; nullopt: neither is there.
sys::Result<std::optional<symbols::Symbols>> chosen_symbols(const GuestOptions& options) {
    const std::string file = options.symbols.value_or(guest::option_of(options.command, "kernel"));
    if (file.empty()) return std::nullopt;
    auto symbols = symbols::read_symbols(file);
    if (!symbols) return std::unexpected(of_guest(symbols.error()));
    return std::move(*symbols);
}

/// A text of /proc/kallsyms seldom has the address where the kernel's banner is; the image that is booted
/// does. That image also shows whether the symbols are its own.
sys::Result<void> compare_with_image(const GuestOptions& options, const symbols::Symbols& symbols,
                                     guest::KnownKernel& kernel) {
    const std::string image = guest::option_of(options.command, "kernel");
    if (image.empty() || !options.symbols) return {};
    const auto booted = symbols::read_symbols(image);
    if (!booted) return {}; // a boot loader, or a kernel without names
    for (const std::string_view name : {"panic", "kfree"})
        if (!booted->find(name).empty() && !std::ranges::equal(booted->find(name), symbols.find(name)))
            return sys::failure(
                sys::ErrorKind::failed,
                fmt::format("{} is not of the kernel in {}: {}() has another address", symbols.source(),
                            image, name),
                "a text of /proc/kallsyms must be of a boot with \"nokaslr\"; without --symbols "
                "the image's own are used");
    if (kernel.addresses.banner != 0 || !booted->banner() || !booted->banner()->address) return {};
    kernel.banner = booted->banner();
    kernel.addresses.banner = *booted->banner()->address;
    return {};
}

/// Where the kernel will be. One that may be anywhere, and that nothing is known to recognise by, cannot be
/// guarded.
sys::Result<void> settle_offset(const GuestOptions& options, const guest::Architecture& architecture,
                                guest::KernelAddresses& addresses) {
    if (options.kaslr_offset) addresses = addresses.moved(*options.kaslr_offset);
    const std::string command_line = " " + guest::option_of(options.command, "append") + " ";
    if (options.kaslr_offset || command_line.contains(" nokaslr ")) addresses.fixed = true;
    if (addresses.fixed || addresses.banner != 0 || architecture.kaslr_step == 0) return {};
    return sys::failure(
        sys::ErrorKind::failed,
        "the symbols do not show where the kernel's banner is, so that a kernel which moves itself "
        "at boot cannot be found",
        "give a System.map, a vmlinux or the kernel's image, boot with \"nokaslr\", or give "
        "--kaslr-offset 0 if it does not move");
}

/// Only the content of `file` will do for the module that it is.
sys::Result<void> pin_framework(const std::string& file, core::PolicySource& policy) {
    const auto image = TRY(modules::identify_file(file, {.image = {.with_hash = true}}));
    const core::ImageFacts& facts = image.identity.facts;
    if (!facts.problem.empty() || !facts.sha256)
        return sys::failure(sys::ErrorKind::failed, fmt::format("{} is no module: {}", file, facts.problem));
    policy.files.emplace_back("--framework");
    const core::Origin origin{.file = static_cast<std::uint32_t>(policy.files.size() - 1), .line = 0};
    policy.allow_modules.push_back({facts.name, origin});
    policy.pins.push_back({facts.name, *facts.sha256, origin});
    return {};
}

/// By --symbols, --kaslr-offset and --intercept; what is not given, by the emulator's command. None: it is to
/// be searched for in the guest's memory.
sys::Result<std::optional<guest::KnownKernel>> known_kernel(const GuestOptions& options,
                                                            const guest::Architecture& architecture) {
    const auto symbols = TRY(chosen_symbols(options));
    if (!symbols) return std::nullopt;
    auto addresses = guest::find_addresses(*symbols, architecture, options.interception);
    if (!addresses) return std::unexpected(of_guest(addresses.error()));
    guest::KnownKernel kernel{.addresses = std::move(*addresses), .banner = symbols->banner()};
    TRY(compare_with_image(options, *symbols, kernel));
    TRY(settle_offset(options, architecture, kernel.addresses));
    return kernel;
}

/// The kernel that a halted guest runs, by the symbols in its memory; nullopt: it runs none, or not yet.
sys::Result<std::optional<guest::KnownKernel>> kernel_in_memory(guest::Interception interception,
                                                                gdb::Client& debugger,
                                                                const guest::Architecture& architecture) {
    const auto symbols = TRY(guest::symbols_in_memory(debugger));
    if (!symbols) return std::nullopt;
    auto addresses = guest::find_addresses(*symbols, architecture, interception);
    if (!addresses)
        return std::nullopt; // not all of them are there yet, or they are left from another kernel
    addresses->of_this_boot = true;
    return guest::KnownKernel{.addresses = std::move(*addresses), .banner = symbols->banner()};
}

/// The policy of --policy. Without one: only the emulation framework's own module is allowed, and what is
/// refused seems to be done. With --framework that module must be the very file that is named there.
sys::Result<core::PolicySource> guest_policy(const Context& context, const GuestOptions& options) {
    core::PolicySource policy;
    if (options.policy) {
        policy = TRY(read_policy_and_warn(context, options));
    } else {
        policy.answer = core::CallerAnswer::pretend;
        if (!options.framework) policy.allow_modules.push_back({std::string(config::framework_module), {}});
        policy.files.emplace_back("the default policy");
    }
    if (options.framework) TRY(pin_framework(*options.framework, policy));
    return policy;
}

constexpr std::chrono::seconds connect_timeout{30}; ///< QEMU answers when its machine is built

/// On standard error, as text or as JSON. Standard output is the guest's.
void log(const Context& context, const std::string& text, events::Json::Object object) {
    if (context.json)
        fmt::print(stderr, "{}\n", events::Json(std::move(object)).line());
    else
        fmt::print(stderr, "kmodctl: {}\n", text);
}

void log(const Context& context, const std::string& text) {
    log(context, text, {{"message", text}});
}

/// All that a session needs, in the order in which it is made.
struct Point {
    const GuestOptions& options;
    const guest::Architecture* architecture = nullptr;
    std::optional<guest::KnownKernel> kernel = std::nullopt;
    std::unique_ptr<core::Judge> judge = nullptr;
    std::unique_ptr<events::Recorder> recorder = nullptr;
    bool quiet = false;
};

sys::Result<Point> make_point(const Context& context, const GuestOptions& options) {
    Point point{.options = options, .architecture = TRY(chosen_architecture(options))};
    point.kernel = TRY(known_kernel(options, *point.architecture));
    auto policy = TRY(guest_policy(context, options));
    point.quiet = options.quiet || policy.quiet;
    auto sinks = TRY(open_sinks(context, options.log_dir, point.quiet));
    if (options.kernel) // the guest's
        point.judge = TRY(make_judge(context.paths, options, std::move(policy)));
    else
        point.judge = std::make_unique<core::Judge>(core::Policy(std::move(policy)), nullptr, options.answer);
    point.recorder = std::make_unique<events::Recorder>(std::move(sinks), recorder_capacity);
    return point;
}

std::unique_ptr<guest::Session> make_session(const Context& context, Point& point, gdb::Client debugger,
                                             guest::Session::Boot boot) {
    guest::Session::Setup setup;
    setup.watch.hash = point.options.hash;
    setup.boot = boot;
    setup.search_memory = [interception = point.options.interception,
                           architecture = point.architecture](gdb::Client& halted) {
        return kernel_in_memory(interception, halted, *architecture);
    };
    if (!point.quiet) setup.report = [&context](const std::string& text) { log(context, text); };
    return std::make_unique<guest::Session>(std::move(debugger), *point.architecture, point.kernel,
                                            *point.judge, *point.recorder, std::move(setup));
}

/// Watches the guest until it ends, `child` ends, or a signal comes that is not for the child: the
/// signal's number, or 0.
sys::Result<int> watch_until_end(guest::Session& session, const Signals& signals, const sys::Child* child) {
    while (true) {
        pollfd waits[] = {
            {.fd = session.fd(), .events = POLLIN, .revents = 0},
            {.fd = signals.fd.get(), .events = POLLIN, .revents = 0},
            {.fd = child != nullptr ? child->process.get() : -1, .events = POLLIN, .revents = 0}};
        const auto timeout = static_cast<int>(session.timeout().count());
        if (::poll(waits, std::size(waits), timeout) < 0) continue; // interrupted
        if (const auto signal = waits[1].revents != 0 ? signals.read() : std::nullopt) {
            if (child == nullptr) return static_cast<int>(signal->ssi_signo);
            forward_signal(*signal, child->pid, child->process);
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
    log(context,
        fmt::format("{} attempts; the guest was stopped {} times, {} us in all, {} us at most",
                    session.attempts(), stops.stops, all, longest),
        {{"attempts", session.attempts()},
         {"stops", stops.stops},
         {"stopped_us", all},
         {"longest_us", longest}});
}

void print_end(const Context& context, const Point& point, const guest::Session& session) {
    if (point.options.statistics) print_statistics(context, session);
    if (point.quiet || session.found() || session.attempts() > 0) return;
    log(context, "the guest's kernel was never found, and nothing was decided: are these its symbols?");
}

sys::Result<void> watch(const Context& context, Point& point, const std::filesystem::path& socket,
                        const Signals& signals, const sys::Child& child,
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

sys::Result<int> run_emulator(const Context& context, Point& point, const Signals& signals) {
    auto socket = TRY(guest::StubSocket::create(point.options.log_dir.value_or("")));
    const auto child = guest::start_emulator(point.options.command, socket, signals.before);
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
    return end_as(*ending, signals);
}

sys::Result<int> attach(const Context& context, Point& point, const Signals& signals) {
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
    const Signals signals = receive_signals_for_command();
    auto point = TRY(make_point(context, options));
    return options.gdb ? attach(context, point, signals) : run_emulator(context, point, signals);
}

} // namespace kmodguard::ctl
