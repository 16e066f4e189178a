// SPDX-License-Identifier: AGPL-3.0-only
#include "events/event_json.hpp"

#include <fmt/chrono.h>

namespace kmodguard::events {
namespace {

Json strings(const std::vector<std::string>& texts) {
    return Json::List(texts.begin(), texts.end());
}

Json json_of(const core::KeptOut& kept_out) {
    Json::Object object{{"by", to_string(kept_out.by)}, {"module", kept_out.module}};
    if (!kept_out.detail.empty()) object.emplace_back("detail", kept_out.detail);
    return object;
}

Json json_of(const core::RunCommand& command) {
    Json::Object object{{"module", command.module}, {"command", command.text}};
    if (!command.unknown.empty()) object.emplace_back("not_known", command.unknown);
    return object;
}

Json json_of(const core::ModuleDecision& module, const core::Decision& decision) {
    Json::Object object{{"module", module.module},
                        {"verdict", to_string(module.verdict())},
                        {"reason", to_string(module.reason)},
                        {"loads", decision.loads(module)},
                        {"will_load", decision.will_load(module)}};
    if (!module.file.empty()) object.emplace_back("file", module.file);
    if (module.built_in) object.emplace_back("built_in", true);
    if (module.kept_out) object.emplace_back("kept_out", json_of(*module.kept_out));
    if (module.rule) object.emplace_back("rule", events::json_of(*module.rule));
    if (!module.because_of.empty()) object.emplace_back("because_of", module.because_of);
    if (!module.detail.empty()) object.emplace_back("detail", module.detail);
    Json::List chain;
    for (const core::Step& step : module.chain) {
        Json::Object one{{"module", step.module}, {"required", step.required}};
        if (step.by_command) one.emplace_back("by_command", true);
        chain.emplace_back(std::move(one));
    }
    object.emplace_back("chain", std::move(chain));
    Json::List commands;
    for (const core::RunCommand& command : module.commands)
        commands.push_back(json_of(command));
    if (!module.commands.empty()) object.emplace_back("commands", std::move(commands));
    if (!module.omitted.empty()) object.emplace_back("omitted", strings(module.omitted));
    if (const auto& image = module.as_image) {
        Json::Object admitted{{"verdict", to_string(core::Verdict::allow)},
                              {"reason", to_string(image->reason)}};
        if (!image->because_of.empty()) admitted.emplace_back("because_of", image->because_of);
        object.emplace_back("as_image", std::move(admitted));
    }
    return object;
}

} // namespace

Json json_of(const core::Rule& rule) {
    Json::Object object{{"list", to_string(rule.kind)}, {"text", rule.text}};
    if (rule.line != 0) {
        object.emplace_back("file", rule.file);
        object.emplace_back("line", rule.line);
    }
    return object;
}

Json::Object json_of(const core::Decision& decision) {
    Json::Object object{{"token", decision.token},           {"verdict", to_string(decision.effective())},
                        {"will_load", decision.will_load()}, {"judged", to_string(decision.judged)},
                        {"mode", to_string(decision.mode)},  {"reason", to_string(decision.reason)}};
    if (decision.effective() == core::Verdict::refuse) object.emplace_back("blocked", decision.blocks());
    if (decision.rule) object.emplace_back("rule", json_of(*decision.rule));
    Json::List modules;
    for (const core::ModuleDecision& module : decision.modules)
        modules.push_back(json_of(module, decision));
    object.emplace_back("modules", std::move(modules));
    object.emplace_back("explanation", explain(decision));
    return object;
}

Json::Object json_of(const Attempt& event) {
    Json::Object object{
        {"time", timestamp(event.time)}, {"point", to_string(event.point)}, {"generation", event.generation}};
    for (auto& member : json_of(event.decision))
        object.push_back(std::move(member));
    if (!event.call.empty()) object.emplace_back("call", event.call);
    if (!event.file.empty()) object.emplace_back("file", event.file);
    if (!event.parameters.empty()) object.emplace_back("parameters", event.parameters);
    if (event.sha256) object.emplace_back("sha256", core::to_hex(*event.sha256));
    if (!event.answer.empty()) object.emplace_back("answer", event.answer);
    if (event.repeated != 0) object.emplace_back("repeated", event.repeated);
    if (event.repeated_since) object.emplace_back("repeated_since", timestamp(*event.repeated_since));
    if (!event.other_tokens.empty()) object.emplace_back("other_tokens", strings(event.other_tokens));
    if (const auto& after = event.after) {
        Json::Object earlier{{"call", after->call}};
        if (!after->file.empty()) earlier.emplace_back("file", after->file);
        if (!after->answer.empty()) earlier.emplace_back("answer", after->answer);
        object.emplace_back("after", std::move(earlier));
    }
    if (!event.note.empty()) object.emplace_back("note", event.note);
    if (is_trial(event)) object.emplace_back("trial", true);
    if (event.withheld) object.emplace_back("withheld", true);
    if (const auto& by = event.requester) {
        Json::Object requester{{"pid", std::int64_t{by->pid}},
                               {"uid", by->uid ? Json(std::int64_t{*by->uid}) : Json()},
                               {"user_namespace", std::int64_t{by->user_namespace}},
                               {"comm", by->command},
                               {"exe", by->executable},
                               {"cgroup", by->cgroup},
                               {"container", by->container}};
        if (by->kernel_thread) requester.emplace_back("kernel_thread", true);
        object.emplace_back("requester", std::move(requester));
    }
    return object;
}

Json::Object json_of(const Change& change) {
    Json::Object object{{"time", timestamp(change.time)}, {"change", to_string(change.action)}};
    if (!change.argument.empty()) object.emplace_back("argument", change.argument);
    object.emplace_back("result", change.error ? "failed" : "done");
    if (change.error) object.emplace_back("error", *change.error);
    object.emplace_back("generation", change.generation);
    if (change.repeated != 0) object.emplace_back("repeated", change.repeated);
    if (const auto& by = change.by)
        object.emplace_back(
            "by", Json::Object{{"pid", std::int64_t{by->pid}},
                               {"uid", std::int64_t{by->uid}},
                               {"comm", by->command},
                               {"login_uid", by->login_uid ? Json(std::int64_t{*by->login_uid}) : Json()}});
    return object;
}

std::string timestamp(std::chrono::system_clock::time_point time) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
    const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time - seconds);
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z",
                       fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)), micros.count());
}

} // namespace kmodguard::events
