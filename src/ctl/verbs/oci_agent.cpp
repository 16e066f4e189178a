// SPDX-License-Identifier: AGPL-3.0-only
//
// Decides on the module loads of containers, whose runtimes hand them over (docs/containers.md). Which policy
// a container is under may be named by whoever creates it; what these policies say is the administrator's. A
// name that means nothing, like a policy that cannot be read, refuses that container everything.
#include "core/names.hpp"
#include "ctl/local_decision.hpp"
#include "ctl/supervision.hpp"
#include "ctl/verbs.hpp"
#include "enforce/process/agent.hpp"
#include "enforce/process/caller.hpp"
#include "enforce/process/lender.hpp"
#include "events/event_json.hpp"
#include "modules/kmod_context.hpp"
#include "sys/memory.hpp"
#include "sys/unix_socket.hpp"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace kmodguard::ctl {
namespace {

constexpr mode_t socket_mode = 0600;
constexpr int backlog = 128;
constexpr std::chrono::seconds agent_timeout{5}; ///< at the end, with calls that are being answered

/// On standard error, in one piece: many threads speak.
void say(const Context& context, const process::Notice& notice) {
    std::string line;
    if (context.json)
        line =
            events::Json(events::Json::Object{{"time", events::timestamp(std::chrono::system_clock::now())},
                                              {"notice", notice.text},
                                              {"container", notice.container},
                                              {"refused", notice.refused}})
                .line();
    else if (notice.container.empty())
        line = "kmodctl oci-agent: " + notice.text;
    else
        line = fmt::format("kmodctl oci-agent: container {} {}", notice.container, notice.text);
    line += "\n";
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

/// What containers are judged by, and where their events go. Used by many threads at once.
class Rulebook {
  public:
    static sys::Result<Rulebook> open(const Context& context) {
        auto loud = open_sinks(context, context.has("quiet"));
        if (!loud) return std::unexpected(loud.error());
        auto quiet = open_sinks(context, true);
        if (!quiet) return std::unexpected(quiet.error());
        return Rulebook(context, std::move(*loud), std::move(*quiet));
    }

    process::Rules rules_of(const process::OciState& state) {
        auto policy = policy_of(state);
        if (!policy) return nothing_allowed(state, policy.error());
        for (const config::Diagnostic& warning : policy->loaded.warnings)
            say(context_, {.container = state.id, .text = config::render(warning)});
        const bool serves = policy->loaded.source.user_namespaces;
        if (const auto may = process::may_lend(); serves && !may)
            say(context_,
                {.container = state.id, .text = "is not served in a user namespace: " + may.error().why});
        const bool quiet = context_.has("quiet") || policy->loaded.source.quiet;
        auto judge = make_judge(context_, std::move(policy->loaded.source));
        if (!judge) return nothing_allowed(state, judge.error());
        if (!quiet)
            say(context_, {.container = state.id,
                           .text = fmt::format("is under the policy {}{}", policy->name,
                                               serves ? ", which serves its user namespace" : "")});
        return {.judge = std::move(*judge), .recorder = quiet ? quiet_.get() : loud_.get()};
    }

    void flush() {
        loud_->flush();
        quiet_->flush();
    }

  private:
    struct NamedPolicy {
        std::string name;
        config::LoadedPolicy loaded;
    };

    Rulebook(const Context& context, Sinks loud, Sinks quiet)
        : context_(context), loud_(std::make_unique<events::Recorder>(std::move(loud), recorder_capacity)),
          quiet_(std::make_unique<events::Recorder>(std::move(quiet), recorder_capacity)) {}

    [[nodiscard]] sys::Result<NamedPolicy> policy_of(const process::OciState& state) const {
        const auto file = state.policy ? file_of(*state.policy) : std::filesystem::path();
        if (!file) return std::unexpected(file.error());
        auto loaded = file->empty() ? read_policy(context_) : config::load_policy(*file, "");
        if (!loaded) return std::unexpected(config::to_error(loaded.error()));
        std::string name = loaded->source.files.empty() ? "" : loaded->source.files.front();
        return NamedPolicy{.name = std::move(name), .loaded = std::move(*loaded)};
    }

    /// The file that the annotation names. It names no path, whatever is in it.
    [[nodiscard]] sys::Result<std::filesystem::path> file_of(const std::string& name) const {
        const auto given = context_.option("policies");
        const std::filesystem::path usual = "etc/kmodguard/containers";
        const auto path_of = [&](const std::string& file) {
            return given ? std::filesystem::path(*given) / file : context_.paths.below(usual / file);
        };
        if (!process::is_policy_name(name))
            return sys::failure(sys::ErrorKind::invalid,
                                fmt::format("{} is \"{}\", which is no policy's name",
                                            process::policy_annotation, core::printable(name, 64)),
                                "a name has letters, digits, \"_\", \".\" and \"-\", and no path");
        for (const char* form : {".toml", ".yaml"}) {
            std::filesystem::path file = path_of(name + form);
            std::error_code ignored;
            if (std::filesystem::exists(file, ignored)) return file;
        }
        return sys::failure(sys::ErrorKind::not_found,
                            fmt::format("{} names \"{}\", and there is no {}.toml or .yaml",
                                        process::policy_annotation, name, path_of(name).native()));
    }

    /// Its attempts are recorded, and its callers are told the truth even where others are told lies: this is
    /// a mistake, which somebody has to see.
    process::Rules nothing_allowed(const process::OciState& state, const sys::Error& why) {
        say(context_, {.refused = true,
                       .container = state.id,
                       .text = "has no policy, everything is refused: " + why.what});
        core::PolicySource none;
        none.valid = false;
        return {.judge = std::make_unique<core::Judge>(core::Policy(std::move(none)), nullptr,
                                                       core::Answer::refuse),
                .recorder = loud_.get()};
    }

    const Context& context_;
    std::unique_ptr<events::Recorder> loud_;
    std::unique_ptr<events::Recorder> quiet_; ///< no journal, no standard error
};

/// What can be told before the first container is there. An error is one that no container could do with.
sys::Result<void> check_options(const Context& context) {
    if (!context.has("socket"))
        return sys::failure(sys::ErrorKind::invalid, "no socket to listen on",
                            "give one with --socket /run/kmodguard/oci-agent.sock");
    if (const auto answer = chosen_answer(context); !answer) return std::unexpected(answer.error());
    const auto warn = [&](std::string text) { say(context, {.text = std::move(text)}); };
    const auto index = modules::KmodIndex::open(context.paths, chosen_kernel(context));
    if (!index && context.has("kernel")) return std::unexpected(index.error());
    if (!index) warn("only what a policy lists by name is allowed: " + index.error().what);
    const auto policy = read_policy(context);
    if (policy) return {};
    const sys::Error error = config::to_error(policy.error());
    if (context.has("policy")) return std::unexpected(error);
    warn("containers that name no policy are refused everything: " + error.what);
    return {};
}

/// A descriptor that is readable when the agent is to end. Before the first thread, so that all have it so.
sys::UniqueFd take_signals() {
    sigset_t ends;
    ::sigemptyset(&ends);
    for (const int number : {SIGTERM, SIGINT, SIGHUP})
        ::sigaddset(&ends, number);
    sigset_t blocked = ends; // and a log that nobody reads is no reason to leave the containers alone
    ::sigaddset(&blocked, SIGPIPE);
    ::sigaddset(&blocked, SIGXFSZ);
    ::pthread_sigmask(SIG_BLOCK, &blocked, nullptr);
    return sys::UniqueFd(::signalfd(-1, &ends, SFD_CLOEXEC));
}

void prepare_process() {
    ::prctl(PR_SET_DUMPABLE, 0); // what it supervises is not to look into it
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
    files.rlim_cur = files.rlim_max; // each container takes some
    ::setrlimit(RLIMIT_NOFILE, &files);
}

int serve(const Context& context, const std::string& path, const sys::UniqueFd& signals) {
    auto rulebook = Rulebook::open(context);
    if (!rulebook) return context.fail(rulebook.error());
    process::RunningKernel kernel;
    process::AgentDependencies dependencies{
        .rules = [&](const process::OciState& state) { return rulebook->rules_of(state); },
        .report = [&](const process::Notice& notice) { say(context, notice); },
        .kernel = kernel};
    auto socket = sys::listen_unix(path, socket_mode, backlog);
    if (!socket) return context.fail(socket.error());
    auto agent = process::Agent::create(std::move(*socket), std::move(dependencies));
    if (!agent) return context.fail(agent.error());
    context.text("listening on " + path);
    context.object({{"listening", path}});
    std::fflush(stdout);
    sd_notify(0, "READY=1");
    const auto ended = agent->run(signals.get());
    sd_notify(0, "STOPPING=1");
    ::unlink(path.c_str());
    const int code = ended ? exit_done : context.fail(ended.error());
    if (!agent->stop(agent_timeout)) { // a load that does not end, or a container that has it wait for a file
        rulebook->flush();
        std::_Exit(code);
    }
    return code;
}

} // namespace

int run_oci_agent(const Context& context) {
    if (const auto checked = check_options(context); !checked) return context.fail(checked.error());
    if (const auto proc = process::check_proc(); !proc) return context.fail(proc.error());
    prepare_process();
    sys::give_back_freed_memory();
    modules::keep_kmod_silent();
    const sys::UniqueFd signals = take_signals();
    if (!signals) return context.fail(sys::system_error("cannot receive", "signals"));
    return serve(context, *context.option("socket"), signals);
}

} // namespace kmodguard::ctl
