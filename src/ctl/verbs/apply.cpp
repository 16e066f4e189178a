// SPDX-License-Identifier: AGPL-3.0-only
//
// The daemon writes the files, and may not give them away: it has no capability. So what belonged to another
// user or to a group, is given back here.
#include "config/policy_file.hpp"
#include "ctl/verbs.hpp"
#include "sys/file.hpp"

#include <vector>

namespace kmodguard::ctl {
namespace {

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
