// SPDX-License-Identifier: AGPL-3.0-only
//
// A core::Policy in one expression, without a file format:
//
//     const auto policy = PolicyBuilder().allow("loop", "dm_mod").deny_alias("net-pf-*").build();
//
// Each rule stands on a line of its own of "policy.toml", counted from 1 in the order of the calls, so that a
// test can tell which one decided.
#pragma once

#include "core/policy.hpp"

#include <string>

namespace kmodguard::test {

class PolicyBuilder {
  public:
    PolicyBuilder() { source_.files = {"policy.toml"}; }

    template <typename... Names>
    PolicyBuilder& allow(const Names&... names) {
        (source_.allow_modules.push_back({names, next_line()}), ...);
        return *this;
    }
    template <typename... Patterns>
    PolicyBuilder& allow_alias(const Patterns&... patterns) {
        (source_.allow_aliases.push_back({patterns, next_line()}), ...);
        return *this;
    }
    template <typename... Names>
    PolicyBuilder& deny(const Names&... names) {
        (source_.deny_modules.push_back({names, next_line()}), ...);
        return *this;
    }
    template <typename... Patterns>
    PolicyBuilder& deny_alias(const Patterns&... patterns) {
        (source_.deny_aliases.push_back({patterns, next_line()}), ...);
        return *this;
    }
    PolicyBuilder& pin(const std::string& module, const core::Sha256& sha256) {
        source_.pins.push_back({module, sha256, next_line()});
        return *this;
    }
    PolicyBuilder& audit() {
        source_.mode = core::Mode::audit;
        return *this;
    }
    PolicyBuilder& without_dependencies() {
        source_.dependencies = false;
        return *this;
    }

    [[nodiscard]] core::PolicySource& source() { return source_; }
    [[nodiscard]] core::Policy build() const { return core::Policy(source_); }

  private:
    core::Origin next_line() { return {.file = 0, .line = ++line_}; }

    core::PolicySource source_;
    std::uint32_t line_ = 0;
};

} // namespace kmodguard::test
