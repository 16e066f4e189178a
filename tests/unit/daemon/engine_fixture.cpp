// SPDX-License-Identifier: AGPL-3.0-only
#include "daemon/engine_fixture.hpp"

namespace kmodguard::daemon {

EngineFixture::EngineFixture() {
    add_usual_modules(tree);
    tree.write(policy, usual_policy);
}

EngineFixture::~EngineFixture() = default;

Engine& EngineFixture::engine() {
    if (!engine_) engine_.emplace(tree.paths(), test::ModuleTree::release, reader, forced);
    return *engine_;
}

void EngineFixture::restart() {
    engine_.reset();
}

std::string EngineFixture::verdict(const std::string& token) {
    return std::string(to_string(engine().decide(token, Engine::Known::by_files).effective()));
}

std::string EngineFixture::reason(const std::string& token) {
    return std::string(to_string(engine().decide(token, Engine::Known::by_files).reason));
}

} // namespace kmodguard::daemon
