// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/guard.hpp"

#include "enforce/kernel/loader.hpp"
#include "sys/kernel.hpp"
#include "sys/trace.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

namespace kmodguard::kernel {
namespace {

constexpr std::uint32_t only = 0; ///< the key of maps with one entry

Published refused_by_seal(std::string why) {
    return {
        Published::Outcome::sealed,
        {sys::ErrorKind::denied, "the machine is sealed, and " + std::move(why),
         "it takes effect when the machine restarts; until then the kernel point decides by what is sealed"}};
}

std::string sentence_of(const std::vector<std::string>& loosened) {
    std::string what = "the policy would be looser: " + loosened.front();
    if (loosened.size() > 1) what += fmt::format(", and {} more", loosened.size() - 1);
    return what;
}

Published published(sys::Result<void> result) {
    return result ? Published{} : Published::failed(std::move(result.error()));
}

/// A map that takes no policy any more, since another process has frozen it; "" if there is none.
std::string first_frozen(OpenPins& pins) {
    for (const MapRow& row : map_table)
        if (row.writer == UserWriter::daemon)
            if (const auto frozen = row.in(pins).is_frozen(); !frozen || *frozen) return row.in(pins).name();
    return "";
}

/// Whether pins can be used as they are by this build.
sys::Result<bool> is_usable(OpenPins& pins) {
    const auto state = TRY(pins.state.get(only));
    const bool same_layout = state.value_or(guard_state{}).layout == GUARD_LAYOUT;
    if (pins.sealed && !same_layout)
        return sys::failure(sys::ErrorKind::failed,
                            "the machine was sealed by another version of kmodguard, which keeps enforcing");
    if (pins.sealed || !same_layout) return same_layout;
    const bool same_build = TRY(is_this_build(pins));
    return same_build && first_frozen(pins).empty();
}

/// Whether the policy in force is that of the second map. Where the kernel is asked what the programs look up
/// it answers when no program runs any more that began before, many milliseconds later.
sys::Result<bool> is_second_active(const OpenPins& pins) {
    const auto active = TRY(pins.policy.get(only));
    const auto second = TRY(pins.policy_b.id());
    return active.value_or(0) == second;
}

/// The same without waiting: of the two the one that is not in use is empty, but for a moment.
sys::Result<bool> is_second_filled(const OpenPins& pins) {
    const auto first = TRY(pins.policy_a.get(head_key));
    const auto second = TRY(pins.policy_b.get(head_key));
    if (first.has_value() != second.has_value()) return second.has_value();
    return is_second_active(pins);
}

sys::Result<PolicyTable> read_rules(const OpenPins& pins, bool second) {
    const auto rules = TRY((second ? pins.policy_b : pins.policy_a).read_all(GUARD_MAX_MODULES));
    PolicyTable table(rules.begin(), rules.end());
    const auto tightened = TRY(pins.tightened.read_all(GUARD_MAX_MODULES));
    for (const auto& [name, yes] : tightened)
        table.erase(name);
    return table;
}

/// The head last: without one nothing is admitted.
sys::Result<void> fill(const Map<guard_name, guard_rule>& map, const PolicyTable& table) {
    TRY(map.clear());
    std::vector<guard_name> names;
    std::vector<guard_rule> rules;
    const auto add = [&](const PolicyTable::value_type& entry) {
        names.push_back(entry.first);
        rules.push_back(entry.second);
    };
    const auto head = table.find(head_key);
    for (auto entry = table.begin(); entry != table.end(); ++entry)
        if (entry != head) add(*entry);
    if (head != table.end()) add(*head);
    return map.set_all(names, rules);
}

/// What a program of kind `called` returns.
template <typename Question>
sys::Result<std::uint32_t> call_program(const OpenPins& pins, std::string_view program, Question question) {
    const auto found = pins.programs.find(program);
    if (found == pins.programs.end()) return sys::system_failure("cannot find the program", program, ENOENT);
    bpf_test_run_opts options{};
    options.sz = sizeof options;
    options.ctx_in = &question;
    options.ctx_size_in = sizeof question;
    if (const int code = ::bpf_prog_test_run_opts(found->second.get(), &options); code != 0)
        return sys::system_failure("cannot run the program", program, -code);
    return options.retval;
}

/// What of `in_force` is in `wanted` as well.
PolicyTable stricter_half(const PolicyTable& in_force, const PolicyTable& wanted) {
    PolicyTable half;
    for (const auto& [name, rule] : in_force)
        if (wanted.contains(name) || name.text[0] == GUARD_PIN_MARK) half.emplace(name, rule);
    return half;
}

} // namespace

sys::Result<bool> is_this_build(const OpenPins& pins) {
    const auto settings = TRY(settings_of(pins));
    return settings.layout == GUARD_LAYOUT && std::ranges::equal(programs_hash(), settings.object);
}

sys::Result<Guard> Guard::establish(Loader& loader, std::filesystem::path sealed_table) {
    TRY(require_bpffs());
    // Interrupted between the old set's end and the new one's renaming.
    if (::access(pin_directory().c_str(), F_OK) != 0 && open_pins(new_pin_directory()))
        ::rename(new_pin_directory().c_str(), pin_directory().c_str());
    if (auto pins = open_pins(pin_directory())) {
        const bool usable = TRY(is_usable(*pins));
        if (usable) {
            Guard guard(std::move(*pins), std::move(sealed_table));
            sys::trace(sys::Topic::bpf, "took over what is pinned at {}", pin_directory().native());
            TRY(guard.read_state());
            return guard;
        }
    }
    TRY(remove_pins(new_pin_directory()));
    TRY(loader.load());
    auto pins = TRY(open_pins(new_pin_directory()));
    Guard guard(std::move(pins), std::move(sealed_table));
    TRY(guard.prepare());
    return guard;
}

/// What a new set begins with.
sys::Result<void> Guard::prepare() {
    guard_settings settings{};
    settings.layout = GUARD_LAYOUT;
    std::ranges::copy(programs_hash(), settings.object);
    TRY(pins_.settings.set(only, settings));
    state_ = {.layout = GUARD_LAYOUT, .epoch = 0, .lost_reported = 0};
    TRY(pins_.state.set(only, state_));
    in_force_.emplace(); // nothing, and so nothing is admitted
    return read_key();
}

sys::Result<void> Guard::read_state() {
    const auto state = TRY(pins_.state.get(only));
    state_ = state.value_or(guard_state{});
    if (pins_.sealed) { // which it is, whatever became of the file
        auto table = read_sealed_table();
        if (table)
            in_force_ = std::move(*table);
        else
            unknown_ = std::move(table.error());
        return {};
    }
    second_in_force_ = TRY(is_second_filled(pins_));
    in_force_ = TRY(read_rules(pins_, second_in_force_));
    taken_over_ = in_force_;
    return read_key();
}

sys::Result<void> Guard::read_key() {
    const auto key = TRY(pins_.content_key.get(only));
    key_.bytes = key.value_or(key_.bytes);
    return {};
}

sys::Result<PolicyTable> Guard::read_sealed_table() const {
    PolicyTable table = TRY(load_table(sealed_table_));
    guard_question question{};
    const auto hash = TRY(hash_of(table));
    std::memcpy(question.table, hash.data(), hash.size());
    std::vector<guard_name> taken;
    for (const auto& [name, rule] : table) {
        question.name = name;
        const auto answer = TRY(call_program(pins_, asking_program, question));
        if ((answer & GUARD_IS_SEALED_TABLE) == 0)
            return sys::failure(sys::ErrorKind::invalid,
                                sealed_table_.native() + " is not what the machine was sealed with");
        if ((answer & GUARD_IS_ADMITTED) == 0) taken.push_back(name);
    }
    for (const guard_name& name : taken)
        table.erase(name);
    return table;
}

bool Guard::seal_admits(std::string_view module) const {
    const auto name = name_key(module);
    if (!name) return false;
    const auto answer = call_program(pins_, asking_program, guard_question{.name = *name, .table = {}});
    return answer && (*answer & GUARD_IS_ADMITTED) != 0;
}

Published Guard::publish(const PolicyTable& table) {
    return sealed() ? tighten(table) : published(put_in_force(table));
}

/// A swap of the two maps ends when no program uses the former one any more, which the kernel waits for. It
/// takes none where the table is there already, as after a restart of the daemon, or none is. That programs
/// look up this map, and not another process's, repair() sees.
sys::Result<void> Guard::put_in_force(const PolicyTable& table) {
    auto now = taken_over_ ? sys::Result<PolicyTable>(std::move(*std::exchange(taken_over_, std::nullopt)))
                           : read_rules(pins_, second_in_force_);
    if (!now) return replace(table);
    PolicyTable& renumbered = *now;
    const bool is_new = renumbered.empty();
    if (!is_new) renumbered[head_key].number = head_of(table).number;
    if (!is_new && text_of_table(renumbered) != text_of_table(table)) return replace(table);
    TRY(forget_refusals()); // the index may be another
    TRY(is_new ? fill(active(), table) : active().set(head_key, head_of(table)));
    sys::trace(sys::Topic::bpf, "published a table of {} entries {}", table.size(),
               is_new ? "as the first" : "that was in force already");
    in_force_ = table;
    return {};
}

sys::Result<void> Guard::replace(const PolicyTable& table) {
    TRY(fill(spare(), table));
    // Before the swap: what cannot be forgotten would be refused by a policy that allows it. If it is the
    // swap that fails, the hook is asked again, and no more.
    TRY(forget_refusals());
    const auto fd = static_cast<std::uint32_t>(spare().fd());
    // Returns when no program uses the former one any more (maybe_wait_bpf_programs of kernel/bpf/syscall.c).
    TRY(pins_.policy.set(only, fd));
    sys::trace(sys::Topic::bpf, "published a table of {} entries", table.size());
    second_in_force_ = !second_in_force_;
    in_force_ = table;
    static_cast<void>(spare().clear()); // it is cleared again before it is filled
    return {};
}

Published Guard::tighten(const PolicyTable& wanted) {
    if (!in_force_) return refused_by_seal("its policy cannot be changed: " + unknown_.what);
    if (const auto looser = loosened(*in_force_, wanted); !looser.empty())
        return refused_by_seal(sentence_of(looser));
    // Only names can be taken away from what is sealed.
    if (!loosened(wanted, stricter_half(*in_force_, wanted)).empty())
        return refused_by_seal(sentence_of({"pins cannot be changed"}));
    return published(take_away(*in_force_, wanted));
}

sys::Result<void> Guard::take_away(PolicyTable& from, const PolicyTable& wanted) {
    TRY(open_programs(pins_, Part::sealing)); // where it was sealed just now
    for (const guard_name& name : taken_away(from, wanted)) {
        const auto code = TRY(call_program(pins_, tightening_program, name));
        if (code != 0) return sys::system_failure("cannot take away", text_of(name.text), EIO);
        from.erase(name);
    }
    from.insert_or_assign(head_key, head_of(wanted)); // status says by which policy that is
    // What stays remembered is refused by a stricter policy as well: that alone must not keep it from coming.
    static_cast<void>(forget_refusals());
    return {};
}

sys::Result<void> Guard::detach() {
    TRY(remove_pinned());
    pins_.links.clear(); // the last that kept them
    return {};
}

sys::Result<std::vector<std::string>> Guard::arm() {
    std::vector<std::string> repaired;
    if (::access(pins_.directory.c_str(), F_OK) != 0) TRY(restore_pins(pins_)); // detach() was here
    for (const Part part : {Part::guarding, Part::sealing}) {
        if (part == Part::sealing && !sealed()) break;
        TRY(open_programs(pins_, part)); // those of the seal may be new
        for (const ProgramRow& row : hooks_of(part)) {
            const bool changed = TRY(attach(pins_, row.name));
            if (changed)
                repaired.push_back(fmt::format("the link of {} was attached or pinned again", row.name));
        }
    }
    if (pins_.directory != pin_directory()) {
        TRY(replace_pins(pins_));
        repaired.clear();
    }
    return repaired;
}

bool Guard::sealed() {
    if (pins_.sealed) return true;
    const auto settings = settings_of(pins_);
    if (!settings || settings->sealed == 0) return false;
    pins_.sealed = true;
    for (const MapRow& row : map_table)
        if (row.seal == Seal::closes) row.in(pins_) = {};
    key_ = {};
    return true;
}

sys::Result<bool> Guard::is_as_published() const {
    const auto used = TRY(pins_.policy.get(only));
    const auto expected = TRY(active().id());
    if (!in_force_ || used.value_or(0) != expected) return false;
    const auto in_kernel = TRY(read_rules(pins_, second_in_force_));
    return text_of_table(in_kernel) == text_of_table(*in_force_);
}

Repair Guard::repair() {
    const auto failed = [](sys::Error error) {
        return Repair{.outcome = Repair::Outcome::failed, .error = std::move(error)};
    };
    const auto restored = restore_pins(pins_);
    if (!restored) return failed(restored.error());
    auto repaired = arm();
    if (!repaired) return failed(repaired.error());
    Repair repair{.repaired = std::move(*repaired)};
    if (*restored) repair.repaired.emplace_back("pins were missing, and are there again");
    if (sealed()) return repair;
    if (const auto frozen = first_frozen(pins_); !frozen.empty())
        return {
            .outcome = Repair::Outcome::needs_new_set,
            .error = {sys::ErrorKind::failed,
                      fmt::format("another process has frozen {}, which takes no policy any more", frozen)}};
    const auto as_published = is_as_published();
    if (!as_published) return failed(as_published.error());
    if (*as_published) return repair;
    if (auto replaced = replace(PolicyTable(*in_force_)); !replaced) return failed(replaced.error());
    repair.repaired.emplace_back("the policy in the kernel was not the one published, and is again");
    return repair;
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
    if (!name || (in_force_ && (head_of(*in_force_).flags & GUARD_AUDIT) != 0)) return;
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
    return pins_.refused_tokens.clear(); // the epoch was frozen by another process
}

std::vector<CountedRefusals> Guard::take_counted(Counted which) {
    constexpr std::uint64_t second = 1'000'000'000;
    std::vector<CountedRefusals> counted;
    const auto all = pins_.repeats.read_all(GUARD_MAX_REPEATS); // taking one out would end the walk
    if (!all) return counted;
    const auto now = static_cast<std::uint64_t>(sys::BootClock::now().time_since_epoch().count());
    for (const auto& [kind, seen] : *all)
        if (which == Counted::all || now - std::max(seen.window, seen.last) > second)
            if (const auto how = pins_.repeats.extract(kind); how && *how && (*how)->unrecorded != 0)
                counted.push_back({.what = kind, .how = **how});
    return counted;
}

std::uint64_t Guard::take_lost() {
    const std::uint64_t lost = read_counters(pins_).lost;
    if (lost <= state_.lost_reported) return 0;
    const std::uint64_t more = lost - state_.lost_reported;
    state_.lost_reported = lost;
    static_cast<void>(pins_.state.set(only, state_)); // else another daemon reports it once more
    return more;
}

sys::Result<PolicyTable> read_table(const OpenPins& pins) {
    const bool second = TRY(is_second_active(pins));
    return read_rules(pins, second);
}

} // namespace kmodguard::kernel
