// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/guard.hpp"

#include "enforce/kernel/loader.hpp"
#include "enforce/kernel/programs.hpp"
#include "enforce/kernel/table_file.hpp"
#include "sys/trace.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <time.h> // NOLINT(modernize-deprecated-headers): clock_gettime
#include <unistd.h>

#include <algorithm>

namespace kmodguard::kernel {
namespace {

constexpr std::uint32_t only = 0; ///< the key of maps with one entry

std::unexpected<sys::Error> sealed_failure(const std::vector<std::string>& loosened) {
    std::string what = "the machine is sealed, and the policy would be looser: " + loosened.front();
    if (loosened.size() > 1) what += fmt::format(", and {} more", loosened.size() - 1);
    return sys::failure(sys::ErrorKind::denied, std::move(what), "it takes effect when the machine restarts");
}

/// CLOCK_BOOTTIME, ns.
std::uint64_t now_in_kernel() {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

/// A map that somebody has frozen, if one is: it takes no policy any more.
std::optional<std::string> first_frozen(const Pins& pins) {
    for (const RawMap* map :
         {static_cast<const RawMap*>(&pins.settings), static_cast<const RawMap*>(&pins.policy),
          static_cast<const RawMap*>(&pins.policy_a), static_cast<const RawMap*>(&pins.policy_b),
          static_cast<const RawMap*>(&pins.inventory), static_cast<const RawMap*>(&pins.state),
          static_cast<const RawMap*>(&pins.refused_tokens)})
        if (const auto frozen = map->is_frozen(); !frozen || *frozen) return map->name();
    return std::nullopt;
}

/// Whether pins can be used as they are by this build.
sys::Result<bool> is_usable(const Pins& pins) {
    const auto state = pins.state.get(only);
    if (!state) return std::unexpected(state.error());
    const bool same_layout = state->value_or(guard_state{}).layout == GUARD_LAYOUT;
    if (pins.sealed && !same_layout)
        return sys::failure(sys::ErrorKind::failed,
                            "the machine was sealed by another version of kmodguard, which guards on");
    if (pins.sealed || !same_layout) return same_layout;
    const auto settings = settings_of(pins);
    if (!settings) return std::unexpected(settings.error());
    const auto hash = programs_hash();
    if (!hash) return std::unexpected(hash.error());
    if (!std::ranges::equal(*hash, settings->object)) return false;
    return !first_frozen(pins);
}

sys::Result<void> fill(const Map<guard_name, guard_rule>& map, const Table& table) {
    if (auto cleared = map.clear(); !cleared) return cleared;
    for (const auto& [name, rule] : table)
        if (auto written = map.set(name, rule); !written) return written;
    return {};
}

sys::Result<Table> read_all(const Map<guard_name, guard_rule>& map) {
    Table table;
    std::optional<guard_name> key;
    while (true) {
        const auto next = map.after(key);
        if (!next) return std::unexpected(next.error());
        if (!*next) return table;
        key = *next;
        const auto rule = map.get(*key);
        if (!rule) return std::unexpected(rule.error());
        if (*rule) table.emplace(*key, **rule);
        if (table.size() > GUARD_MAX_MODULES)
            return sys::failure(sys::ErrorKind::failed, "the policy map changes while it is read");
    }
}

bool same(const Table& a, const Table& b) {
    return std::ranges::equal(a, b, [](const auto& left, const auto& right) {
        return std::memcmp(left.first.text, right.first.text, sizeof left.first.text) == 0
               && left.second.number == right.second.number && left.second.flags == right.second.flags
               && left.second.reason == right.second.reason;
    });
}

} // namespace

sys::Result<Guard> Guard::establish(Loader& loader, std::filesystem::path sealed_table) {
    if (auto there = require_bpffs(); !there) return std::unexpected(there.error());
    // Interrupted between the old set's end and the new one's renaming.
    if (::access(pin_directory().c_str(), F_OK) != 0 && open_pins(new_pin_directory()))
        ::rename(new_pin_directory().c_str(), pin_directory().c_str());
    if (auto pins = open_pins(pin_directory())) {
        const auto usable = is_usable(*pins);
        if (!usable) return std::unexpected(usable.error());
        if (*usable) {
            Guard guard(std::move(*pins), std::move(sealed_table));
            guard.taken_over_ = true;
            sys::trace(sys::Topic::bpf, "took over what is pinned at {}", pin_directory().native());
            if (auto read = guard.read_state(); !read) return std::unexpected(read.error());
            return guard;
        }
    }
    if (auto removed = remove_pins(new_pin_directory()); !removed) return std::unexpected(removed.error());
    if (auto loaded = loader.load(); !loaded) return std::unexpected(loaded.error());
    auto pins = open_pins(new_pin_directory());
    if (!pins) return std::unexpected(pins.error());
    Guard guard(std::move(*pins), std::move(sealed_table));
    if (auto prepared = guard.prepare(); !prepared) return std::unexpected(prepared.error());
    return guard;
}

/// What a new set begins with.
sys::Result<void> Guard::prepare() {
    const auto hash = programs_hash();
    if (!hash) return std::unexpected(hash.error());
    guard_settings settings{};
    settings.layout = GUARD_LAYOUT;
    std::ranges::copy(*hash, settings.object);
    if (auto set = pins_.settings.set(only, settings); !set) return set;
    if (auto set = pins_.state.set(only, {.layout = GUARD_LAYOUT, .epoch = 0, .lost_told = 0}); !set)
        return set;
    return read_state();
}

sys::Result<void> Guard::read_state() {
    const auto state = pins_.state.get(only);
    if (!state) return std::unexpected(state.error());
    state_ = state->value_or(guard_state{});
    auto table = pins_.sealed ? load_table(sealed_table_) : read_table(pins_);
    if (!table) return std::unexpected(table.error());
    held_ = std::move(*table);
    if (pins_.sealed) return {};
    const auto active = pins_.policy.get(only);
    const auto second = pins_.policy_b.id();
    const auto key = pins_.content_key.get(only);
    if (!active) return std::unexpected(active.error());
    if (!second) return std::unexpected(second.error());
    if (!key) return std::unexpected(key.error());
    key_.bytes = key->value_or(key_.bytes);
    b_ = active->value_or(0) == *second;
    return {};
}

sys::Result<void> Guard::publish(const Table& table) {
    if (sealed()) return tighten(table);
    if (auto filled = fill(spare(), table); !filled) return filled;
    // Before the swap: what cannot be forgotten would be refused by a policy that allows it. If it is the
    // swap that fails, the hook is asked again, and no more.
    if (auto forgotten = forget_refusals(); !forgotten) return forgotten;
    const auto fd = static_cast<std::uint32_t>(spare().fd());
    // Returns when no program uses the former one any more (maybe_wait_bpf_programs of kernel/bpf/syscall.c).
    if (auto swapped = pins_.policy.set(only, fd); !swapped) return swapped;
    sys::trace(sys::Topic::bpf, "published a table of {} entries", table.size());
    b_ = !b_;
    held_ = table;
    static_cast<void>(spare().clear()); // it is cleared again before it is filled
    return {};
}

namespace {

/// What of `held` is in `wanted` as well.
Table stricter_half(const Table& held, const Table& wanted) {
    Table half;
    for (const auto& [name, rule] : held)
        if (wanted.contains(name) || name.text[0] == GUARD_PIN_MARK) half.emplace(name, rule);
    return half;
}

} // namespace

sys::Result<void> Guard::tighten(const Table& wanted) {
    if (const auto looser = loosened(held_, wanted); !looser.empty()) return sealed_failure(looser);
    if (auto opened = open_sealing_programs(pins_); !opened) return opened;
    // Only names can be taken away from what is sealed.
    if (const auto other = loosened(wanted, stricter_half(held_, wanted)); !other.empty())
        return sealed_failure({"pins cannot be changed"});
    for (guard_name name : taken_away(held_, wanted)) {
        bpf_test_run_opts options{};
        options.sz = sizeof options;
        options.ctx_in = &name;
        options.ctx_size_in = sizeof name;
        const int code =
            ::bpf_prog_test_run_opts(pins_.programs.find(tightening_program)->second.get(), &options);
        if (code != 0 || options.retval != 0) {
            static_cast<void>(
                save_table(sealed_table_, held_)); // what is gone is gone, also for the next daemon
            return sys::system_failure("cannot take away", text_of(name.text), code != 0 ? -code : EIO);
        }
        held_.erase(name);
    }
    held_.insert_or_assign(head_key, head_of(wanted)); // who asks is told by which policy that is
    // What stays remembered is refused by a stricter policy as well: that alone must not keep it from coming.
    static_cast<void>(forget_refusals());
    return save_table(sealed_table_, held_);
}

sys::Result<void> Guard::detach() {
    if (auto removed = remove_guard(); !removed) return removed;
    pins_.links.clear(); // the last that kept them
    return {};
}

sys::Result<std::vector<std::string>> Guard::arm() {
    std::vector<std::string> mended;
    if (::access(pins_.directory.c_str(), F_OK) != 0) // detach() was here
        if (auto restored = restore_pins(pins_); !restored) return std::unexpected(restored.error());
    const auto attach_all = [&](const std::vector<std::string_view>& hooks) -> sys::Result<void> {
        for (const std::string_view hook : hooks) {
            const auto changed = attach(pins_, hook);
            if (!changed) return std::unexpected(changed.error());
            if (*changed) mended.push_back(fmt::format("the link of {} was attached or pinned again", hook));
        }
        return {};
    };
    if (auto attached = attach_all(guarding_hooks()); !attached) return std::unexpected(attached.error());
    if (sealed()) {
        if (auto opened = open_sealing_programs(pins_); !opened) return std::unexpected(opened.error());
        if (auto attached = attach_all(sealing_hooks()); !attached) return std::unexpected(attached.error());
    }
    if (pins_.directory != pin_directory()) {
        if (auto replaced = replace_pins(pins_); !replaced) return std::unexpected(replaced.error());
        mended.clear();
    }
    return mended;
}

bool Guard::sealed() {
    if (pins_.sealed) return true;
    const auto settings = settings_of(pins_);
    if (!settings || settings->sealed == 0) return false;
    pins_.sealed = true;
    pins_.settings = {};
    pins_.policy = {};
    pins_.policy_a = {};
    pins_.policy_b = {};
    pins_.inventory = {};
    pins_.content_key = {};
    pins_.tightened = {};
    pins_.protected_maps = {};
    pins_.scratch = {};
    pins_.empty_scratch = {};
    key_ = {};
    return true;
}

sys::Result<std::vector<std::string>> Guard::mend() {
    const auto restored = restore_pins(pins_);
    if (!restored) return std::unexpected(restored.error());
    auto mended = arm();
    if (!mended) return mended;
    if (*restored) mended->emplace_back("pins were missing, and are there again");
    if (sealed()) return mended;
    if (const auto frozen = first_frozen(pins_))
        return sys::failure(sys::ErrorKind::invalid,
                            fmt::format("somebody has frozen {}, which takes no policy any more", *frozen));
    const auto in_kernel = read_table(pins_);
    if (!in_kernel) return std::unexpected(in_kernel.error());
    const auto active = pins_.policy.get(only);
    const auto expected = this->active().id();
    if (!active) return std::unexpected(active.error());
    if (!expected) return std::unexpected(expected.error());
    if (same(*in_kernel, held_) && active->value_or(0) == *expected) return mended;
    const Table wanted = held_;
    if (auto published = publish(wanted); !published) return std::unexpected(published.error());
    mended->emplace_back("the policy in the kernel was not the one published, and is again");
    return mended;
}

sys::Result<void> Guard::admit_content(const modules::ContentTag& tag, std::string_view module,
                                       const core::Sha256& sha256) {
    const auto name = name_key(module);
    if (!name || sealed())
        return sys::failure(sys::ErrorKind::denied, "the machine is sealed: no content is admitted any more");
    guard_content content{};
    content.size = tag.size;
    std::memcpy(content.digest, tag.digest.data(), tag.digest.size());
    guard_checked checked{};
    checked.name = *name;
    std::ranges::copy(sha256, checked.sha256);
    return pins_.inventory.set(content, checked);
}

void Guard::forget_contents() {
    if (!sealed()) static_cast<void>(pins_.inventory.clear());
}

void Guard::remember_refusal(std::string_view token) {
    const auto name = name_key(token);
    if (!name || (head_of(held_).flags & GUARD_AUDIT) != 0) return;
    // One that cannot be remembered is refused by the hook again.
    static_cast<void>(pins_.refused_tokens.set(*name, {.epoch = state_.epoch}));
}

sys::Result<void> Guard::forget_refusals() {
    guard_state next = state_;
    ++next.epoch;
    if (pins_.state.set(only, next)) {
        state_ = next;
        return {};
    }
    return pins_.refused_tokens.clear(); // somebody has frozen the epoch
}

std::vector<CountedRefusals> Guard::take_counted(Counted which) {
    constexpr std::uint64_t second = 1'000'000'000;
    std::vector<guard_refusal> kinds; // taking one out ends the walk
    std::optional<guard_refusal> key;
    while (kinds.size() < GUARD_MAX_REPEATS) {
        const auto next = pins_.repeats.after(key);
        if (!next || !*next) break;
        key = *next;
        const auto how = pins_.repeats.get(*key);
        if (!how || !*how) continue;
        if (which == Counted::all || now_in_kernel() - std::max((*how)->window, (*how)->last) > second)
            kinds.push_back(*key);
    }
    std::vector<CountedRefusals> counted;
    for (const guard_refusal& kind : kinds)
        if (const auto how = pins_.repeats.extract(kind); how && *how && (*how)->unrecorded != 0)
            counted.push_back({.what = kind, .how = **how});
    return counted;
}

std::uint64_t Guard::take_lost() {
    const std::uint64_t lost = counters().lost;
    if (lost <= state_.lost_told) return 0;
    const std::uint64_t more = lost - state_.lost_told;
    state_.lost_told = lost;
    static_cast<void>(pins_.state.set(only, state_)); // else another daemon tells it once more
    return more;
}

Counters Guard::counters() const {
    return read_counters(pins_);
}

sys::Result<Table> read_table(const Pins& pins) {
    const auto active = pins.policy.get(only);
    if (!active) return std::unexpected(active.error());
    const auto second = pins.policy_b.id();
    if (!second) return std::unexpected(second.error());
    auto table = read_all(active->value_or(0) == *second ? pins.policy_b : pins.policy_a);
    if (!table) return table;
    std::optional<guard_name> key;
    while (true) {
        const auto next = pins.tightened.after(key);
        if (!next) return std::unexpected(next.error());
        if (!*next) return table;
        key = *next;
        table->erase(*key);
    }
}

} // namespace kmodguard::kernel
