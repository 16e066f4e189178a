// SPDX-License-Identifier: AGPL-3.0-only
//
// What is changed at run time, and saved.
#include "config/entry.hpp"
#include "core/names.hpp"
#include "daemon/engine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace kmodguard::daemon {
namespace {

sys::Result<std::string> canonical(std::string_view module) {
    if (auto name = core::module_name_of(module); name && module.find('/') == std::string_view::npos)
        return *name;
    return sys::failure(sys::ErrorKind::invalid,
                        fmt::format("\"{}\" is not a valid module name", core::printable(module)),
                        "patterns belong into allow.aliases of the policy file");
}

/// `name` as an alias pattern; an image's file name as the module's.
sys::Result<std::string> alias_of(std::string_view name) {
    if (name.contains('/') && !name.contains(':')) // as in devname:net/tun
        return sys::failure(
            sys::ErrorKind::invalid,
            fmt::format("\"{}\" is a path, and neither a module nor an alias", core::printable(name)),
            "write the module's name alone");
    const auto module = core::module_name_of(name);
    const bool is_file_name = module && core::fold(name) != *module;
    return config::check_entry(config::List::deny_aliases, is_file_name ? *module : name);
}

} // namespace

std::optional<core::Rule> Engine::alias_rule_against(const core::Policy& policy, const std::string& module) {
    const core::Decision decision = core::decide(policy, index(), module);
    const bool denies =
        decision.reason == core::Reason::denied_alias || decision.reason == core::Reason::denied_token;
    return denies ? decision.rule : std::nullopt;
}

sys::Result<void> Engine::allow(std::string_view module) {
    const std::string name = TRY(canonical(module));
    if (const auto modules = other_modules(name); !modules.empty())
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("{} is no module but an alias of {}", core::printable(module),
                                        fmt::join(modules, ", ")),
                            fmt::format("kmodctl allow {}; or write the alias to allow.aliases of the policy "
                                        "file, which allows whatever answers to it",
                                        modules.front()));
    if (const auto rule = (wanted_ ? policy_of(wanted_->state) : policy_).denies_module(name))
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("{} is denied by {}, and deny wins", name, describe(*rule)),
                            fmt::format("kmodctl remove {} takes it off the deny list", name));
    State next = latest();
    next.changes.allow(next.written, name);
    if (const auto denied = alias_rule_against(policy_of(next), name))
        return sys::failure(sys::ErrorKind::failed,
                            fmt::format("{} is denied by {}, and deny wins", name, describe(*denied)),
                            "change that rule in the policy file");
    return for_who_asked(publish(std::move(next)));
}

std::vector<std::string> Engine::other_modules(const std::string& name) {
    if (index().find(name) != nullptr) return {};
    std::vector<std::string> modules = index().resolve(name);
    if (std::ranges::find(modules, name) != modules.end()) return {}; // an install command of modprobe.d
    return modules;
}

sys::Result<void> Engine::deny(std::string_view name) {
    const std::string alias = TRY(alias_of(name));
    const auto module = core::module_name_of(alias);
    State next = latest();
    // An alias that is denied is also denied as a module's name: right for what no module is called now.
    if (module && index().find(*module) != nullptr)
        next.changes.deny(next.written, *module);
    else
        next.changes.deny_alias(next.written, alias);
    return for_who_asked(publish(std::move(next)));
}

sys::Result<void> Engine::remove(std::string_view name) {
    const std::string alias = TRY(alias_of(name));
    const auto module = core::module_name_of(alias);
    State next = latest();
    const bool off_aliases = next.changes.remove_alias(next.written, alias);
    if (!(module && next.changes.remove(next.written, *module)) && !off_aliases) {
        const std::string shown = core::printable(module.value_or(alias));
        return sys::failure(sys::ErrorKind::not_found,
                            fmt::format("{} is neither allowed nor denied by name", shown),
                            fmt::format("kmodctl explain {} shows why it loads or not", shown));
    }
    return for_who_asked(publish(std::move(next)));
}

sys::Result<void> Engine::set_mode(core::Mode mode, std::optional<Clock::time_point> until) {
    State next = latest();
    next.limited_until = until;
    next.audit_until = mode == core::Mode::audit ? until : std::nullopt;
    next.limited_mode = until ? std::optional(mode) : std::nullopt;
    if (!until) next.changes.mode = mode == next.written.mode ? std::nullopt : std::optional(mode);
    return for_who_asked(publish(std::move(next)));
}

sys::Result<void> Engine::end_limited_mode() {
    State next = latest();
    next.limited_mode.reset();
    next.limited_until.reset();
    next.audit_until.reset();
    auto ended = for_who_asked(publish(std::move(next)));
    if (!ended) { // its time is over all the same: if it is kept, retry() ends it, and a stricter mode stays
        state_.limited_until.reset();
        if (wanted_) wanted_->state.limited_until.reset();
    }
    return ended;
}

sys::Result<std::vector<std::string>> Engine::apply() {
    const auto edited = TRY(reader_.edited(latest().changes));
    auto written = TRY(reader::write(edited));
    TRY(reload(true));
    return written;
}

} // namespace kmodguard::daemon
