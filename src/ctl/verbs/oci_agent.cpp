// SPDX-License-Identifier: AGPL-3.0-only
//
// Decides on the module loads of containers, whose runtimes hand them over (docs/containers.md). Which policy
// a container is under may be named by its creator; what is in these policies is the administrator's. A
// name that means nothing, like a policy that cannot be read, refuses that container everything.
#include "core/names.hpp"
#include "ctl/decide.hpp"
#include "ctl/point_verbs.hpp"
#include "ctl/verbs.hpp"
#include "enforce/process/agent.hpp"
#include "enforce/process/caller.hpp"
#include "enforce/process/lender.hpp"
#include "events/event_json.hpp"
#include "modules/kmod_context.hpp"
#include "sys/process.hpp"
#include "sys/unix_socket.hpp"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

namespace kmodguard::ctl {
namespace {

constexpr mode_t socket_mode = 0600;
constexpr int backlog = 128;
constexpr std::chrono::seconds agent_timeout{5}; ///< at the end, with calls that are being answered

/// On standard error, in one piece: many threads write.
void log(const Context& context, const process::AgentReport& notice) {
    const std::string who = notice.container.empty() ? "" : fmt::format("container {} ", notice.container);
    std::string line = fmt::format("kmodctl oci-agent: {}{}", who, notice.text);
    if (context.json)
        line = events::Json(
                   events::Json::Object{{"time", events::Timestamp(std::chrono::system_clock::now()).text()},
                                        {"notice", notice.text},
                                        {"container", notice.container},
                                        {"refused", notice.refused}})
                   .line();
    line += "\n";
    [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

/// What containers are judged by, and where their events go. Used by many threads at once.
class ContainerPolicies {
  public:
    static sys::Result<ContainerPolicies> open(const Context& context, const OciAgentOptions& options) {
        auto loud = TRY(open_sinks(context, options.log_dir, options.quiet));
        auto quiet = TRY(open_sinks(context, options.log_dir, true));
        return ContainerPolicies(context, options, std::move(loud), std::move(quiet));
    }

    process::ContainerJudge judge_of(const process::OciState& state) {
        auto loaded = policy_of(state);
        if (!loaded) return nothing_allowed(state, loaded.error());
        for (const config::Diagnostic& warning : loaded->warnings)
            log(context_, {.container = state.id, .text = config::render(warning)});
        core::PolicySource policy = std::move(loaded->source);
        const bool serves = policy.user_namespaces;
        if (const auto may = process::may_lend(); serves && !may)
            log(context_,
                {.container = state.id, .text = "is not served in a user namespace: " + may.error().why});
        const bool quiet = options_.quiet || policy.quiet;
        const std::string name = policy.files.empty() ? "" : policy.files.front();
        auto judge = make_judge(context_.paths, options_, std::move(policy));
        if (!judge) return nothing_allowed(state, judge.error());
        if (!quiet)
            log(context_, {.container = state.id,
                           .text = fmt::format("is under the policy {}{}", name,
                                               serves ? ", which serves its user namespace" : "")});
        return {.judge = std::move(*judge), .recorder = quiet ? quiet_.get() : loud_.get()};
    }

    void flush() {
        loud_->flush();
        quiet_->flush();
    }

  private:
    ContainerPolicies(const Context& context, const OciAgentOptions& options, Sinks loud, Sinks quiet)
        : context_(context), options_(options),
          loud_(std::make_unique<events::Recorder>(std::move(loud), recorder_capacity)),
          quiet_(std::make_unique<events::Recorder>(std::move(quiet), recorder_capacity)) {}

    [[nodiscard]] sys::Result<config::LoadedPolicy> policy_of(const process::OciState& state) const {
        const File file = state.policy ? File(TRY(file_of(*state.policy))) : options_.policy;
        return read_policy(context_.paths, file);
    }

    /// The file that the annotation names. It names no path, whatever is in it.
    [[nodiscard]] sys::Result<std::string> file_of(const std::string& name) const {
        const File& given = options_.policies;
        const std::filesystem::path usual = "etc/kmodguard/containers";
        const auto path_of = [&](const std::string& file) {
            return given ? std::filesystem::path(*given) / file
                         : context_.paths.below((usual / file).native());
        };
        if (!process::is_policy_name(name))
            return sys::failure(sys::ErrorKind::invalid,
                                fmt::format("{} is \"{}\", which is no policy's name",
                                            process::policy_annotation, core::printable(name, 64)),
                                "a name has letters, digits, \"_\", \".\" and \"-\", and no path");
        for (const char* form : {".toml", ".yaml"}) {
            const std::filesystem::path file = path_of(name + form);
            std::error_code ignored;
            if (std::filesystem::exists(file, ignored)) return file.native();
        }
        return sys::failure(sys::ErrorKind::not_found,
                            fmt::format("{} names \"{}\", and there is no {}.toml or .yaml",
                                        process::policy_annotation, name, path_of(name).native()));
    }

    /// Its attempts are recorded, and its callers get EPERM even where others get a pretended
    /// success: this is a mistake, which an administrator has to see.
    process::ContainerJudge nothing_allowed(const process::OciState& state, const sys::Error& why) {
        log(context_, {.refused = true,
                       .container = state.id,
                       .text = "has no policy, everything is refused: " + why.what});
        core::PolicySource none;
        none.valid = false;
        return {.judge = std::make_unique<core::Judge>(core::Policy(std::move(none)), nullptr,
                                                       core::CallerAnswer::refuse),
                .recorder = loud_.get()};
    }

    const Context& context_;
    const OciAgentOptions& options_;
    std::unique_ptr<events::Recorder> loud_;
    std::unique_ptr<events::Recorder> quiet_; ///< no journal, no standard error
};

/// What can be found wrong before the first container is there. An error is one that no container could do
/// with.
sys::Result<void> check_options(const Context& context, const OciAgentOptions& options) {
    if (!options.socket)
        return sys::failure(sys::ErrorKind::invalid, "no socket to listen on",
                            "give one with --socket /run/kmodguard/oci-agent.sock");
    const auto warn = [&](std::string text) { log(context, {.text = std::move(text)}); };
    const auto index = modules::KmodIndex::open(context.paths, chosen_kernel(options.kernel));
    if (!index && options.kernel) return std::unexpected(index.error());
    if (!index) warn("only what a policy lists by name is allowed: " + index.error().what);
    const auto policy = read_policy(context.paths, options.policy);
    if (policy) return {};
    if (options.policy) return std::unexpected(policy.error());
    warn("containers that name no policy are refused everything: " + policy.error().what);
    return {};
}

void prepare_process() {
    ::prctl(PR_SET_DUMPABLE, 0); // what it supervises is not to look into it
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
    files.rlim_cur = files.rlim_max; // each container takes some
    ::setrlimit(RLIMIT_NOFILE, &files);
}

sys::Result<int> serve(const Context& context, const OciAgentOptions& options, const Signals& signals) {
    const std::string& path = *options.socket;
    auto policies = TRY(ContainerPolicies::open(context, options));
    process::RunningKernel kernel;
    process::AgentDependencies dependencies{
        .judge_of = [&](const process::OciState& state) { return policies.judge_of(state); },
        .report = [&](const process::AgentReport& notice) { log(context, notice); },
        .kernel = kernel};
    auto socket = TRY(sys::listen_unix(path, socket_mode, backlog));
    auto agent = TRY(process::Agent::create(std::move(socket), std::move(dependencies)));
    context.text("listening on " + path);
    context.object({{"listening", path}});
    std::fflush(stdout);
    sd_notify(0, "READY=1");
    const auto ended = agent.run(signals.fd.get());
    sd_notify(0, "STOPPING=1");
    ::unlink(path.c_str());
    const int code = ended ? exit_done : context.fail(ended.error());
    if (!agent.stop(agent_timeout)) { // a load that does not end, or a container that has it wait for a file
        policies.flush();
        std::_Exit(code);
    }
    return code;
}

} // namespace

sys::Result<int> run_oci_agent(const Context& context, const OciAgentOptions& options) {
    TRY(check_options(context, options));
    TRY(process::check_proc());
    prepare_process();
    sys::give_back_freed_memory();
    modules::keep_kmod_silent();
    const Signals signals = receive_signals(std::array{SIGTERM, SIGINT, SIGHUP}); // each ends the agent
    if (!signals.fd) return sys::system_failure("cannot receive", "signals");
    return serve(context, options, signals);
}

} // namespace kmodguard::ctl
