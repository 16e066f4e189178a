// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/service.hpp"

#include "core/names.hpp"
#include "daemon/engine.hpp"
#include "daemon/server.hpp"
#include "daemon/verbs.hpp"
#include "daemon/watches.hpp"
#include "enforce/kernel/kernel_point.hpp"
#include "events/recorder.hpp"
#include "events/sinks.hpp"
#include "reader/process.hpp"
#include "sys/file.hpp"
#include "sys/kernel.hpp"
#include "sys/process.hpp"
#include "sys/unix_socket.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <ctime>

namespace kmodguard::daemon {
namespace {

constexpr mode_t socket_mode = 0600;
constexpr mode_t directory_mode = 0755;
constexpr int backlog = 512;
/// Between two looks at what may have been changed, and two tries to publish what is wanted.
constexpr std::chrono::seconds look_after_interval{5};
/// Between two records of processes that were turned away: what comes between is counted.
constexpr std::chrono::seconds turned_away_interval{1};

std::optional<core::Mode> mode_of_kernel_command_line(const sys::Paths& paths) {
    const auto value = sys::kernel_parameter(paths, "kmodguard.mode");
    if (value == "audit" || value == "off") return core::Mode::audit;
    return std::nullopt;
}

/// A line on standard error. If it cannot be written, as on a full disk, it is lost: the daemon goes on.
void say(const std::string& line) {
    const std::string text = line + "\n";
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

/// Where events go: the journal, or syslog and standard error where there is none; with another root standard
/// error alone; and a file of JSON lines where one was asked for. Fails if that cannot be opened.
sys::Result<std::vector<std::unique_ptr<events::Sink>>> make_sinks(const ServiceOptions& options) {
    const sys::Paths& paths = options.paths;
    std::vector<std::unique_ptr<events::Sink>> sinks;
    // The file first: it takes at once what it is given, and waits for no program that reads.
    if (!options.events_file.empty()) {
        auto file = TRY(events::json_lines_sink(options.events_file));
        sinks.push_back(std::move(file));
    }
    if (!paths.moved())
        sinks.push_back(events::has_journal() ? events::journal_sink() : events::syslog_sink());
    if (paths.moved() || !events::has_journal()) sinks.push_back(events::stderr_sink());
    return sinks;
}

/// Tells the process that started the daemon that it serves, and lets go of the terminal it was started from.
void announce_ready(const ServiceOptions& options) {
    sd_notify(0, "READY=1");
    if (options.background) {
        const sys::UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
            ::dup2(null.get(), stream);
    }
    if (options.ready_fd < 0) return;
    sys::UniqueFd ready(options.ready_fd);
    [[maybe_unused]] const ssize_t written = ::write(ready.get(), "\n", 1);
}

class Service {
  public:
    Service(const ServiceOptions& options, EventLoop loop, events::Recorder& recorder,
            kernel::KernelPoint::Dependencies kernel_point)
        : loop_(std::move(loop)), recorder_(recorder),
          reader_(options.paths, {.program = reader::ReaderProcess::program_beside_this()}),
          engine_(options.paths, sys::kernel_release(), reader_, mode_of_kernel_command_line(options.paths)),
          kernel_point_(
              options.paths, std::move(kernel_point), engine_.images(),
              {.record = [this](events::Event event) { recorder_.record(std::move(event)); },
               .lost = [this](std::size_t count) { recorder_.record_loss(count); },
               .judge = [this](std::string_view token) { return request_in_kernel(token); },
               .unpacked =
                   [this](std::string_view name) { return engine_.unpacked_images().origin_of(name); }}),
          status_sources_{.events_lost = [this] { return std::uint64_t{recorder_.lost()}; },
                          .kernel_point = [this] { return kernel_point_.status(); }},
          watch_(loop_.get(), watched_directories(options.paths), [this] { index_changed(); }),
          handler_watch_(options.paths) {}

    sys::Result<void> start(sys::UniqueFd socket) {
        const protocol::DaemonStatus status = engine_.status();
        if (status.policy_error)
            say(fmt::format("no valid policy, {}: {}", status.in_place_of_files(), *status.policy_error));
        say_warnings(status);
        if (status.index_error) say("no module index: " + *status.index_error);
        // Before the first request is served: ready means that every point is enforced.
        if (const auto published = engine_.publish_to(kernel_point_); !published)
            say("the kernel point: " + published.error().what);
        server_.emplace(
            loop_.get(), std::move(socket),
            [this](const protocol::Request& request, const sys::Peer& peer) { return answer(request, peer); },
            ServerLimits(), [this](const sys::Peer& peer) { turned_away(peer); },
            [this] { recorder_.wake(); });
        TRY(server_->start());
        TRY(add_sources());
        update_systemd(engine_.status());
        sd_event_set_watchdog(loop_.get(), 1);
        return {};
    }

    sys::Result<void> run() {
        if (const auto loaded = engine_.loaded_and_not_admitted(); loaded && !loaded->empty())
            say(core::explain_loaded(*loaded)); // what came before the guard, as from the initramfs
        // What was taken over is looked through now that requests are served: the kernel takes its time to
        // answer.
        static_cast<void>(kernel_point_.look_after());
        const int code = sd_event_loop(loop_.get());
        kernel_point_.report_all();
        if (code < 0) return sys::system_failure("cannot go on with", "the event loop", -code);
        return {};
    }

  private:
    static std::vector<std::filesystem::path> watched_directories(const sys::Paths& paths) {
        auto directories = paths.modprobe_configuration();
        directories.push_back(paths.modules(sys::kernel_release()));
        return directories;
    }

    events::Attempt request_in_kernel(std::string_view token) {
        return {core::Point::kernel, engine_.generation(), engine_.decide(token, Engine::Known::as_judged)};
    }

    Server::Reply answer(const protocol::Request& request, const sys::Peer& peer) {
        Response response = respond(engine_, request, status_sources_);
        const bool is_decision = response.event.has_value();
        if (is_decision) complete(response, request.argument);
        Server::Reply reply{.text = encode(response.answer), .last = is_decision, .afterwards = nullptr};
        for (const auto& image : response.images)
            reply.files.emplace_back(image, &image->file);
        if (auto& event = response.event)
            reply.afterwards = [this, recorded = std::move(*event)]() mutable {
                recorder_.record(std::move(recorded), events::Recorder::Wake::later);
            };
        if (auto& change = response.change) { // while who asked still waits for the answer
            change->by = sys::identify_process(peer.pid, peer.uid);
            recorder_.record(std::move(*change));
        }
        if (!is_decision) state_changed();
        // The index may have been found to be another for this decision, or an image.
        if (engine_.needs_warm_up() || reader_.is_running())
            sd_event_source_set_enabled(warm_up_.get(), SD_EVENT_ON);
        return reply;
    }

    /// Of changes that no verb brings.
    void record(events::Action action, std::string argument, std::optional<std::string> error = std::nullopt,
                std::optional<sys::ProcessIdentity> by = std::nullopt) {
        events::Change change(action, engine_.generation(), std::move(error));
        change.argument = std::move(argument);
        change.by = std::move(by);
        change.repeated = action == events::Action::connect ? std::exchange(turned_away_, 0) : 0;
        recorder_.record(std::move(change));
    }

    void turned_away(const sys::Peer& peer) {
        const auto now = std::chrono::steady_clock::now();
        if (last_turned_away_ && now - *last_turned_away_ < turned_away_interval) {
            ++turned_away_;
            return;
        }
        last_turned_away_ = now;
        record(events::Action::connect, "", "only root may ask", sys::identify_process(peer.pid, peer.uid));
    }

    /// What the kernel point knows of the request, and has to know of the answer.
    void complete(Response& response, const std::string& token) {
        response.event->requester = response.is_asked_again ? kernel_point_.requester_again(token)
                                                            : kernel_point_.requester_of(token);
        if (response.lasting_refusal)
            kernel_point_.remember_refusal(token);
        else
            kernel_point_.admit_contents(response.event->decision, response.images);
    }

    /// Says, once each, that what is wanted could not be published, and that it was in the end.
    void report_wanted(const protocol::DaemonStatus& status) {
        if (status.wanted_mode.has_value() == wanted_reported_) return;
        wanted_reported_ = status.wanted_mode.has_value();
        const core::Mode mode = status.wanted_mode.value_or(engine_.policy().mode());
        record(events::Action::publish, fmt::format("mode {}", core::to_string(mode)), status.wanted_problem);
    }

    void look_at_handler(HandlerWatch::Occasion occasion) {
        if (const auto foreign = handler_watch_.look(occasion))
            record(events::Action::handler, foreign->empty() ? "(empty)" : *foreign);
    }

    /// For `systemctl status`.
    void update_systemd(const protocol::DaemonStatus& status) {
        std::string line = fmt::format("mode {}, generation {}", core::to_string(engine_.policy().mode()),
                                       status.generation);
        if (status.wanted_mode)
            line += fmt::format("; WANTED: {}, not in force: {}", core::to_string(*status.wanted_mode),
                                status.wanted_problem.value_or(""));
        if (status.policy_error)
            line += fmt::format("; policy INVALID, {}: {}", status.in_place_of_files(), *status.policy_error);
        if (line == systemd_status_) return;
        systemd_status_ = std::move(line);
        constexpr std::size_t max_size = 2048;
        sd_notify(0, ("STATUS=" + core::printable(systemd_status_, max_size)).c_str());
    }

    /// After anything but a decision: the policy may be another, and a mode may be limited in time.
    void state_changed() {
        const protocol::DaemonStatus status = engine_.status();
        update_systemd(status);
        report_wanted(status);
        look_at_handler(HandlerWatch::Occasion::request);
        sd_event_source_set_enabled(warm_up_.get(), SD_EVENT_ON);
        watch_records();
        if (const auto until = engine_.limited_until()) {
            const auto micros =
                std::chrono::duration_cast<std::chrono::microseconds>(until->time_since_epoch());
            sd_event_source_set_time(limited_mode_.get(), static_cast<std::uint64_t>(micros.count()));
            sd_event_source_set_enabled(limited_mode_.get(), SD_EVENT_ONESHOT);
        } else {
            sd_event_source_set_enabled(limited_mode_.get(), SD_EVENT_OFF);
        }
    }

    /// The point may have come, or gone, with the policy.
    void watch_records() {
        if (kernel_point_.fd() == watched_fd_) return;
        watched_fd_ = kernel_point_.fd();
        records_.reset();
        if (watched_fd_ >= 0)
            records_ =
                watch_input<&kernel::KernelPoint::read_records>(loop_.get(), watched_fd_, &kernel_point_);
    }

    /// Every few seconds. Where only a new start helps, and systemd sees to that, the daemon ends: what is
    /// in the kernel keeps enforcing meanwhile.
    void look_after_kernel_point() {
        index_changed(); // what no watch has seen
        look_at_handler(HandlerWatch::Occasion::timer);
        engine_.unpacked_images().look_after();
        if (engine_.retry()) state_changed();
        report_wanted(engine_.status());
        if (kernel_point_.look_after() == kernel::KernelPoint::Health::needs_restart
            && ::getenv("NOTIFY_SOCKET") != nullptr) // NOLINT(concurrency-mt-unsafe)
            sd_event_exit(loop_.get(), -EUCLEAN);
        if (reader_.is_running()) sd_event_source_set_enabled(warm_up_.get(), SD_EVENT_ON); // then it rests
        start_timer(look_after_, look_after_interval);
    }

    static void say_warnings(const protocol::DaemonStatus& status) {
        for (const std::string& warning : status.policy_warnings)
            say(warning);
    }

    void index_changed() {
        if (engine_.refresh_index()) state_changed();
    }

    void reload(const signalfd_siginfo& sender) {
        timespec now{};
        ::clock_gettime(CLOCK_MONOTONIC, &now);
        sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
                   static_cast<long long>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000);
        engine_.refresh_index();
        const auto reloaded = engine_.reload();
        if (!reloaded)
            say("the policy in force stays: " + reloaded.error().what);
        else
            say_warnings(engine_.status());
        record(events::Action::reload, "", reloaded ? std::nullopt : std::optional(reloaded.error().what),
               sender_of(sender));
        state_changed();
        sd_notify(0, "READY=1");
    }

    static sys::ProcessIdentity sender_of(const signalfd_siginfo& signal) {
        return sys::identify_process(static_cast<pid_t>(signal.ssi_pid), signal.ssi_uid);
    }

    void end_limited_mode() {
        const auto ended = engine_.end_limited_mode();
        if (ended)
            say(fmt::format("the time of the limited mode is over: {} is in force",
                            core::to_string(engine_.policy().mode())));
        else
            say(ended.error().what);
        record(events::Action::mode_end, std::string(core::to_string(engine_.policy().mode())),
               ended ? std::nullopt : std::optional(ended.error().what));
        state_changed();
    }

    sys::Result<void> add_sources() {
        const auto on_hangup = [](sd_event_source*, const signalfd_siginfo* signal, void* self) {
            static_cast<Service*>(self)->reload(*signal);
            return 0;
        };
        const auto on_end = [](sd_event_source* source, const signalfd_siginfo* signal, void* self) {
            static_cast<Service*>(self)->record(events::Action::end, "", std::nullopt, sender_of(*signal));
            return sd_event_exit(sd_event_source_get_event(source), 0);
        };
        const auto on_idle = [](sd_event_source* source, void* self) {
            auto& service = *static_cast<Service*>(self);
            if (service.engine_.warm_up_next() || service.kernel_point_.admit_next()) return 0;
            service.reader_.rest();
            ::malloc_trim(0);
            return sd_event_source_set_enabled(source, SD_EVENT_OFF);
        };
        limited_mode_ = stopped_timer<&Service::end_limited_mode>(loop_.get(), CLOCK_BOOTTIME, this);
        look_after_ = stopped_timer<&Service::look_after_kernel_point>(loop_.get(), CLOCK_MONOTONIC, this);
        if (!limited_mode_ || !look_after_) return sys::system_failure("cannot set up", "the event loop");
        start_timer(look_after_, look_after_interval);
        sd_event_source* idle = nullptr;
        int code = sd_event_add_signal(loop_.get(), nullptr, SIGTERM, on_end, this);
        if (code >= 0) code = sd_event_add_signal(loop_.get(), nullptr, SIGINT, on_end, this);
        if (code >= 0) code = sd_event_add_signal(loop_.get(), nullptr, SIGHUP, on_hangup, this);
        if (code >= 0) code = sd_event_add_defer(loop_.get(), &idle, on_idle, this);
        warm_up_.reset(idle);
        if (code >= 0) code = sd_event_source_set_priority(idle, SD_EVENT_PRIORITY_IDLE);
        if (code >= 0) code = sd_event_source_set_enabled(idle, SD_EVENT_ON);
        if (code < 0) return sys::system_failure("cannot set up", "the event loop", -code);
        watch_records();
        return {};
    }

    EventLoop loop_;
    events::Recorder& recorder_;
    reader::ReaderProcess reader_;
    Engine engine_;
    kernel::KernelPoint kernel_point_;
    StatusSources status_sources_;
    DirectoryWatch watch_;
    HandlerWatch handler_watch_;
    EventSource records_;
    int watched_fd_ = -1;
    bool wanted_reported_ = false;
    std::string systemd_status_;
    std::optional<std::chrono::steady_clock::time_point> last_turned_away_;
    std::uint32_t turned_away_ = 0; ///< since the last record
    EventSource look_after_;
    EventSource limited_mode_;
    EventSource warm_up_;
    std::optional<Server> server_;
};

/// Signals are taken from the loop alone, whichever thread they reach.
void block_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP})
        sigaddset(&signals, signal);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::signal(SIGPIPE, SIG_IGN); // NOLINT(cert-err33-c): cannot fail
}

} // namespace

sys::Result<void> run_service(const ServiceOptions& options) {
    sys::give_back_freed_memory();
    ::umask(S_IRWXG | S_IRWXO);
    block_signals();
    TRY(sys::make_directory(options.paths.runtime_directory(), directory_mode));
    auto kernel_point = kernel::KernelPoint::prepare(options.paths);
    auto socket = TRY(sys::listen_unix(options.paths.socket(), socket_mode, backlog));
    // Before the first thread and the first byte of input: what follows decides, and can load nothing.
    TRY(sys::drop_all_capabilities());
    auto sinks = TRY(make_sinks(options));
    sd_event* loop = nullptr;
    if (const int code = sd_event_new(&loop); code < 0)
        return sys::system_failure("cannot create", "an event loop", -code);

    events::Recorder recorder(std::move(sinks));
    Service service(options, EventLoop(loop), recorder, std::move(kernel_point));
    TRY(service.start(std::move(socket)));
    announce_ready(options);
    auto ended = service.run();
    sd_notify(0, "STOPPING=1");
    ::unlink(options.paths.socket().c_str());
    return ended;
}

} // namespace kmodguard::daemon
