// SPDX-License-Identifier: AGPL-3.0-only
//
// The policy that the daemon has in force: its rules (list), its mode (mode), and what was changed at run
// time, saved to the files (apply).
#include "ctl/decide.hpp"
#include "ctl/machine_status.hpp"
#include "ctl/verbs.hpp"
#include "protocol/answers.hpp"
#include "sys/file.hpp"

#include <fmt/format.h>

namespace kmodguard::ctl {
namespace {

sys::Result<std::vector<protocol::ListedRule>> rules_in_force(const Context& context) {
    const auto answer = context.ask("LIST");
    if (answer) {
        context.warn_as(*answer);
        return protocol::listed_rules_of(answer->fields);
    }
    if (answer.error().kind != sys::ErrorKind::unreachable) return std::unexpected(answer.error());
    auto loaded = TRY(read_policy(context.paths));
    return protocol::listed_rules(core::Policy(std::move(loaded.source)));
}

sys::Result<int> show_mode(const Context& context, const ModeOptions& options) {
    if (options.limit)
        return sys::failure(sys::ErrorKind::invalid, "--for needs a mode that is to last that long",
                            "kmodctl mode audit --for 30m");
    const auto daemon = TRY(read_daemon_status(context.ask("STATUS")));
    context.text(describe_mode(daemon));
    if (daemon.wanted_mode)
        context.text(fmt::format("wanted: {}, and not in force: {}", to_string(*daemon.wanted_mode),
                                 daemon.wanted_problem.value_or("")));
    events::Json::Object object{{"mode", daemon.mode ? to_string(*daemon.mode) : ""}};
    if (daemon.mode_seconds_left) object.emplace_back("seconds_left", *daemon.mode_seconds_left);
    if (daemon.mode_forced) object.emplace_back("forced", *daemon.mode_forced);
    if (daemon.wanted_mode) object.emplace_back("wanted", to_string(*daemon.wanted_mode));
    context.object(std::move(object));
    return exit_done;
}

struct Owned {
    std::filesystem::path file; ///< no symbolic link
    sys::Ownership ownership;
};

std::vector<Owned> policy_ownership(const Context& context) {
    std::vector<Owned> owned;
    const auto files = config::policy_files(context.paths);
    if (!files) return owned; // the daemon says why
    for (const auto& file : *files) {
        std::error_code error;
        const std::filesystem::path target = std::filesystem::canonical(file, error);
        if (const auto found = sys::ownership(target); !error && found) owned.push_back({target, *found});
    }
    return owned;
}

void give_back(const Context& context, const Owned& before) {
    const auto now = sys::ownership(before.file);
    if (now && *now == before.ownership) return;
    if (const auto given = sys::set_ownership(before.file, before.ownership); !given)
        context.warn(given.error().what + "; it is root's now");
}

} // namespace

sys::Result<int> run_list(const Context& context) {
    const auto rules = TRY(rules_in_force(context));
    for (const auto& [list, text, origin] : rules) {
        context.text(
            fmt::format("{:<14} {:<32} {}", list, text, origin.empty() ? "(run time, not saved)" : origin));
        events::Json::Object object{{"list", list}, {"text", text}, {"saved", !origin.empty()}};
        if (!origin.empty()) object.emplace_back("origin", origin);
        context.object(std::move(object));
    }
    return exit_done;
}

sys::Result<int> run_mode(const Context& context, const ModeOptions& options) {
    if (!options.mode) return show_mode(context, options);
    std::string wanted(to_string(*options.mode));
    if (options.limit) wanted += fmt::format(" {}", options.limit->count());
    return context.ask_for_change_and_print("MODE", std::move(wanted));
}

/// The daemon writes the files, and may not give them away: it has no capability. So what belonged to another
/// user or to a group, is given back here.
sys::Result<int> run_apply(const Context& context) {
    const std::vector<Owned> before = policy_ownership(context);
    const auto answer = context.ask_for_change("APPLY");
    for (const Owned& owned : before) // whatever the answer: one that came too late may have changed some
        give_back(context, owned);
    if (!answer) return std::unexpected(answer.error());
    context.warn_as(*answer);
    events::Json::List changed;
    for (const auto& field : answer->fields) {
        if (field.key != "changed") continue;
        context.text("changed " + field.value);
        changed.emplace_back(field.value);
    }
    if (changed.empty()) context.text(answer->text);
    context.object({{"result", answer->text}, {"changed", std::move(changed)}});
    return exit_done;
}

} // namespace kmodguard::ctl
