// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/verbs.hpp"

#include "core/alias_reach.hpp"
#include "core/denial.hpp"
#include "core/names.hpp"
#include "daemon/loaded.hpp"
#include "enforce/autoload/plan.hpp"
#include "installation.hpp"
#include "protocol/answers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>

namespace kmodguard::daemon {
namespace {

using protocol::Answer;
using protocol::Outcome;

/// For how long audit or enforce mode can be asked for at most: a week.
constexpr long max_limited_mode = 7L * 24 * 3600;

/// A request, and what comes of it besides its answer.
struct Call {
    Engine& engine;
    const std::string& argument;
    const StatusSources& sources;
    Response& response;
};
using Answered = sys::Result<Answer>; ///< an error becomes an ERR answer

Answer ok(std::string text = "") {
    return {.fields = {}, .outcome = Outcome::ok, .text = std::move(text)};
}

void set_outcome(Answer& answer, const core::Decision& decision) {
    answer.outcome = decision.effective() == core::Verdict::allow ? Outcome::ok : Outcome::deny;
    answer.text = explain(decision);
}

Answered autoload_request(Call call) {
    Engine& engine = call.engine;
    const core::Decision& decision = engine.decide_to_load(call.argument);
    engine.count(decision);
    Answer answer;
    if (engine.index() != nullptr) answer.fields = autoload::plan_of(decision, *engine.index());
    answer.outcome = decision.effective() == core::Verdict::allow ? Outcome::ok : Outcome::deny;
    if (encode(answer).size() > protocol::max_plan)
        answer = protocol::error_answer({sys::ErrorKind::failed, "the plan is too long for the hook"});
    Response& response = call.response;
    response.event = events::Attempt(core::Point::autoload, engine.generation(), decision);
    response.lasting_refusal = decision.effective() == core::Verdict::refuse && engine.is_lasting(decision);
    return answer;
}

/// Who asks about the policy in force has to know that the files say something else by now.
void add_newer_files(Answer& answer, const Engine& engine) {
    for (const std::string& file : engine.newer_files())
        answer.fields.push_back({std::string(protocol::newer_file_key), file});
}

Answered check(Call call) {
    call.engine.refresh_index(); // of what the kernel does not load, only a request would take notice
    const core::Decision decision = call.engine.decide_for_people(call.argument);
    Answer answer = ok();
    answer.fields = {{"verdict", std::string(to_string(decision.effective()))},
                     {"reason", std::string(to_string(decision.reason))}};
    if (decision.effective() == core::Verdict::refuse && !decision.blocks())
        answer.fields.push_back({"blocked", "no"});
    add_newer_files(answer, call.engine);
    set_outcome(answer, decision);
    return answer;
}

Answered explain_token(Call call) {
    call.engine.refresh_index(); // as above
    const core::Decision decision = call.engine.decide_for_people(call.argument);
    Answer answer = ok();
    add_newer_files(answer, call.engine);
    std::ranges::move(protocol::fields_of(decision), std::back_inserter(answer.fields));
    set_outcome(answer, decision);
    return answer;
}

Answered allow(Call call) {
    TRY(call.engine.allow(call.argument));
    const std::string name = core::module_name_of(call.argument).value_or("");
    const bool known = call.engine.index() == nullptr || call.engine.index()->find(name) != nullptr;
    return ok(fmt::format("{} is allowed until the daemon restarts{}", name,
                          known ? "" : "; this kernel has no such module"));
}

/// Which modules an alias that was denied now is an alias of, and whether they are denied with it: one whose
/// own alias is a wider pattern is not.
std::string effect_of_denial(Engine& engine, const std::string& alias) {
    core::ModuleIndex& index = engine.index_or_none();
    const core::AliasReach reach(index);
    const auto modules = reach.modules(alias);
    if (modules.empty())
        return reach.is_complete() ? "nothing on this kernel has that name"
                                   : "whether anything has that name is not known";
    std::vector<std::string> spared;
    std::ranges::copy_if(modules, std::back_inserter(spared), [&](const std::string& module) {
        return !core::denial_of(engine.policy(), index, module);
    });
    if (spared.size() == 1)
        return fmt::format("{0} answers to it, and can still load by another name: kmodctl deny {0}",
                           spared.front());
    if (!spared.empty())
        return fmt::format("{} of the {} modules that answer to it can still load by another name",
                           spared.size(), modules.size());
    if (modules.size() == 1) return fmt::format("{} has it, and is denied with it", *modules.begin());
    return fmt::format("{} modules have it, and are denied with it", modules.size());
}

std::string describe_denial(Engine& engine, const std::string& name) {
    const auto module = core::module_name_of(name);
    if (module && engine.index_or_none().find(*module) != nullptr)
        return fmt::format("{} is denied until the daemon restarts", *module);
    return fmt::format("{} is denied as an alias until the daemon restarts; {}", core::printable(name),
                       effect_of_denial(engine, name));
}

/// The modules that a change of `name` on the lists is about.
std::set<std::string> modules_called(Engine& engine, const std::string& name) {
    const auto module = core::module_name_of(name);
    if (module && engine.index_or_none().find(*module) != nullptr) return {*module};
    return core::AliasReach(engine.index_or_none()).modules(name);
}

/// Who keeps something out has to know that it is in the kernel already.
void add_what_stays(Answer& answer, Engine& engine, const std::string& name) {
    for (std::string& warning : what_stays(engine, modules_called(engine, name)))
        answer.fields.push_back({"warning", std::move(warning)});
}

Answered deny(Call call) {
    TRY(call.engine.deny(call.argument));
    Answer answer = ok(describe_denial(call.engine, call.argument));
    add_what_stays(answer, call.engine, call.argument);
    return answer;
}

Answered remove(Call call) {
    TRY(call.engine.remove(call.argument));
    Answer answer = ok(fmt::format("{} is off the lists until the daemon restarts", call.argument));
    add_what_stays(answer, call.engine, call.argument);
    return answer;
}

/// What is odd about the policy in force, and what it asks for and this machine does not do: for who has put
/// it in force.
void add_warnings(Answer& answer, const Engine& engine) {
    for (const std::string& warning : engine.policy_warnings())
        answer.fields.push_back({"warning", warning});
    if (const std::string lacks = engine.why_not_enforced(); !lacks.empty())
        answer.fields.push_back({"warning", lacks});
}

Answered apply(Call call) {
    const auto changed = TRY(call.engine.apply());
    Answer answer = ok(changed.empty() ? "nothing to save" : "saved");
    for (const std::string& file : changed)
        answer.fields.push_back({"changed", file});
    add_warnings(answer, call.engine);
    return answer;
}

/// "enforce", "audit", or with seconds after which the former mode returns: "audit 1800".
Answered mode(Call call) {
    const std::string& argument = call.argument;
    const std::size_t blank = argument.find(' ');
    const std::string word = argument.substr(0, blank);
    const auto wanted = core::mode_from(word);
    long seconds = 0;
    if (blank != std::string::npos) {
        const char* end = argument.data() + argument.size();
        const auto parsed = std::from_chars(argument.data() + blank + 1, end, seconds);
        if (parsed.ec != std::errc{} || parsed.ptr != end || seconds < 1) seconds = -1;
    }
    if (!wanted || seconds < 0 || seconds > max_limited_mode)
        return sys::failure(sys::ErrorKind::invalid, "MODE takes enforce or audit, and up to 604800 seconds");
    if (call.engine.mode_is_forced())
        return sys::failure(sys::ErrorKind::failed,
                            "the mode is set on the kernel's command line (kmodguard.mode)",
                            "boot without it");
    TRY(call.engine.set_mode(
        *wanted,
        seconds == 0 ? std::nullopt : std::optional(Engine::Clock::now() + std::chrono::seconds(seconds))));
    return ok(fmt::format("the mode is {}", word));
}

Answered reload(Call call) {
    const bool discard = call.argument == "discard";
    if (!call.argument.empty() && !discard)
        return sys::failure(sys::ErrorKind::invalid, "RELOAD takes nothing, or \"discard\"");
    call.engine.refresh_index();
    TRY(call.engine.reload(discard));
    Answer answer = ok(fmt::format("generation {}", call.engine.generation()));
    add_warnings(answer, call.engine);
    return answer;
}

protocol::DaemonStatus status_of(Engine& engine) {
    const core::PolicySource& source = engine.policy().source();
    protocol::DaemonStatus status{
        .version = installation::version,
        .kernel = engine.kernel_release(),
        .generation = engine.generation(),
        .policy_valid = engine.has_policy(),
        .mode = source.mode,
        .policy_files = source.files,
        .newer_files = engine.newer_files(),
        .policy_warnings = engine.policy_warnings(),
        .allowed_modules = source.allow_modules.size(),
        .allowed_aliases = source.allow_aliases.size(),
        .denied = source.deny_modules.size() + source.deny_aliases.size(),
        .user_namespaces = source.user_namespaces,
        .unsaved_changes = engine.changes().count(),
        .allowed = engine.counts().allowed,
        .refused = engine.counts().refused,
        .audited = engine.counts().audited,
    };
    if (const auto wanted = engine.wanted()) {
        status.wanted_mode = wanted->mode;
        status.wanted_problem = wanted->why.what;
    }
    if (engine.mode_is_forced()) status.mode_forced = "kmodguard.mode on the kernel's command line";
    if (const auto until = engine.limited_until()) {
        const auto left = std::chrono::ceil<std::chrono::seconds>(*until - Engine::Clock::now());
        status.mode_seconds_left = static_cast<std::uint64_t>(std::max(left.count(), 0L));
    }
    if (!engine.policy_error().empty()) status.policy_error = engine.policy_error();
    if (!engine.index_error().empty()) status.index_error = engine.index_error();
    return status;
}

Answered status(Call call) {
    protocol::DaemonStatus status = status_of(call.engine);
    if (call.sources.events_lost) status.events_lost = call.sources.events_lost();
    Answer answer = ok();
    answer.fields = protocol::fields_of(status);
    if (call.sources.kernel_point)
        std::ranges::move(fields_of(call.sources.kernel_point()), std::back_inserter(answer.fields));
    return answer;
}

Answered loaded(Call call) {
    call.engine.refresh_index();
    Answer answer = ok();
    answer.fields = protocol::fields_of(TRY(loaded_and_not_admitted(call.engine)));
    return answer;
}

Answered list(Call call) {
    Answer answer = ok();
    add_newer_files(answer, call.engine);
    std::ranges::move(protocol::fields_of(protocol::listed_rules(call.engine.policy())),
                      std::back_inserter(answer.fields));
    return answer;
}

/// What kmodctl does to the guard by itself, for the record: "arm", "disarm WHY IT FAILED".
Answered record(Call call) {
    using events::Action;
    static constexpr std::array recorded = {Action::arm, Action::disarm, Action::stop, Action::seal};
    const std::size_t blank = call.argument.find(' ');
    const auto action = events::action_from(call.argument.substr(0, blank));
    if (!action || std::ranges::find(recorded, *action) == recorded.end())
        return sys::failure(sys::ErrorKind::invalid,
                            "RECORD takes arm, disarm, stop or seal, and why it failed");
    call.response.change = events::Change(*action, call.engine.generation());
    if (blank != std::string::npos) call.response.change->error = call.argument.substr(blank + 1);
    return ok();
}

enum class Takes { nothing, maybe_an_argument, an_argument };

struct Verb {
    std::string_view name;
    Takes takes = Takes::nothing;
    Answered (*run)(Call) = nullptr;
    std::optional<events::Action> change = std::nullopt; ///< what it does to the guard, for the record
};

constexpr std::array verbs = std::to_array<Verb>({
    {.name = "AUTOLOAD", .takes = Takes::an_argument, .run = autoload_request},
    {.name = "CHECK", .takes = Takes::an_argument, .run = check},
    {.name = "EXPLAIN", .takes = Takes::an_argument, .run = explain_token},
    {.name = "ALLOW", .takes = Takes::an_argument, .run = allow, .change = events::Action::allow},
    {.name = "DENY", .takes = Takes::an_argument, .run = deny, .change = events::Action::deny},
    {.name = "REMOVE", .takes = Takes::an_argument, .run = remove, .change = events::Action::remove},
    {.name = "APPLY", .run = apply, .change = events::Action::apply},
    {.name = "MODE", .takes = Takes::an_argument, .run = mode, .change = events::Action::mode},
    {.name = "RELOAD", .takes = Takes::maybe_an_argument, .run = reload, .change = events::Action::reload},
    {.name = "RECORD", .takes = Takes::an_argument, .run = record},
    {.name = "STATUS", .run = status},
    {.name = "LOADED", .run = loaded},
    {.name = "LIST", .run = list},
});

Answered run(const Verb& verb, const Call& call) {
    if (verb.takes == (call.argument.empty() ? Takes::an_argument : Takes::nothing))
        return sys::failure(sys::ErrorKind::invalid, fmt::format("{} takes {} argument", verb.name,
                                                                 call.argument.empty() ? "an" : "no"));
    auto answer = verb.run(call);
    if (verb.change) {
        call.response.change = events::Change(*verb.change, call.engine.generation());
        call.response.change->argument = call.argument;
        if (!answer) call.response.change->error = answer.error().what;
    }
    return answer;
}

} // namespace

Response respond(Engine& engine, const protocol::Request& request, const StatusSources& sources) {
    Response response;
    const auto verb = std::ranges::find(verbs, request.verb, &Verb::name);
    auto answer = verb != verbs.end() ? run(*verb, {engine, request.argument, sources, response})
                                      : sys::failure(sys::ErrorKind::invalid, "unknown verb " + request.verb);
    response.answer = answer ? std::move(*answer) : protocol::error_answer(answer.error());
    return response;
}

} // namespace kmodguard::daemon
