// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that the daemon and whatever else holds the policy always hold the same: each change goes there
// first, and a change that is not taken there is none.
#include "daemon/engine_fixture.hpp"

#include <algorithm>
#include <cstdint>

namespace kmodguard::daemon {
namespace {

class Holder final : public PolicyHolder {
  public:
    sys::Result<void> hold(const core::Policy& policy, core::ModuleIndex&,
                           std::uint64_t generation) override {
        if (refuses) return sys::failure(sys::ErrorKind::denied, "sealed");
        held = policy;
        generations.push_back(generation);
        return {};
    }
    bool refuses = false;
    core::Policy held;
    std::vector<std::uint64_t> generations;
};

class EngineHolderTest : public EngineFixture {
  protected:
    void publish() { ASSERT_TRUE(engine().publish_to(holder)); }
    Holder holder;
};

TEST_F(EngineHolderTest, GetsThePolicyInForceAtOnceAndEveryChangeAfter) {
    publish();
    EXPECT_TRUE(holder.held.allows_module("kmt_base"));
    ASSERT_TRUE(engine().allow("kmt_deep"));
    EXPECT_TRUE(holder.held.allows_module("kmt_deep"));
    ASSERT_TRUE(engine().set_mode(core::Mode::audit));
    EXPECT_EQ(holder.held.mode(), core::Mode::audit);
    ASSERT_TRUE(engine().reload(true));
    EXPECT_FALSE(holder.held.allows_module("kmt_deep"));
    EXPECT_EQ(holder.generations.back(), engine().generation());
    EXPECT_TRUE(std::ranges::is_sorted(holder.generations));
}

TEST_F(EngineHolderTest, AChangeThatIsNotTakenChangesNothing) {
    publish();
    const auto generation = engine().generation();
    holder.refuses = true;
    EXPECT_EQ(engine().allow("kmt_deep").error().what, "sealed");
    EXPECT_FALSE(engine().deny("kmt_base"));
    EXPECT_FALSE(engine().remove("kmt_base"));
    EXPECT_FALSE(engine().set_mode(core::Mode::audit));
    tree.write(policy, "version = 1\n");
    EXPECT_FALSE(engine().reload());
    EXPECT_EQ(engine().policy_error(), "sealed");
    EXPECT_EQ(engine().generation(), generation);
    EXPECT_EQ(verdict("kmt_deep"), "refuse");
    EXPECT_EQ(verdict("kmt_base"), "allow");
    EXPECT_EQ(engine().policy().mode(), core::Mode::enforce);
    EXPECT_EQ(engine().changes().count(), 0U);
}

TEST_F(EngineHolderTest, AModeForALimitedTimeThatCannotEndIsNotAskedAgain) {
    publish();
    ASSERT_TRUE(engine().set_mode(core::Mode::audit, Engine::Clock::now()));
    holder.refuses = true;
    EXPECT_FALSE(engine().end_limited_mode());
    EXPECT_FALSE(engine().limited_until());
    EXPECT_EQ(engine().policy().mode(), core::Mode::audit);
}

TEST_F(EngineHolderTest, ANewIndexIsPublishedAsWell) {
    publish();
    const auto times = holder.generations.size();
    tree.write("etc/modprobe.d/new.conf", "alias kmt_other kmt_base\n");
    ASSERT_TRUE(engine().refresh_index());
    EXPECT_GT(holder.generations.size(), times);
    EXPECT_EQ(holder.generations.back(), engine().generation());
}

} // namespace
} // namespace kmodguard::daemon
