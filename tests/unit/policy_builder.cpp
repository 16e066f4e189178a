// SPDX-License-Identifier: AGPL-3.0-only
#include "policy_builder.hpp"

#include "core/admission.hpp"

namespace kmodguard::test {

PolicyBuilder::PolicyBuilder() {
    source_.files = {"policy.toml"};
}

PolicyBuilder::~PolicyBuilder() = default;
PolicyBuilder::PolicyBuilder(const PolicyBuilder&) = default;
PolicyBuilder& PolicyBuilder::operator=(const PolicyBuilder&) = default;

PolicyBuilder& PolicyBuilder::pin(const std::string& module, const core::Sha256& sha256) {
    source_.pins.push_back({module, sha256, next_line()});
    return *this;
}

PolicyBuilder& PolicyBuilder::audit() {
    source_.mode = core::Mode::audit;
    return *this;
}

PolicyBuilder& PolicyBuilder::without_dependencies() {
    source_.dependencies = false;
    return *this;
}

core::Policy PolicyBuilder::build() const {
    return core::Policy(source_);
}

PolicyBuilder& PolicyBuilder::add(std::vector<core::PolicySource::Entry>& list,
                                  std::initializer_list<std::string_view> texts) {
    for (const std::string_view text : texts)
        list.push_back({std::string(text), next_line()});
    return *this;
}

core::Origin PolicyBuilder::next_line() {
    return {.file = 0, .line = ++line_};
}

core::Decision decide_one_image(const core::Policy& policy, core::ModuleIndex& index,
                                const core::ImageFacts& facts) {
    return decide_image(policy, index, core::Admissions(policy, index), facts);
}

} // namespace kmodguard::test
