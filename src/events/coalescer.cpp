// SPDX-License-Identifier: AGPL-3.0-only
#include "events/coalescer.hpp"

#include "core/names.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

namespace kmodguard::events {
namespace {

constexpr std::size_t kinds_sharers = 4; ///< containers or users that between them fill the table of kinds
constexpr std::size_t max_first_calls = 256;

/// Nothing was done, and nothing limits how often the caller tries: what is let pass is never held back.
bool is_refusal(const Attempt& attempt) {
    return attempt.withheld || attempt.decision.effective() == core::Verdict::refuse;
}
constexpr bool is_refusal(const SealRefusal& /*refusal*/) {
    return true;
}

/// A request by a name that nothing answers to: a kernel's ciphers ask for dozens of those, each another one.
bool is_for_nothing(const Attempt& event) {
    return event.call.empty() && event.decision.reason == core::Reason::no_such_module;
}

std::string_view module_of(const Attempt& event) {
    return event.decision.modules.size() == 1 ? std::string_view(event.decision.modules.front().module)
                                              : std::string_view();
}

/// Whether `second` hands over what `first` did, as far as that is sure: it names the same
/// module, and its bytes are the same, or what the file that `first` named was decompressed to.
bool is_same_image(const Attempt& first, const Attempt& second) {
    const std::string_view name = module_of(second);
    if (name.empty()) return false;
    if (asks_for_other_form(first)) return core::module_name_of(first.file) == core::fold(name);
    if (module_of(first) != name || first.decision.reason != second.decision.reason) return false;
    if (first.sha256 || second.sha256) return first.sha256 == second.sha256;
    return first.image_size != 0 && first.image_size == second.image_size;
}

/// What makes two processes the same caller.
std::optional<Requester> without_number(std::optional<Requester> by) {
    if (by) {
        by->pid = 0;
        by->cgroup.clear();
    }
    return by;
}

} // namespace

void Coalescer::Key::add(std::uint64_t number) {
    std::array<char, sizeof number> bytes{};
    std::memcpy(bytes.data(), &number, sizeof number);
    bytes_.append(bytes.data(), bytes.size());
}

void Coalescer::Key::add(std::string_view text) {
    add(std::uint64_t{text.size()});
    bytes_ += text;
}

void Coalescer::Key::add(const std::optional<Requester>& by) {
    add(std::uint64_t{by.has_value()});
    if (!by) return;
    add(std::uint64_t{by->uid.has_value()});
    add(std::uint64_t{by->uid.value_or(0)});
    add(std::uint64_t{by->user_namespace});
    add(std::uint64_t{by->kernel_thread});
    for (const std::string* text : {&by->command, &by->executable, &by->container})
        add(*text);
}

void Coalescer::write_key(Key& key, const Attempt& attempt) {
    const core::Decision& decision = attempt.decision;
    const std::uint64_t is_of_the_seal = 0;
    for (const std::uint64_t number :
         {is_of_the_seal, static_cast<std::uint64_t>(attempt.point),
          static_cast<std::uint64_t>(decision.reason), static_cast<std::uint64_t>(decision.mode),
          attempt.generation, attempt.image_size, std::uint64_t{attempt.withheld}})
        key.add(number);
    key.add(attempt.requester);
    key.add(attempt.sha256 ? core::to_hex(*attempt.sha256) : "");
    key.add(is_for_nothing(attempt) ? "" : std::string_view(decision.token));
    for (const std::string* text :
         {&attempt.call, &attempt.file, &attempt.parameters, &attempt.answer, &attempt.note})
        key.add(*text);
    key.add(attempt.after ? std::string_view(attempt.after->call) : "");
    for (const core::ModuleDecision& module : decision.modules)
        key.add(module.module);
}

void Coalescer::write_key(Key& key, const SealRefusal& refusal) {
    const std::uint64_t is_of_the_seal = 1;
    key.add(is_of_the_seal);
    key.add(refusal.generation);
    key.add(refusal.requester);
    key.add(refusal.forbidden);
}

std::optional<Coalescer::Caller> Coalescer::caller_of(const Attempt& event) {
    if (!event.requester || event.requester->pid == 0) return std::nullopt;
    return Caller{.point = event.point, .pid = event.requester->pid, .container = event.requester->container};
}

bool Coalescer::has_room(const std::string& who) const {
    const auto of = kinds_of_.find(who);
    return kinds_.size() < max_kinds && (of == kinds_of_.end() || of->second < max_kinds / kinds_sharers);
}

template <typename Refusal>
void Coalescer::count(Kind& kind, Refusal refusal) {
    const auto since = refusal.repeated_since.value_or(refusal.time);
    if (!kind.last) {
        kind.since = since;
        kind.repeated = refusal.repeated;
    } else {
        kind.since = std::min(kind.since, since);
        kind.repeated += 1 + refusal.repeated;
        if (const auto* last = std::get_if<Attempt>(&*kind.last)) {
            const std::string& token = last->decision.token;
            if (kind.tokens.size() < max_tokens && std::ranges::find(kind.tokens, token) == kind.tokens.end())
                kind.tokens.push_back(token);
        }
    }
    kind.last = std::move(refusal);
}

/// What was counted, as one event; nothing is counted any more then.
Event Coalescer::take_counted(Kind& kind) {
    Event event = std::move(*kind.last);
    kind.last.reset();
    const auto fill = [&kind](auto& refusal) {
        refusal.repeated = std::exchange(kind.repeated, 0);
        if (refusal.repeated != 0) refusal.repeated_since = kind.since;
    };
    if (auto* refusal = std::get_if<SealRefusal>(&event)) fill(*refusal);
    if (auto* attempt = std::get_if<Attempt>(&event)) {
        fill(*attempt);
        attempt->other_tokens = std::exchange(kind.tokens, {});
        std::erase(attempt->other_tokens, attempt->decision.token);
    }
    return event;
}

std::vector<Event> Coalescer::take(Event event, Clock::time_point now) {
    std::vector<Event> result;
    if (auto* refusal = std::get_if<SealRefusal>(&event))
        take_one(std::move(*refusal), now, result);
    else if (auto* attempt = std::get_if<Attempt>(&event); attempt == nullptr)
        result.push_back(std::move(event));
    else if (!join(*attempt, now, result))
        take_one(std::move(*attempt), now, result);
    return result;
}

template <typename Type>
void Coalescer::take_one(Type event, Clock::time_point now, std::vector<Event>& result) {
    if (!is_refusal(event)) {
        result.emplace_back(std::move(event));
        return;
    }
    key_.clear();
    write_key(key_, event);
    if (const auto known = kinds_.find(key_); known != kinds_.end()) {
        count(known->second, std::move(event));
        return;
    }
    if (std::string who = originator_of(event.requester); has_room(who)) {
        ++kinds_of_[who];
        const auto kind = kinds_.emplace(key_, Kind{.who = std::move(who)}).first;
        ends_.emplace(now + kind->second.span, kind);
    }
    result.emplace_back(std::move(event));
}

bool Coalescer::join(Attempt& attempt, Clock::time_point now, std::vector<Event>& result) {
    const auto caller = caller_of(attempt);
    if (!caller || attempt.call.empty()) return false;
    if (auto first = first_calls_.extract(*caller)) {
        FirstCall& known = first.mapped();
        const bool second = attempt.call == "init_module" && known.attempt.call == "finit_module"
                            && now <= known.until && attempt.time - known.attempt.time <= retry_span
                            && without_number(known.attempt.requester) == without_number(attempt.requester)
                            && is_same_image(known.attempt, attempt);
        if (second && !known.held_back && is_refusal(attempt)) return true;
        if (second && known.held_back)
            attempt.after = EarlierCall{
                .call = known.attempt.call, .file = known.attempt.file, .answer = known.attempt.answer};
        else if (known.held_back)
            take_one(std::move(known.attempt), now, result);
    }
    if (attempt.call != "finit_module" || !is_refusal(attempt) || first_calls_.size() >= max_first_calls)
        return false;
    const bool hold_back = asks_for_other_form(attempt);
    first_calls_.emplace(*caller,
                         FirstCall{.attempt = attempt, .held_back = hold_back, .until = now + retry_span});
    return hold_back;
}

std::vector<Event> Coalescer::take_due(Clock::time_point now) {
    std::vector<Event> result;
    for (auto first = first_calls_.begin(); first != first_calls_.end();) {
        if (first->second.until > now) {
            ++first;
            continue;
        }
        if (first->second.held_back) take_one(std::move(first->second.attempt), first->second.until, result);
        first = first_calls_.erase(first);
    }
    while (!ends_.empty() && ends_.begin()->first <= now) {
        const auto at = ends_.begin()->second;
        ends_.erase(ends_.begin());
        Kind& kind = at->second;
        if (kind.last && now != Clock::time_point::max()) { // it goes on
            result.push_back(take_counted(kind));
            kind.span = std::min<Clock::duration>(2 * kind.span, max_span);
            ends_.emplace(now + kind.span, at);
            continue;
        }
        if (kind.last) result.push_back(take_counted(kind));
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
