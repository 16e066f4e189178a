// SPDX-License-Identifier: AGPL-3.0-only
#include "core/decision_fields.hpp"
#include "events/event.hpp"

#include <tuple>

namespace kmodguard::events {
namespace {

constexpr std::size_t block = 16; ///< what the C library adds to each

template <typename Owner>
concept Listed = requires { core::Fields<Owner>::list; };

std::size_t memory_of(const std::string& text) {
    static const std::size_t in_itself = std::string().capacity();
    return text.capacity() > in_itself ? block + text.capacity() + 1 : 0;
}
std::size_t memory_of(const core::Step& step) {
    return memory_of(step.module) + memory_of(step.judged);
}
template <typename Value>
    requires std::is_scalar_v<Value>
std::size_t memory_of(Value /*value*/) {
    return 0;
}
template <Listed Owner>
std::size_t memory_of(const Owner& owner);
template <typename Value>
std::size_t memory_of(const std::optional<Value>& value);
template <typename Item>
std::size_t memory_of(const std::vector<Item>& items) {
    std::size_t memory = items.capacity() == 0 ? 0 : block + items.capacity() * sizeof(Item);
    for (const Item& item : items)
        memory += memory_of(item);
    return memory;
}

std::size_t memory_of(const Requester& by) {
    return memory_of(by.command) + memory_of(by.executable) + memory_of(by.cgroup) + memory_of(by.container);
}
std::size_t memory_of(const EarlierCall& call) {
    return memory_of(call.call) + memory_of(call.file) + memory_of(call.answer);
}
std::size_t memory_of(const sys::ProcessIdentity& by) {
    return memory_of(by.command);
}

std::size_t memory_of(const Attempt& attempt) {
    return memory_of(attempt.decision) + memory_of(attempt.decision.modules) + memory_of(attempt.requester)
           + memory_of(attempt.call) + memory_of(attempt.file) + memory_of(attempt.parameters)
           + memory_of(attempt.answer) + memory_of(attempt.other_tokens) + memory_of(attempt.after)
           + memory_of(attempt.note);
}
std::size_t memory_of(const Change& change) {
    return memory_of(change.argument) + memory_of(change.error) + memory_of(change.by);
}
std::size_t memory_of(const SealRefusal& refusal) {
    return memory_of(refusal.forbidden) + memory_of(refusal.requester);
}
std::size_t memory_of(const Tampering& tampering) {
    return memory_of(tampering.found);
}
std::size_t memory_of(const Loss& /*loss*/) {
    return 0;
}
std::size_t memory_of(const LogLine& line) {
    return memory_of(line.text) + memory_of(line.container);
}
std::size_t memory_of(const LogLineLoss& /*loss*/) {
    return 0;
}

/// All that the control socket and JSON say of it, which is all that has texts.
template <Listed Owner>
std::size_t memory_of(const Owner& owner) {
    return std::apply([&](const auto&... field) { return (memory_of(owner.*field.member) + ... + 0U); },
                      core::Fields<Owner>::list);
}
template <typename Value>
std::size_t memory_of(const std::optional<Value>& value) {
    return value ? memory_of(*value) : 0;
}

} // namespace

std::size_t memory_beside(const Event& event) {
    return std::visit([](const auto& one) { return memory_of(one); }, event);
}

} // namespace kmodguard::events
