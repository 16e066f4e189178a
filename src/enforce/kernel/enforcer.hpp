// SPDX-License-Identifier: AGPL-3.0-only
//
// What the daemon, which publishes policies, knows of the kernel point, which enforces them.
#pragma once

#include "core/decision.hpp"
#include "core/module_index.hpp"
#include "core/policy.hpp"
#include "sys/result.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace kmodguard::kernel {

/// A policy that is to be in force.
struct Publication {
    const core::Policy& policy;
    std::shared_ptr<core::ModuleIndex> index; ///< of the modules that it is about; none: they are not known
    std::uint64_t generation = 0;
};

/// What became of a publication.
struct Published {
    enum class Outcome : std::uint8_t {
        enforced,
        left_out,    ///< the policy does not ask for it
        unavailable, ///< the policy asks for it, and does without: why_not_enforced() says why
        failed,      ///< as `error` says: what was enforced is still, and may not be another's policy either
        sealed,      ///< likewise, until the machine restarts: what is sealed admits less
    };
    Outcome outcome = Outcome::enforced;
    sys::Error error = {};

    [[nodiscard]] static Published failed(sys::Error error) { return {Outcome::failed, std::move(error)}; }

    /// Whether the policy may be in force elsewhere.
    [[nodiscard]] bool is_accepted() const {
        return outcome != Outcome::failed && outcome != Outcome::sealed;
    }
};

class Enforcer {
  public:
    Enforcer() = default;
    Enforcer(const Enforcer&) = delete;
    Enforcer& operator=(const Enforcer&) = delete;
    virtual ~Enforcer() = default;

    [[nodiscard]] virtual Published publish(const Publication& publication) = 0;
    /// What `policy`, which is in force, asks for and does not get here, and why; "" if there is nothing.
    [[nodiscard]] virtual std::string why_not_enforced(const core::Policy& policy) const = 0;
    /// Of the images that `decision` loads, one that is refused here all the same, as only an earlier policy
    /// that is sealed can have it; nothing if there is none.
    [[nodiscard]] virtual std::optional<std::string>
    refused_of(const core::ModuleDecision& decision) const = 0;
};

} // namespace kmodguard::kernel
