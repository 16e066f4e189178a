// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/verbs.hpp"

#include "core/alias_reach.hpp"
#include "core/denial.hpp"
#include "core/names.hpp"
#include "daemon/loaded.hpp"
#include "enforce/autoload/plan.hpp"
#include "installation.hpp"
#include "protocol/decision_fields.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <iterator>

namespace kmodguard::daemon {
namespace {

using protocol::Answer;
using protocol::Outcome;

/// The longest that audit or enforce mode can be asked for a limited time: a week.
constexpr long longest_limited_mode = 7L * 24 * 3600;

Answer ok(std::string text = "") {
    return {.fields = {}, .outcome = Outcome::ok, .text = std::move(text)};
}

Answer answer_of(const sys::Result<void>& result, std::string text) {
    return result ? ok(std::move(text)) : protocol::error_answer(result.error());
}

void set_outcome(Answer& answer, const core::Decision& decision) {
    answer.outcome = decision.effective() == core::Verdict::allow ? Outcome::ok : Outcome::deny;
    answer.text = explain(decision);
}

Response autoload_request(Engine& engine, const std::string& token) {
    const core::Decision& decision = engine.decide_to_load(token);
    engine.count(decision);
    Response response{.answer = {}, .event = std::nullopt, .last = true};
    if (engine.index() != nullptr) response.answer.fields = autoload::plan_of(decision, *engine.index());
    response.answer.outcome = decision.effective() == core::Verdict::allow ? Outcome::ok : Outcome::deny;
    if (encode(response.answer).size() > protocol::max_plan)
        response.answer =
            protocol::error_answer({sys::ErrorKind::failed, "the plan is too long for the hook"});
    response.event = events::Attempt(core::Point::autoload, engine.generation(), decision);
    response.lasting_refusal = decision.effective() == core::Verdict::refuse && engine.is_lasting(decision);
    return response;
}

/// What whoever asks about the policy in force has to know: that the files say something else by now.
void add_newer_files(Answer& answer, const Engine& engine) {
    for (const std::string& file : engine.newer_files())
        answer.fields.push_back({"policy-newer", file});
}

Response check(Engine& engine, const std::string& token) {
    engine.refresh_index(); // of what the kernel does not load, only a request would take notice
    const core::Decision decision = engine.decide_for_people(token);
    Response response;
    response.answer.fields = {{"verdict", std::string(to_string(decision.effective()))},
                              {"reason", std::string(to_string(decision.reason))}};
    if (decision.effective() == core::Verdict::refuse && !decision.blocks())
        response.answer.fields.push_back({"blocked", "no"});
    add_newer_files(response.answer, engine);
    set_outcome(response.answer, decision);
    return response;
}

Response explain_token(Engine& engine, const std::string& token) {
    engine.refresh_index(); // of what the kernel does not load, only a request would take notice
    const core::Decision decision = engine.decide_for_people(token);
    Response response;
    add_newer_files(response.answer, engine);
    std::ranges::move(protocol::fields_of(decision), std::back_inserter(response.answer.fields));
    set_outcome(response.answer, decision);
    return response;
}

Response allow(Engine& engine, const std::string& module) {
    const auto allowed = engine.allow(module);
    const std::string name = core::module_name_of(module).value_or("");
    std::string text = fmt::format("{} is allowed until the daemon restarts", name);
    if (engine.index() != nullptr && engine.index()->find(name) == nullptr)
        text += "; this kernel has no such module";
    return {.answer = answer_of(allowed, std::move(text))};
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

std::string said_of_denial(Engine& engine, const std::string& name) {
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

/// Whoever keeps something out has to know that it is in the kernel already.
void add_what_stays(Answer& answer, Engine& engine, const std::string& name) {
    for (std::string& warning : what_stays(engine, modules_called(engine, name)))
        answer.fields.push_back({"warning", std::move(warning)});
}

Response deny(Engine& engine, const std::string& name) {
    if (const auto denied = engine.deny(name); !denied)
        return {.answer = protocol::error_answer(denied.error())};
    Answer answer = ok(said_of_denial(engine, name));
    add_what_stays(answer, engine, name);
    return {.answer = std::move(answer)};
}

Response remove(Engine& engine, const std::string& name) {
    if (const auto removed = engine.remove(name); !removed)
        return {.answer = protocol::error_answer(removed.error())};
    Answer answer = ok(fmt::format("{} is off the lists until the daemon restarts", name));
    add_what_stays(answer, engine, name);
    return {.answer = std::move(answer)};
}

/// What is odd about a policy that is in force, and what it asks for and this machine does not do, is said to
/// whoever has put it in force.
void add_warnings(Answer& answer, const Engine& engine) {
    if (answer.outcome != Outcome::ok) return;
    for (const std::string& warning : engine.policy_warnings())
        answer.fields.push_back({"warning", warning});
    if (const std::string lacks = engine.shortfall(); !lacks.empty())
        answer.fields.push_back({"warning", lacks});
}

Response apply(Engine& engine, const std::string&) {
    const auto changed = engine.apply();
    if (!changed) return {.answer = protocol::error_answer(changed.error())};
    Answer answer = ok(changed->empty() ? "nothing to save" : "saved");
    for (const std::string& file : *changed)
        answer.fields.push_back({"changed", file});
    add_warnings(answer, engine);
    return {.answer = std::move(answer)};
}

/// "enforce", "audit", or with seconds after which the former mode returns: "audit 1800".
Response mode(Engine& engine, const std::string& argument) {
    const std::size_t blank = argument.find(' ');
    const auto wanted = core::mode_from(argument.substr(0, blank));
    long seconds = 0;
    if (blank != std::string::npos) {
        const char* end = argument.data() + argument.size();
        const auto parsed = std::from_chars(argument.data() + blank + 1, end, seconds);
        if (parsed.ec != std::errc{} || parsed.ptr != end || seconds < 1) seconds = -1;
    }
    if (!wanted || seconds < 0 || seconds > longest_limited_mode)
        return {.answer = protocol::error_answer(
                    {sys::ErrorKind::invalid, "MODE takes enforce or audit, and up to 604800 seconds"})};
    if (engine.mode_is_forced())
        return {.answer = protocol::error_answer(
                    {sys::ErrorKind::failed, "the mode is set on the kernel's command line (kmodguard.mode)",
                     "boot without it"})};
    const auto until =
        seconds == 0 ? std::nullopt : std::optional(Engine::Clock::now() + std::chrono::seconds(seconds));
    return {.answer = answer_of(engine.set_mode(*wanted, until),
                                fmt::format("the mode is {}", argument.substr(0, blank)))};
}

Response reload(Engine& engine, const std::string& argument) {
    if (!argument.empty() && argument != "discard")
        return {.answer = protocol::error_answer(
                    {sys::ErrorKind::invalid, "RELOAD takes nothing, or \"discard\""})};
    engine.refresh_index();
    const auto reloaded = engine.reload(argument == "discard");
    Answer answer = answer_of(reloaded, fmt::format("generation {}", engine.generation()));
    add_warnings(answer, engine);
    return {.answer = std::move(answer)};
}

Response status(Engine& engine, const std::string&) {
    const core::PolicySource& source = engine.policy().source();
    Answer answer = ok();
    auto add = [&answer](std::string key, std::string value) {
        answer.fields.push_back({std::move(key), std::move(value)});
    };
    add("version", installation::version);
    add("kernel", engine.kernel_release());
    add("generation", std::to_string(engine.generation()));
    add("policy-valid", engine.has_policy() ? "yes" : "no");
    add("mode", std::string(to_string(source.mode)));
    if (const auto wanted = engine.wanted()) {
        add("wanted-mode", std::string(to_string(wanted->mode)));
        add("wanted-problem", wanted->why.what);
    }
    if (engine.mode_is_forced()) add("mode-forced", "kmodguard.mode on the kernel's command line");
    if (const auto until = engine.limited_until())
        add("mode-seconds-left",
            std::to_string(std::chrono::ceil<std::chrono::seconds>(*until - Engine::Clock::now()).count()));
    for (const std::string& file : source.files)
        add("policy", file);
    if (!engine.policy_error().empty()) add("policy-error", engine.policy_error());
    add_newer_files(answer, engine);
    for (const std::string& warning : engine.policy_warnings())
        add("policy-warning", warning);
    if (!engine.index_error().empty()) add("index-error", engine.index_error());
    add("allowed-modules", std::to_string(source.allow_modules.size()));
    add("allowed-aliases", std::to_string(source.allow_aliases.size()));
    add("denied", std::to_string(source.deny_modules.size() + source.deny_aliases.size()));
    add("unsaved-changes", std::to_string(engine.changes().count()));
    add("allowed", std::to_string(engine.counts().allowed));
    add("refused", std::to_string(engine.counts().refused));
    add("audited", std::to_string(engine.counts().audited));
    return {.answer = std::move(answer)};
}

void add_entries(Answer& answer, const core::Policy& policy, core::RuleKind kind,
                 const std::vector<core::PolicySource::Entry>& entries) {
    for (const auto& entry : entries) {
        const core::Rule rule = policy.rule(kind, entry.text, entry.origin);
        answer.fields.push_back({std::string(to_string(kind)), rule.text});
        answer.fields.push_back({"origin", rule.line == 0 ? "" : fmt::format("{}:{}", rule.file, rule.line)});
    }
}

Response loaded(Engine& engine, const std::string&) {
    engine.refresh_index();
    const auto found = loaded_and_not_admitted(engine);
    if (!found) return {.answer = protocol::error_answer(found.error())};
    Answer answer = ok();
    answer.fields = protocol::fields_of(*found);
    return {.answer = std::move(answer)};
}

Response list(Engine& engine, const std::string&) {
    const core::PolicySource& source = engine.policy().source();
    Answer answer = ok();
    add_newer_files(answer, engine);
    add_entries(answer, engine.policy(), core::RuleKind::allow_module, source.allow_modules);
    add_entries(answer, engine.policy(), core::RuleKind::allow_alias, source.allow_aliases);
    add_entries(answer, engine.policy(), core::RuleKind::deny_module, source.deny_modules);
    add_entries(answer, engine.policy(), core::RuleKind::deny_alias, source.deny_aliases);
    return {.answer = std::move(answer)};
}

/// What kmodctl does to the guard by itself, for the record: "arm", "disarm WHY IT FAILED".
Response record(Engine& engine, const std::string& argument) {
    using events::Action;
    static constexpr std::array recorded = {Action::arm, Action::disarm, Action::stop, Action::seal};
    const std::size_t blank = argument.find(' ');
    const auto action = events::action_from(argument.substr(0, blank));
    if (!action || std::ranges::find(recorded, *action) == recorded.end())
        return {.answer = protocol::error_answer(
                    {sys::ErrorKind::invalid, "RECORD takes arm, disarm, stop or seal, and why it failed"})};
    Response response{.answer = ok()};
    response.change = events::Change(*action, engine.generation());
    if (blank != std::string::npos) response.change->error = argument.substr(blank + 1);
    return response;
}

enum class Takes { nothing, maybe_an_argument, an_argument };

struct Verb {
    std::string_view name;
    Takes takes = Takes::nothing;
    Response (*run)(Engine&, const std::string&) = nullptr;
    std::optional<events::Action> action = std::nullopt; ///< it is one that changes the guard
};

constexpr std::array<Verb, 13> verbs = {{
    {"AUTOLOAD", Takes::an_argument, autoload_request},
    {"CHECK", Takes::an_argument, check},
    {"EXPLAIN", Takes::an_argument, explain_token},
    {"ALLOW", Takes::an_argument, allow, events::Action::allow},
    {"DENY", Takes::an_argument, deny, events::Action::deny},
    {"REMOVE", Takes::an_argument, remove, events::Action::remove},
    {"APPLY", Takes::nothing, apply, events::Action::apply},
    {"MODE", Takes::an_argument, mode, events::Action::mode},
    {"RELOAD", Takes::maybe_an_argument, reload, events::Action::reload},
    {"RECORD", Takes::an_argument, record},
    {"STATUS", Takes::nothing, status},
    {"LOADED", Takes::nothing, loaded},
    {"LIST", Takes::nothing, list},
}};

} // namespace

Response respond(Engine& engine, const protocol::Request& request) {
    const auto verb = std::ranges::find(verbs, request.verb, &Verb::name);
    if (verb == verbs.end())
        return {.answer = protocol::error_answer({sys::ErrorKind::invalid, "unknown verb " + request.verb})};
    if (verb->takes == (request.argument.empty() ? Takes::an_argument : Takes::nothing))
        return {.answer = protocol::error_answer(
                    {sys::ErrorKind::invalid, fmt::format("{} takes {} argument", verb->name,
                                                          request.argument.empty() ? "an" : "no")})};
    Response response = verb->run(engine, request.argument);
    if (verb->action) {
        response.change = events::Change(*verb->action, engine.generation());
        response.change->argument = request.argument;
        if (response.answer.outcome == Outcome::error)
            response.change->error = protocol::error_of(response.answer).what;
    }
    return response;
}

} // namespace kmodguard::daemon
