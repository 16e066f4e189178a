// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what a policy becomes for the kernel's programs, and what of two such tables is the looser. That the
// programs answer by the table as decide() does is shown in tests/vm/test_verdicts.py.
#include "enforce/kernel/policy_table.hpp"
#include "fake_index.hpp"
#include "policy_builder.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace kmodguard::kernel {
namespace {

using test::content;
using test::PolicyBuilder;
using Texts = std::vector<std::string>;

guard_name key_of(std::string_view name) {
    return name_key(name).value();
}

class TableTest : public ::testing::Test {
  protected:
    TableTest() {
        index.module("ext4").needs("jbd2").alias("fs-ext4");
        index.module("jbd2");
        index.module("cifs").alias("fs-cifs");
        index.module("loop");
    }

    sys::Result<PolicyTable> result(const PolicyBuilder& builder, std::uint64_t generation = 7) {
        const core::Policy policy = builder.build();
        return compile(policy, core::Admissions(policy, index), generation);
    }
    PolicyTable table(const PolicyBuilder& builder, std::uint64_t generation = 7) {
        return result(builder, generation).value();
    }

    /// The names of modules in `table`, sorted.
    static Texts modules(const PolicyTable& table) {
        Texts names;
        for (const auto& [key, rule] : table)
            if (key.text[0] != '\0' && key.text[0] != GUARD_PIN_MARK) names.push_back(text_of(key.text));
        return names;
    }

    /// The pins in `table` that are filed under `number`, by the first byte of their hashes.
    static Texts pins(const PolicyTable& table, std::uint64_t number) {
        Texts found;
        for (const auto& [key, rule] : table) {
            if (key.text[0] != GUARD_PIN_MARK) continue;
            std::uint32_t filed = 0;
            std::memcpy(&filed, key.text + 1 + GUARD_HASH_SIZE, sizeof filed);
            if (filed == number) found.push_back(fmt::format("{}", static_cast<int>(key.text[1])));
        }
        return found;
    }

    Texts loosened_by(const PolicyBuilder& held, const PolicyBuilder& wanted) {
        return loosened(table(held, 1), table(wanted, 2));
    }
    Texts taken_away_by(const PolicyBuilder& held, const PolicyBuilder& wanted) {
        Texts names;
        for (const guard_name& name : taken_away(table(held, 1), table(wanted, 2)))
            names.push_back(text_of(name.text));
        return names;
    }

    test::FakeIndex index;
};

TEST_F(TableTest, LimitedAuditModeHasItsEnd) {
    using std::chrono::seconds;
    core::PolicySource source;
    source.mode = core::Mode::audit;
    const auto head = [&] { return head_of(compile(core::Policy(source), core::Admissions(), 1).value()); };
    EXPECT_TRUE(audits(head(), seconds(1'000'000)));
    source.audit_ends = seconds(100);
    EXPECT_TRUE(audits(head(), seconds(99)));
    EXPECT_FALSE(audits(head(), seconds(100)));
    source.mode = core::Mode::enforce;
    EXPECT_FALSE(audits(head(), seconds(0)));
}

TEST_F(TableTest, HeadHasGenerationAndMode) {
    const guard_rule enforcing = table(PolicyBuilder(), 12).at(head_key);
    EXPECT_EQ(enforcing.number, 12U);
    EXPECT_EQ(enforcing.flags, 0U);
    const guard_rule auditing = table(PolicyBuilder().audit(), std::uint64_t{1} << 40U).at(head_key);
    EXPECT_EQ(auditing.number, std::uint64_t{1} << 40U);
    EXPECT_EQ(auditing.flags, GUARD_AUDIT);
}

TEST_F(TableTest, PolicyThatAdmitsNothingIsAHead) {
    const PolicyTable nothing = table(PolicyBuilder());
    ASSERT_EQ(nothing.size(), 1U);
    EXPECT_EQ(nothing.begin()->second.number, 7U);
    for (const char byte : nothing.begin()->first.text)
        EXPECT_EQ(byte, '\0');
}

TEST_F(TableTest, HeadOfATableWithoutOneRefusesNothing) {
    EXPECT_EQ(head_of(PolicyTable()).flags, GUARD_AUDIT);
    EXPECT_EQ(head_of(PolicyTable()).number, 0U);
    EXPECT_EQ(head_of(table(PolicyBuilder(), 3)).flags, 0U);
    EXPECT_EQ(head_of(table(PolicyBuilder(), 3)).number, 3U);
}

TEST_F(TableTest, HasEveryAdmittedModuleWithItsReason) {
    const PolicyTable written = table(PolicyBuilder().allow("ext4").allow_alias("fs-c*").deny("loop"));
    EXPECT_EQ(modules(written), (Texts{"cifs", "ext4", "jbd2"}));
    const auto reason = [&written](std::string_view name) {
        return static_cast<core::Reason>(written.at(key_of(name)).reason);
    };
    EXPECT_EQ(reason("ext4"), core::Reason::listed);
    EXPECT_EQ(reason("cifs"), core::Reason::alias_listed);
    EXPECT_EQ(reason("jbd2"), core::Reason::dependency);
    for (const auto& [key, rule] : written)
        EXPECT_EQ(rule.flags, 0U);
}

TEST_F(TableTest, NameThatNoKernelCanRegisterIsLeftOut) {
    const std::string longest(55, 'n');
    const PolicyTable written = table(PolicyBuilder().allow(longest, longest + "n"));
    EXPECT_EQ(modules(written), Texts{longest});
}

TEST_F(TableTest, PinsAreFiledUnderTheirModule) {
    const PolicyTable written = table(PolicyBuilder()
                                          .allow("ext4", "loop", "cifs")
                                          .pin("ext4", content(1))
                                          .pin("ext4", content(2))
                                          .pin("loop", content(2)));
    const guard_rule ext4 = written.at(key_of("ext4"));
    const guard_rule loop = written.at(key_of("loop"));
    EXPECT_EQ(ext4.flags, GUARD_PINNED);
    EXPECT_EQ(loop.flags, GUARD_PINNED);
    EXPECT_EQ(written.at(key_of("cifs")).flags, 0U);
    EXPECT_NE(ext4.number, loop.number);
    EXPECT_EQ(pins(written, ext4.number), (Texts{"1", "2"}));
    EXPECT_EQ(pins(written, loop.number), Texts{"2"});
    EXPECT_EQ(written.size(), 1U + modules(written).size() + 3U);
}

TEST_F(TableTest, PinOfAModuleThatIsNotAdmittedIsNotThere) {
    const PolicyTable written = table(PolicyBuilder().allow("ext4").pin("loop", content(1)));
    for (const auto& [key, rule] : written)
        EXPECT_NE(key.text[0], GUARD_PIN_MARK);
}

TEST_F(TableTest, SamePinTwiceIsOne) {
    const PolicyTable written =
        table(PolicyBuilder().allow("loop").pin("loop", content(1)).pin("loop", content(1)));
    EXPECT_EQ(pins(written, written.at(key_of("loop")).number), Texts{"1"});
}

TEST_F(TableTest, AsManyEntriesAsTheMapHoldsAndNotOneMore) {
    PolicyBuilder policy;
    for (int i = 0; i < GUARD_MAX_MODULES - 1; ++i)
        policy.allow(fmt::format("module_{}", i));
    const auto most = result(policy);
    ASSERT_TRUE(most);
    EXPECT_EQ(most->size(), std::size_t{GUARD_MAX_MODULES});
    policy.pin("module_0", content(1));
    const auto more = result(policy);
    ASSERT_FALSE(more);
    EXPECT_EQ(more.error().kind, sys::ErrorKind::bad_policy);
    EXPECT_NE(more.error().what.find("32768 modules and pins, more than the 32767"), std::string::npos)
        << more.error().what;
    EXPECT_FALSE(more.error().hint.empty());
}

TEST_F(TableTest, KeyIsPaddedWithNulsAndEndsInOne) {
    const std::string longest(GUARD_NAME_SIZE - 1, 'n');
    EXPECT_EQ(std::string_view(key_of("loop").text, GUARD_NAME_SIZE), "loop" + std::string(52, '\0'));
    EXPECT_EQ(text_of(key_of(longest).text), longest);
    EXPECT_EQ(name_key(longest + "n"), std::nullopt);
}

TEST_F(TableTest, SameOrStricterLoosensNothing) {
    const auto held = PolicyBuilder().allow("ext4", "loop");
    EXPECT_EQ(loosened_by(held, held), Texts());
    EXPECT_EQ(loosened_by(held, PolicyBuilder().allow("loop")), Texts());
    EXPECT_EQ(loosened_by(held, PolicyBuilder().allow("ext4", "loop").without_dependencies()), Texts());
    EXPECT_EQ(loosened_by(held, PolicyBuilder()), Texts());
}

TEST_F(TableTest, OneMoreModuleIsLooser) {
    EXPECT_EQ(loosened_by(PolicyBuilder().allow("loop"), PolicyBuilder().allow("loop", "ext4")),
              (Texts{"ext4 would be allowed", "jbd2 would be allowed"}));
}

TEST_F(TableTest, AnotherReasonIsNotLooser) {
    EXPECT_EQ(loosened_by(PolicyBuilder().allow("cifs"), PolicyBuilder().allow_alias("fs-cifs")), Texts());
}

TEST_F(TableTest, AuditModeIsLooserThanEnforceAndNotTheOtherWayRound) {
    const auto enforcing = PolicyBuilder().allow("loop");
    const auto auditing = PolicyBuilder().allow("loop").audit();
    EXPECT_EQ(loosened_by(enforcing, auditing), Texts{"the mode would be audit"});
    EXPECT_EQ(loosened_by(auditing, enforcing), Texts());
    EXPECT_EQ(loosened_by(auditing, auditing), Texts());
}

/// The modules before "loop" are others in both tables, so that the pins are filed under other numbers.
class PinsTest : public TableTest {
  protected:
    template <typename... Numbers>
    static PolicyBuilder pinned(Numbers... numbers) {
        return with_pins(PolicyBuilder().allow("ext4", "cifs", "loop"), numbers...);
    }
    template <typename... Numbers>
    static PolicyBuilder wanted(Numbers... numbers) {
        return with_pins(PolicyBuilder().allow("loop"), numbers...);
    }

  private:
    template <typename... Numbers>
    static PolicyBuilder with_pins(PolicyBuilder policy, Numbers... numbers) {
        (policy.pin("loop", content(static_cast<std::uint8_t>(numbers))), ...);
        return policy;
    }
};

TEST_F(PinsTest, FewerContentsAreStricter) {
    EXPECT_EQ(loosened_by(pinned(), wanted(1)), Texts());
    EXPECT_EQ(loosened_by(pinned(1, 2), wanted(1, 2)), Texts());
    EXPECT_EQ(loosened_by(pinned(1, 2), wanted(2)), Texts());
}

TEST_F(PinsTest, OtherOrAnyContentIsLooser) {
    const Texts looser = {"loop would be allowed with other content"};
    EXPECT_EQ(loosened_by(pinned(1), wanted(2)), looser);
    EXPECT_EQ(loosened_by(pinned(1), wanted(1, 2)), looser);
    EXPECT_EQ(loosened_by(pinned(1, 2), wanted()), looser);
}

TEST_F(PinsTest, ContentThatAnotherModuleIsPinnedToIsOther) {
    const auto held = PolicyBuilder().allow("cifs", "loop").pin("cifs", content(2)).pin("loop", content(1));
    EXPECT_EQ(loosened_by(held, PolicyBuilder().allow("loop").pin("loop", content(2))),
              Texts{"loop would be allowed with other content"});
}

TEST_F(TableTest, TakenAwayIsWhatIsAdmittedNoMore) {
    const auto held = PolicyBuilder().allow("ext4", "loop", "cifs").pin("cifs", content(1));
    EXPECT_EQ(taken_away_by(held, held), Texts());
    EXPECT_EQ(taken_away_by(held, PolicyBuilder().allow("loop")), (Texts{"cifs", "ext4", "jbd2"}));
    EXPECT_EQ(taken_away_by(PolicyBuilder().allow("loop"), held), Texts());
    EXPECT_EQ(taken_away_by(PolicyBuilder(), PolicyBuilder().audit()), Texts());
}

} // namespace
} // namespace kmodguard::kernel
