// SPDX-License-Identifier: AGPL-3.0-only
//
// A core::Policy in one expression, without a file format:
//
//     const auto policy = PolicyBuilder().allow("loop", "dm_mod").deny_alias("net-pf-*").build();
//
// Each rule stands on a line of its own of "policy.toml", counted from 1 in the order of the calls, so that a
// test can tell which one decided.
#pragma once

#include "core/decision.hpp"

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::test {

class PolicyBuilder {
  public:
    PolicyBuilder();
    ~PolicyBuilder();
    PolicyBuilder(const PolicyBuilder&);
    PolicyBuilder& operator=(const PolicyBuilder&);

    template <typename... Names>
    PolicyBuilder& allow(Names... names) {
        return add(source_.allow_modules, {names...});
    }
    template <typename... Patterns>
    PolicyBuilder& allow_alias(Patterns... patterns) {
        return add(source_.allow_aliases, {patterns...});
    }
    template <typename... Names>
    PolicyBuilder& deny(Names... names) {
        return add(source_.deny_modules, {names...});
    }
    template <typename... Patterns>
    PolicyBuilder& deny_alias(Patterns... patterns) {
        return add(source_.deny_aliases, {patterns...});
    }
    PolicyBuilder& pin(const std::string& module, const core::Sha256& sha256);
    PolicyBuilder& audit();
    PolicyBuilder& without_dependencies();

    [[nodiscard]] core::PolicySource& source() { return source_; }
    [[nodiscard]] core::Policy build() const;

  private:
    PolicyBuilder& add(std::vector<core::PolicySource::Entry>& list,
                       std::initializer_list<std::string_view> texts);
    core::Origin next_line();

    core::PolicySource source_;
    std::uint32_t line_ = 0;
};

/// The decision on an image, with admissions that are made for it alone.
[[nodiscard]] core::Decision decide_one_image(const core::Policy& policy, core::ModuleIndex& index,
                                              const core::ImageFacts& facts);

} // namespace kmodguard::test
