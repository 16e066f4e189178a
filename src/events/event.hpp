// SPDX-License-Identifier: AGPL-3.0-only
//
// The record of one attempt to load a module, the same at every enforcement point.
#pragma once

#include "core/decision.hpp"

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::events {

/// Identifies kmodguard's events in the journal: journalctl MESSAGE_ID=... (data/kmodguard.catalog).
inline constexpr std::string_view message_id = "6f0c3d5d0a2f4f0c9a4b7d1e52c8e9a1";

/// Who wanted the module. The autoload point alone cannot know: there the kernel's own thread asks, on behalf
/// of nobody it names; the kernel point sees who made it ask.
struct Requester {
    pid_t pid = 0;                    ///< in the initial namespace; of a guest, in the guest
    std::optional<uid_t> uid;         ///< in the initial user namespace; none of a guest or a kernel thread
    std::uint32_t user_namespace = 0; ///< inode number; 0: not known
    bool kernel_thread = false;       ///< of no process: it asks on behalf of one that it does not name
    std::string command;
    std::string executable; ///< as its mount namespace has it; ".../" where the beginning is missing
    std::string cgroup;
    std::string container; ///< its id; "" if the cgroup names none
};

/// The container's id in a cgroup path, as docker, podman, containerd, CRI-O and LXC name them; "" if none,
/// or if the one who is in it may have named it: below a user's own cgroups, a service's that is no container
/// engine, another container's, or where the beginning of the path is missing.
[[nodiscard]] std::string container_of_cgroup(std::string_view cgroup);

/// The call by which the same program has tried the same before, in a form that it was not to be taken in:
/// packed.
struct EarlierCall {
    std::string call;
    std::string file;
    std::string answer;
};

struct Attempt {
    std::chrono::system_clock::time_point time;
    core::Point point = core::Point::autoload;
    std::uint64_t generation = 0; ///< of the policy that judged
    core::Decision decision;
    std::optional<Requester> requester = std::nullopt;
    std::string call = {};       ///< the system call that brought an image; "" for requests
    std::string file = {};       ///< that the image came from, where it did
    std::string parameters = {}; ///< of the module, where they were seen
    std::optional<core::Sha256> sha256 = std::nullopt; ///< of the image, where it was hashed
    std::string answer = {};    ///< what the caller was told: "0", "EPERM"; "" where that is not known
    std::uint64_t repeated = 0; ///< earlier attempts of the same kind that were counted, not recorded
    /// When the first of these was made; nothing where that is not known.
    std::optional<std::chrono::system_clock::time_point> repeated_since = std::nullopt;
    std::vector<std::string> other_tokens =
        {}; ///< that these asked for, where nothing answers to any of them
    std::optional<EarlierCall> after = std::nullopt;
    std::uint64_t image_size = 0; ///< bytes that were handed over; 0: not known
    /// The answer asks for the same image in another form, and libkmod then hands it over unpacked.
    bool other_form_wanted = false;
    std::string note = {};  ///< anything else worth knowing
    bool powerless = false; ///< its caller could load nothing at all, and may try as often as it likes
    /// The rules allow it, and still nothing was done: its caller had not the right to, as `note` says.
    bool withheld = false;
};

/// What the attempt was about, for a headline: what was asked for, or the module that an image holds, or the
/// file that it came from; "an image" where nothing is known. Printable.
[[nodiscard]] std::string subject_of(const Attempt& event);

/// Whether it is a trial of `kmodctl doctor`: its canary, or its request for what nobody has, by a process of
/// that name of the machine's own root. Root could imitate it, and gains no more than that what is refused is
/// no warning.
[[nodiscard]] bool is_trial(const Attempt& event);

/// Whether the attempt is one to call somebody's attention to: refused, let pass by audit mode alone, or
/// withheld. A name that nothing answers to is not, for nothing would have been loaded: a kernel's ciphers
/// ask for dozens of those at each boot. Nor is a trial.
[[nodiscard]] bool is_notable(const Attempt& event);

/// Whether the answer has the caller try again by another call, with the same image in another form: what was
/// packed, unpacked.
[[nodiscard]] bool asks_for_other_form(const Attempt& event);

/// Who has brought it about, by container or user: "container 0123", "user 1000"; "" where that is not known.
[[nodiscard]] std::string originator_of(const Attempt& event);

/// What a log that cannot keep up loses first.
enum class Importance {
    routine,  ///< anybody can bring it about, any number of times: requests that are refused, powerless
              ///< callers
    important ///< what was loaded or let pass, images of those that can load, the seal, changes from outside
};
[[nodiscard]] Importance importance_of(const Attempt& event);

/// One line for people, also the journal's MESSAGE: "autoload net-pf-9: refused: ...".
[[nodiscard]] std::string summary(const Attempt& event);

} // namespace kmodguard::events
