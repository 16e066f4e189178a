// SPDX-License-Identifier: AGPL-3.0-only
//
// An engine over a root directory with modules and policy files in it.
#pragma once

#include "daemon/engine.hpp"
#include "module_tree.hpp"
#include "sys/file.hpp"

#include <gtest/gtest.h>

#include <functional>

namespace kmodguard::daemon {

class EngineFixture : public ::testing::Test {
  protected:
    static constexpr const char* policy = "etc/kmodguard/policy.toml";
    static constexpr const char* usual_policy = "# Kept by hand.\n"
                                                "version = 1\n"
                                                "mode = \"enforce\"\n"
                                                "\n"
                                                "[allow]\n"
                                                "modules = [\n"
                                                "    \"kmt_base\", # everything stands on it\n"
                                                "    \"kmt-after\",\n"
                                                "]\n"
                                                "aliases = [\"kmt-twin-*\"]\n"
                                                "\n"
                                                "[deny]\n"
                                                "modules = [\"kmt_twin_b\"] # never\n";

    EngineFixture() {
        add_usual_modules(tree);
        tree.write(policy, usual_policy);
    }

    Engine& engine() {
        if (!engine_) engine_.emplace(tree.paths(), test::ModuleTree::release, forced);
        return *engine_;
    }
    void restart() { engine_.reset(); }

    /// "allow" or "refuse": what happens to a request for `token`.
    std::string verdict(const std::string& token) {
        return std::string(to_string(engine().decide(token).effective()));
    }
    std::string reason(const std::string& token) {
        return std::string(to_string(engine().decide(token).reason));
    }

    test::ModuleTree tree;
    std::optional<core::Mode> forced;

  private:
    std::optional<Engine> engine_;
};

} // namespace kmodguard::daemon
