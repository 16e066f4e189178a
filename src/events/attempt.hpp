// SPDX-License-Identifier: AGPL-3.0-only
//
// The record of one attempt to load a module, or to take one out: the same at every enforcement point.
#pragma once

#include "core/decision.hpp"
#include "events/requester.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kmodguard::events {

/// The call by which the same program has tried the same before, in a form that it was not to be taken in:
/// compressed.
struct EarlierCall {
    std::string call;
    std::string file;
    std::string answer;
};

struct Attempt {
    /// A request by name where there is no `call`, else the call that brings an image or takes a module out.
    /// Where it is judged later, `judged` is what is recorded if it never is. It is made now.
    Attempt(core::Point where, std::uint64_t policy, core::Decision judged, std::string_view by_call = "")
        : time(std::chrono::system_clock::now()), point(where), generation(policy),
          decision(std::move(judged)), call(by_call) {}

    std::chrono::system_clock::time_point time;
    core::Point point;
    std::uint64_t generation; ///< of the policy that judged
    core::Decision decision;
    std::optional<Requester> requester;
    std::string call;                   ///< the system call; "" for requests
    std::string file;                   ///< that the image came from, where it did
    std::string parameters;             ///< of the module, where they were seen
    std::optional<core::Sha256> sha256; ///< of the image, where it was hashed
    std::string answer;         ///< what the caller was told: "0", "EPERM"; "" where that is not known
    std::uint64_t repeated = 0; ///< earlier attempts of the same kind that were counted, not recorded
    /// When the first of these was made; nothing where that is not known.
    std::optional<std::chrono::system_clock::time_point> repeated_since;
    std::vector<std::string> other_tokens; ///< that these asked for, where nothing answers to any of them
    std::optional<EarlierCall> after;
    std::uint64_t image_size = 0; ///< bytes that were handed over; 0: not known
    /// The answer asks for the same image in another form, and libkmod then hands it over decompressed.
    bool other_form_wanted = false;
    std::string note;       ///< anything else worth knowing
    bool powerless = false; ///< its caller could load nothing at all, and may try as often as it likes
    /// The rules allow it, and still nothing was done: its caller had not the right to, as `note` says.
    bool withheld = false;
};

/// What the attempt was about, for a headline: what was asked for, or the module that an image holds, or the
/// file that it came from; "an image" where nothing is known. Printable.
[[nodiscard]] std::string subject_of(const Attempt& attempt);

/// Whether it is a trial of `kmodctl doctor`: its canary, or its request for a name that nothing has, by a
/// process of that name of the machine's own root. Root could imitate it, and gains no more than that what is
/// refused is no warning.
[[nodiscard]] bool is_trial(const Attempt& attempt);

/// Whether the attempt is one to call attention to: refused, let pass by audit mode alone, or
/// withheld. A name that nothing answers to is not, for nothing would have been loaded: a kernel's ciphers
/// ask for dozens of those at each boot. Nor is a trial.
[[nodiscard]] bool is_notable(const Attempt& attempt);

/// What the caller of a call that is enforced as refused is told, by the policy: EPERM or, where it pretends,
/// 0, which is noted.
[[nodiscard]] int answer_refused(Attempt& attempt, core::CallerAnswer answer);

/// Whether the answer has the caller try again by another call, with the same image in another form: what was
/// compressed, decompressed.
[[nodiscard]] bool asks_for_other_form(const Attempt& attempt);

/// What a log that cannot keep up loses first.
enum class Importance {
    routine,  ///< any process can bring it about, any number of times: requests that are refused, powerless
              ///< callers
    important ///< what was loaded or let pass, images of those that can load, the seal, changes of the guard
};
[[nodiscard]] Importance importance_of(const Attempt& attempt);

/// ", 181 times more in the 0.9 s before"; "" if there were none.
[[nodiscard]] std::string repetition_text(std::uint64_t repeated, std::chrono::system_clock::time_point time,
                                          std::optional<std::chrono::system_clock::time_point> since);

/// One line for people, also the journal's MESSAGE: "autoload net-pf-9: refused: ...".
[[nodiscard]] std::string summary(const Attempt& attempt);

} // namespace kmodguard::events
