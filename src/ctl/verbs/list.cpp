// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/decide.hpp"
#include "ctl/verbs.hpp"
#include "protocol/answers.hpp"

#include <fmt/format.h>

namespace kmodguard::ctl {
namespace {

int print(const Context& context, const std::vector<protocol::ListedRule>& rules) {
    for (const auto& [list, text, origin] : rules) {
        context.text(
            fmt::format("{:<14} {:<32} {}", list, text, origin.empty() ? "(run time, not saved)" : origin));
        events::Json::Object object{{"list", list}, {"text", text}, {"saved", !origin.empty()}};
        if (!origin.empty()) object.emplace_back("origin", origin);
        context.object(std::move(object));
    }
    return exit_done;
}

} // namespace

sys::Result<int> run_list(const Context& context) {
    const auto answer = context.ask("LIST");
    if (answer) {
        context.warn_as(*answer);
        return print(context, protocol::listed_rules_of(answer->fields));
    }
    if (answer.error().kind != sys::ErrorKind::unreachable) return std::unexpected(answer.error());
    auto loaded = TRY(read_policy(context.paths));
    return print(context, protocol::listed_rules(core::Policy(std::move(loaded.source))));
}

} // namespace kmodguard::ctl
