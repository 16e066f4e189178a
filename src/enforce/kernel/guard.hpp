// SPDX-License-Identifier: AGPL-3.0-only
//
// A set of programs and maps in the kernel, all of it pinned, with the policy in it: made, attached,
// published to and kept whole. It goes on enforcing when the daemon is gone.
#pragma once

#include "enforce/kernel/enforcer.hpp"
#include "enforce/kernel/pins.hpp"
#include "enforce/kernel/policy_table.hpp"
#include "enforce/kernel/status.hpp"
#include "modules/hash.hpp"
#include "sys/result.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::kernel {

class Loader;

/// Refusals that are the same for a reader of the log, and that have no records.
struct CountedRefusals {
    guard_refusal what;
    guard_repeats how;
};

/// What was changed from outside, and what became of it.
struct Repair {
    enum class Outcome : std::uint8_t {
        whole,         ///< it is as it is to be, perhaps again
        failed,        ///< as `error` says; the next time may be better
        needs_new_set, ///< only another set helps, as a new daemon makes
    };
    Outcome outcome = Outcome::whole;
    std::vector<std::string> repaired = {};
    sys::Error error = {};
};

class Guard {
  public:
    /// Takes over what is pinned if it is of this build, or sealed; otherwise loads a new set. It enforces,
    /// or does so again, from arm() on: publish a policy before. `sealed_table` is where the table of a
    /// sealed machine is kept.
    [[nodiscard]] static sys::Result<Guard> establish(Loader& loader, std::filesystem::path sealed_table);

    /// Makes `table` the policy in force, all at once. While sealed it may only be stricter than what is in
    /// force (else Outcome::sealed, and `error` says what is not); the difference is taken away for good.
    [[nodiscard]] Published publish(const PolicyTable& table);

    /// Attaches the programs and pins them, or what of it is missing. Returns what had to be repaired.
    [[nodiscard]] sys::Result<std::vector<std::string>> arm();

    /// Takes the programs off the hooks, and all pins away: nothing is enforced any more. What was loaded
    /// stays open here, so that publish() and then arm() bring it back, which loading again would take
    /// capabilities for. ErrorKind::denied if it is sealed; then, and after any other error, it goes on
    /// enforcing.
    [[nodiscard]] sys::Result<void> detach();

    /// Looks for what was changed from outside since the last publish: contents of maps, pins, links. Puts
    /// right what it can.
    [[nodiscard]] Repair repair();

    /// Whether it was sealed (seal() in pinned.hpp) meanwhile. From then on this object, too, has no way
    /// to the maps any more: it lets go of what it has open.
    [[nodiscard]] bool sealed();

    /// Lets compressed images of this content pass as that module.
    [[nodiscard]] sys::Result<void> admit_content(const modules::ContentTag& tag, std::string_view module,
                                                  const core::Sha256& sha256);
    /// Begins again, when there is no room for more: contents that no policy admits any more stay otherwise.
    void forget_contents();
    [[nodiscard]] const modules::ContentKey& content_key() const { return key_; }

    /// Refuses `token` from now on without asking the daemon, until forget_refusals().
    void remember_refusal(std::string_view token);
    /// On an error they are all remembered still.
    [[nodiscard]] sys::Result<void> forget_refusals();

    /// Refusals that the programs have counted and not recorded, each reported once: `all`, or of kinds of
    /// which none came in the last second. Where a map cannot be read there are none, and they are reported
    /// later.
    enum class Counted { all, ended };
    [[nodiscard]] std::vector<CountedRefusals> take_counted(Counted which);
    /// Attempts that neither have a record nor were counted, since the last call of any daemon.
    [[nodiscard]] std::uint64_t take_lost();

    [[nodiscard]] const OpenPins& pins() const { return pins_; }
    /// The table in force: sealed, it may be another than what was published last. Nothing if it is sealed
    /// and the file that has the table is gone or was changed.
    [[nodiscard]] const std::optional<PolicyTable>& in_force() const { return in_force_; }
    /// Whether what is sealed admits `module`, as the kernel itself answers. False if it cannot be asked.
    [[nodiscard]] bool seal_admits(std::string_view module) const;

  private:
    Guard(OpenPins pins, std::filesystem::path sealed_table)
        : pins_(std::move(pins)), sealed_table_(std::move(sealed_table)) {}
    [[nodiscard]] sys::Result<void> prepare();
    [[nodiscard]] sys::Result<void> read_state();
    [[nodiscard]] sys::Result<PolicyTable> read_sealed_table() const;
    [[nodiscard]] sys::Result<void> put_in_force(const PolicyTable& table);
    [[nodiscard]] sys::Result<void> replace(const PolicyTable& table);
    [[nodiscard]] Published tighten(const PolicyTable& wanted);
    [[nodiscard]] sys::Result<void> take_away(PolicyTable& from, const PolicyTable& wanted);
    [[nodiscard]] sys::Result<void> read_key();
    [[nodiscard]] sys::Result<bool> is_as_published() const;
    [[nodiscard]] const Map<guard_name, guard_rule>& active() const {
        return second_in_force_ ? pins_.policy_b : pins_.policy_a;
    }
    [[nodiscard]] const Map<guard_name, guard_rule>& spare() const {
        return second_in_force_ ? pins_.policy_a : pins_.policy_b;
    }

    OpenPins pins_;
    std::filesystem::path sealed_table_;
    bool second_in_force_ = false; ///< which of the two policy maps is in force
    guard_state state_{};
    modules::ContentKey key_{};
    std::optional<PolicyTable> in_force_;
    std::optional<PolicyTable> taken_over_; ///< the same, as it was found; until the first publication
    sys::Error unknown_;                    ///< why in_force_ is not known
};

/// The table that is in force, read back from the kernel, without what was taken away since the seal.
[[nodiscard]] sys::Result<PolicyTable> read_table(const OpenPins& pins);
/// Whether what `pins` have open was loaded by this very build. Not known of what is sealed.
[[nodiscard]] sys::Result<bool> is_this_build(const OpenPins& pins);

} // namespace kmodguard::kernel
