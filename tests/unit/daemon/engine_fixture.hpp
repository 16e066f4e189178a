// SPDX-License-Identifier: AGPL-3.0-only
//
// An engine over a root directory with modules and policy files in it.
#pragma once

#include "daemon/engine.hpp"
#include "module_tree.hpp"
#include "reader/local/local_reader.hpp"

#include <gtest/gtest.h>

#include <optional>
#include <string>

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

    EngineFixture();
    ~EngineFixture() override;

    Engine& engine();
    void restart();

    /// "allow" or "refuse": what happens to a request for `token`.
    std::string verdict(const std::string& token);
    std::string reason(const std::string& token);

    test::ModuleTree tree;
    reader::LocalReader reader{tree.paths()};
    std::optional<core::Mode> forced;

  private:
    std::optional<Engine> engine_;
};

} // namespace kmodguard::daemon
