// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/verbs.hpp"

#include "core/denial.hpp"
#include "core/module_index.hpp"
#include "core/names.hpp"
#include "enforce/autoload/plan.hpp"
#include "installation.hpp"
#include "protocol/answers.hpp"
#include "sys/number.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <iterator>

namespace kmodguard::daemon {
namespace {

using protocol::Answer;
using protocol::Outcome;

/// For how long audit or enforce mode can be asked for at most: a week.
constexpr long max_limited_mode = 7L * 24 * 3600;

/// A request, and what comes of it besides its answer.
struct RequestContext {
    Engine& engine;
    const std::string& argument;
    const StatusSources& sources;
    Response& response;
};
using Answered = sys::Result<Answer>; ///< an error becomes an ERR answer

Answer ok(std::string text = "") {
    return {.fields = {}, .outcome = Outcome::ok, .text = std::move(text)};
}

Answered plan_for(RequestContext call, Engine::Known known) {
    const core::Decision& decision = call.engine.decide_to_load(call.argument, known);
    const bool allowed = decision.effective() == core::Verdict::allow;
    call.response.event = events::Attempt(core::Point::autoload, call.engine.generation(), decision);
    call.response.lasting_refusal = !allowed && decision.is_lasting();
    autoload::Plan plan = autoload::plan_of(decision, call.engine.index(), call.engine.unpacked_images());
    Answer answer{
        .fields = std::move(plan.lines), .outcome = allowed ? Outcome::ok : Outcome::deny, .text = {}};
    if (encode(answer).size() > protocol::max_plan)
        return sys::failure(sys::ErrorKind::failed, "the plan is too long for the hook");
    call.response.images = std::move(plan.images);
    return answer;
}

Answered autoload_request(RequestContext call) {
    return plan_for(call, Engine::Known::as_judged);
}

/// The hook has found a file that is not the one that was judged, and loaded nothing of it.
Answered autoload_request_again(RequestContext call) {
    call.response.is_asked_again = true;
    auto answer = plan_for(call, Engine::Known::not_at_all);
    if (auto& event = call.response.event)
        event->note = "judged anew: a file had changed since it was judged";
    return answer;
}

void add(Answer& answer, std::string_view key, const std::vector<std::string>& values) {
    for (const std::string& value : values)
        answer.fields.push_back({std::string(key), value});
}

void add(Answer& answer, std::vector<protocol::Field> fields) {
    std::ranges::move(fields, std::back_inserter(answer.fields));
}

/// Who asks about the policy in force has to know that the files say something else by now.
void add_newer_files(Answer& answer, const Engine& engine) {
    add(answer, protocol::newer_file_key, engine.status().newer_files);
}

/// Of what the kernel does not load, only a request would take notice that the index has changed.
core::Decision decide_for_people(RequestContext call) {
    call.engine.refresh_index();
    return call.engine.decide_for_people(call.argument);
}

Answer answer_of(const core::Decision& decision) {
    return {.fields = {},
            .outcome = decision.effective() == core::Verdict::allow ? Outcome::ok : Outcome::deny,
            .text = explain(decision)};
}

Answered check(RequestContext call) {
    const core::Decision decision = decide_for_people(call);
    Answer answer = answer_of(decision);
    answer.fields = {{"verdict", std::string(to_string(decision.effective()))},
                     {"reason", std::string(to_string(decision.reason))}};
    if (decision.effective() == core::Verdict::refuse && !decision.blocks())
        answer.fields.push_back({"blocked", "no"});
    add_newer_files(answer, call.engine);
    return answer;
}

Answered explain_token(RequestContext call) {
    const core::Decision decision = decide_for_people(call);
    Answer answer = answer_of(decision);
    add_newer_files(answer, call.engine);
    add(answer, protocol::fields_of(decision));
    return answer;
}

Answered allow(RequestContext call) {
    TRY(call.engine.allow(call.argument));
    const std::string name = core::module_name_of(call.argument).value_or("");
    const bool known = call.engine.status().index_error || call.engine.index().find(name) != nullptr;
    return ok(fmt::format("{} is allowed until the daemon restarts{}", name,
                          known ? "" : "; this kernel has no such module"));
}

/// Which modules an alias that was denied now is an alias of, and whether they are denied with it: one whose
/// own alias is a wider pattern is not.
std::string effect_of_denial(Engine& engine, const std::string& alias) {
    const core::AliasReach reach(engine.index());
    const auto modules = reach.modules(alias);
    if (modules.empty())
        return reach.is_complete() ? "nothing on this kernel has that name"
                                   : "whether anything has that name is not known";
    std::vector<std::string> spared;
    std::ranges::copy_if(modules, std::back_inserter(spared), [&](const std::string& module) {
        return !core::module_denial(engine.policy(), engine.index(), module);
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

/// The module that `name` is the name of, if this kernel has it; else `name` is an alias.
std::optional<std::string> module_called(Engine& engine, const std::string& name) {
    auto module = core::module_name_of(name);
    if (module && engine.index().find(*module) == nullptr) module.reset();
    return module;
}

/// Who keeps something out has to know what of it is in the kernel all the same: a warning each for what is
/// loaded and for what is built in.
void add_what_stays(Answer& answer, Engine& engine, const std::string& name) {
    const auto module = module_called(engine, name);
    const auto modules = module ? std::set{*module} : core::AliasReach(engine.index()).modules(name);
    std::vector<std::string> built_in;
    for (const std::string& one : modules)
        if (const auto* record = engine.index().find(one); record != nullptr && record->built_in)
            built_in.push_back(one);
    if (!built_in.empty())
        answer.fields.push_back({"warning", "built into the kernel, and not kept out by any policy: "
                                                + core::first_of(built_in)});
    auto loaded = engine.loaded_and_not_admitted();
    if (!loaded) return;
    std::erase_if(
        *loaded, [&modules](const core::ModuleDecision& judged) { return !modules.contains(judged.module); });
    if (!loaded->empty()) answer.fields.push_back({"warning", core::explain_loaded(*loaded)});
}

Answered deny(RequestContext call) {
    TRY(call.engine.deny(call.argument));
    const auto module = module_called(call.engine, call.argument);
    Answer answer = ok(module ? fmt::format("{} is denied until the daemon restarts", *module)
                              : fmt::format("{} is denied as an alias until the daemon restarts; {}",
                                            core::printable(call.argument),
                                            effect_of_denial(call.engine, call.argument)));
    add_what_stays(answer, call.engine, call.argument);
    return answer;
}

Answered remove(RequestContext call) {
    TRY(call.engine.remove(call.argument));
    Answer answer = ok(fmt::format("{} is off the lists until the daemon restarts", call.argument));
    add_what_stays(answer, call.engine, call.argument);
    return answer;
}

/// What is odd about the policy in force, and what it asks for and this machine does not do: for who has put
/// it in force.
void add_warnings(Answer& answer, const Engine& engine) {
    add(answer, "warning", engine.status().policy_warnings);
    if (const std::string lacks = engine.why_not_enforced(); !lacks.empty()) add(answer, "warning", {lacks});
}

Answered apply(RequestContext call) {
    const auto changed = TRY(call.engine.apply());
    Answer answer = ok(changed.empty() ? "nothing to save" : "saved");
    add(answer, "changed", changed);
    add_warnings(answer, call.engine);
    return answer;
}

/// "enforce", "audit", or with seconds after which the former mode returns: "audit 1800".
Answered mode(RequestContext call) {
    const std::string& argument = call.argument;
    const std::size_t blank = argument.find(' ');
    const std::string word = argument.substr(0, blank);
    const auto wanted = core::mode_from(word);
    std::optional<long> seconds;
    if (blank != std::string::npos) seconds = sys::number_in<long>(argument.substr(blank + 1)).value_or(0);
    if (!wanted || (seconds && (*seconds < 1 || *seconds > max_limited_mode)))
        return sys::failure(sys::ErrorKind::invalid, "MODE takes enforce or audit, and up to 604800 seconds");
    if (call.engine.status().mode_forced)
        return sys::failure(sys::ErrorKind::failed,
                            "the mode is set on the kernel's command line (kmodguard.mode)",
                            "boot without it");
    TRY(call.engine.set_mode(*wanted,
                             seconds ? std::optional(Engine::Clock::now() + std::chrono::seconds(*seconds))
                                     : std::nullopt));
    return ok(fmt::format("the mode is {}", word));
}

Answered reload(RequestContext call) {
    const bool discard = call.argument == "discard";
    if (!call.argument.empty() && !discard)
        return sys::failure(sys::ErrorKind::invalid, "RELOAD takes nothing, or \"discard\"");
    call.engine.refresh_index();
    TRY(call.engine.reload(discard));
    Answer answer = ok(fmt::format("generation {}", call.engine.generation()));
    add_warnings(answer, call.engine);
    return answer;
}

Answered status(RequestContext call) {
    protocol::DaemonStatus status = call.engine.status();
    if (call.sources.events_lost) status.events_lost = call.sources.events_lost();
    Answer answer = ok();
    answer.fields = protocol::fields_of(status);
    if (call.sources.kernel_point) add(answer, fields_of(call.sources.kernel_point()));
    return answer;
}

Answered loaded(RequestContext call) {
    call.engine.refresh_index();
    Answer answer = ok();
    answer.fields = protocol::fields_of(TRY(call.engine.loaded_and_not_admitted()));
    return answer;
}

Answered list(RequestContext call) {
    Answer answer = ok();
    add_newer_files(answer, call.engine);
    add(answer, protocol::fields_of(protocol::listed_rules(call.engine.policy())));
    return answer;
}

/// What kmodctl does to the guard by itself, for the record: "arm", "disarm WHY IT FAILED".
Answered record(RequestContext call) {
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
    Answered (*run)(RequestContext) = nullptr;
    std::optional<events::Action> change = std::nullopt; ///< what it does to the guard, for the record
};

constexpr std::array verbs = std::to_array<Verb>({
    {.name = "AUTOLOAD", .takes = Takes::an_argument, .run = autoload_request},
    {.name = "REJUDGE", .takes = Takes::an_argument, .run = autoload_request_again},
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

Answered run(const Verb& verb, const RequestContext& call) {
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
