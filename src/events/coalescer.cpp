// SPDX-License-Identifier: AGPL-3.0-only
#include "events/coalescer.hpp"

#include "core/names.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

namespace kmodguard::events {
namespace {

constexpr std::size_t kinds_sharers = 4; ///< containers or users that between them fill the table of kinds
constexpr std::size_t max_first_calls = 256;

/// Nothing was done, and nothing but the caller's patience limits how often: what is let pass is never held
/// back.
bool is_refusal(const Attempt& event) {
    if (event.decision.reason == core::Reason::tampered) return false;
    return event.withheld || event.decision.effective() == core::Verdict::refuse;
}

/// A request by a name that nothing answers to: a kernel's ciphers ask for dozens of those, each another one.
bool is_for_nothing(const Attempt& event) {
    return event.call.empty() && event.decision.reason == core::Reason::no_such_module;
}

std::string_view module_of(const Attempt& event) {
    return event.decision.modules.size() == 1 ? std::string_view(event.decision.modules.front().module)
                                              : std::string_view();
}

/// Whether `second` hands over what `first` did, as far as that can be told for sure: it names the same
/// module, and its bytes are the same, or what the file that `first` named was unpacked to.
bool is_same_image(const Attempt& first, const Attempt& second) {
    const std::string_view name = module_of(second);
    if (name.empty()) return false;
    if (asks_for_other_form(first)) return core::module_name_of(first.file) == core::fold(name);
    if (module_of(first) != name || first.decision.reason != second.decision.reason) return false;
    if (first.sha256 || second.sha256) return first.sha256 == second.sha256;
    return first.image_size != 0 && first.image_size == second.image_size;
}

bool is_same_caller(const Requester& a, const Requester& b) {
    return a.uid == b.uid && a.user_namespace == b.user_namespace && a.command == b.command
           && a.executable == b.executable;
}

} // namespace

Coalescer::Key Coalescer::key_of(const Attempt& event) {
    const core::Decision& decision = event.decision;
    Key key{.point = event.point,
            .reason = decision.reason,
            .mode = decision.mode,
            .generation = event.generation,
            .image_size = event.image_size,
            .withheld = event.withheld,
            .sha256 = event.sha256,
            .texts = {event.call, is_for_nothing(event) ? "" : decision.token, event.file, event.parameters,
                      event.answer, event.note, event.after ? event.after->call : ""}};
    if (const auto& by = event.requester) {
        key.kernel_thread = by->kernel_thread;
        key.uid = by->uid;
        key.user_namespace = by->user_namespace;
        for (const std::string& text : {by->command, by->executable, by->container})
            key.texts.push_back(text);
    }
    for (const core::ModuleDecision& module : decision.modules)
        key.texts.push_back(module.module);
    return key;
}

std::optional<Coalescer::Caller> Coalescer::caller_of(const Attempt& event) {
    if (!event.requester || event.requester->pid == 0) return std::nullopt;
    return Caller{.point = event.point, .pid = event.requester->pid, .container = event.requester->container};
}

bool Coalescer::has_room(const std::string& who) const {
    const auto of = kinds_of_.find(who);
    return kinds_.size() < max_kinds && (of == kinds_of_.end() || of->second < max_kinds / kinds_sharers);
}

void Coalescer::count(Kind& kind, Attempt event) {
    if (!kind.last) {
        kind.since = event.repeated_since.value_or(event.time);
        kind.repeated = event.repeated;
    } else {
        kind.since = std::min(kind.since, event.repeated_since.value_or(event.time));
        kind.repeated += 1 + event.repeated;
        const std::string& token = kind.last->decision.token;
        if (kind.tokens.size() < max_tokens && std::ranges::find(kind.tokens, token) == kind.tokens.end())
            kind.tokens.push_back(token);
    }
    kind.last = std::move(event);
}

/// What was counted, as one event; nothing is counted any more then.
Attempt Coalescer::told(Kind& kind) {
    Attempt event = std::move(*kind.last);
    kind.last.reset();
    event.repeated = std::exchange(kind.repeated, 0);
    if (event.repeated != 0) event.repeated_since = kind.since;
    event.other_tokens = std::exchange(kind.tokens, {});
    std::erase(event.other_tokens, event.decision.token);
    return event;
}

std::vector<Attempt> Coalescer::take(Attempt event, Clock::time_point now) {
    std::vector<Attempt> result;
    if (!join(event, now, result)) take_one(std::move(event), now, result);
    return result;
}

void Coalescer::take_one(Attempt event, Clock::time_point now, std::vector<Attempt>& result) {
    if (!is_refusal(event)) {
        result.push_back(std::move(event));
        return;
    }
    Key key = key_of(event);
    if (const auto known = kinds_.find(key); known != kinds_.end()) {
        count(known->second, std::move(event));
        return;
    }
    if (std::string who = originator_of(event); has_room(who)) {
        ++kinds_of_[who];
        const auto kind = kinds_.emplace(std::move(key), Kind{.who = std::move(who)}).first;
        ends_.emplace(now + kind->second.span, kind);
    }
    result.push_back(std::move(event));
}

bool Coalescer::join(Attempt& event, Clock::time_point now, std::vector<Attempt>& result) {
    const auto caller = caller_of(event);
    if (!caller || event.call.empty()) return false;
    if (auto first = first_calls_.extract(*caller)) {
        FirstCall& known = first.mapped();
        const bool second = event.call == "init_module" && known.event.call == "finit_module"
                            && now <= known.until && is_same_caller(*known.event.requester, *event.requester)
                            && is_same_image(known.event, event);
        if (second && !known.held_back && is_refusal(event)) return true;
        if (second && known.held_back)
            event.after =
                EarlierCall{.call = known.event.call, .file = known.event.file, .answer = known.event.answer};
        else if (known.held_back)
            take_one(std::move(known.event), now, result);
    }
    if (event.call != "finit_module" || !is_refusal(event) || first_calls_.size() >= max_first_calls)
        return false;
    const bool hold_back = asks_for_other_form(event);
    first_calls_.emplace(*caller,
                         FirstCall{.event = event, .held_back = hold_back, .until = now + retry_span});
    return hold_back;
}

std::vector<Attempt> Coalescer::take_due(Clock::time_point now) {
    std::vector<Attempt> result;
    for (auto first = first_calls_.begin(); first != first_calls_.end();) {
        if (first->second.until > now) {
            ++first;
            continue;
        }
        if (first->second.held_back) take_one(std::move(first->second.event), first->second.until, result);
        first = first_calls_.erase(first);
    }
    while (!ends_.empty() && ends_.begin()->first <= now) {
        const auto at = ends_.begin()->second;
        ends_.erase(ends_.begin());
        Kind& kind = at->second;
        if (kind.last && now != Clock::time_point::max()) { // it goes on
            result.push_back(told(kind));
            kind.span = std::min<Clock::duration>(2 * kind.span, longest_span);
            ends_.emplace(now + kind.span, at);
            continue;
        }
        if (kind.last) result.push_back(told(kind));
        if (const auto of = kinds_of_.find(kind.who); --of->second == 0) kinds_of_.erase(of);
        kinds_.erase(at);
    }
    return result;
}

std::optional<Coalescer::Clock::time_point> Coalescer::next_due() const {
    std::optional<Clock::time_point> next;
    if (!ends_.empty()) next = ends_.begin()->first;
    for (const auto& [caller, first] : first_calls_)
        next = next ? std::min(*next, first.until) : first.until;
    return next;
}

} // namespace kmodguard::events
