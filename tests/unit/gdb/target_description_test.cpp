// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows which number a described register has, and what makes a description unusable.
#include "gdb/target_description.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>

namespace kmodguard::gdb {
namespace {

using Documents = std::vector<std::string>;

TargetDescription described(std::string_view xml) {
    TargetDescription description;
    const auto included = description.add_document(xml);
    EXPECT_TRUE(included) << included.error().what;
    return description;
}

int number_of(const TargetDescription& description, std::string_view name) {
    const auto found = description.find(name);
    return found ? found->number : -1;
}

TEST(TargetDescriptions, MainDocumentNamesTheOthers) {
    TargetDescription description;
    const auto included = description.add_document(
        R"(<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target>)"
        R"(<architecture>i386:x86-64</architecture><xi:include href="i386-64bit.xml"/>)"
        "<xi:include\n href = 'b_2.xml' /></target>");
    ASSERT_TRUE(included) << included.error().what;
    EXPECT_EQ(*included, (Documents{"i386-64bit.xml", "b_2.xml"}));
    EXPECT_EQ(description.size(), 0U);
}

TEST(TargetDescriptions, RegisterWithoutANumberFollowsTheOneBefore) {
    TargetDescription description;
    ASSERT_TRUE(
        description.add_document(R"(<reg name="a" bitsize="64"/><reg bitsize='32' name='b' type="int"/>
        <reg name="c" bitsize="64" regnum="66"/><reg name="d" bitsize="64"></reg>)"));
    ASSERT_TRUE(description.add_document(R"(<feature name="x"><reg name="e" bitsize="64"/></feature>)"));
    EXPECT_EQ(description.find("a"), (Register{.number = 0, .offset = 0, .size = 8}));
    EXPECT_EQ(description.find("b"), (Register{.number = 1, .offset = 0, .size = 4}));
    EXPECT_EQ(number_of(description, "c"), 66);
    EXPECT_EQ(number_of(description, "d"), 67);
    EXPECT_EQ(number_of(description, "e"), 68) << "the next document goes on counting";
    EXPECT_EQ(description.find("f"), std::nullopt);
}

TEST(TargetDescriptions, RegistersInCommentsAreNoRegisters) {
    const auto description = described(R"(<reg name="gs" bitsize="32" regnum="23"/>
        <!-- Segment descriptor caches and TLS base MSRs -->
        <!--reg name="cs_base" bitsize="64" type="int64"/>
        <reg name="ss_base" bitsize="64" type="int64"/-->
        <![CDATA[<reg name="no" bitsize="64"/>]]><?note <reg name="no" bitsize="64"/>?>
        <reg name="fs_base" bitsize="64" type="int64"/>)");
    EXPECT_EQ(description.find("cs_base"), std::nullopt);
    EXPECT_EQ(description.find("ss_base"), std::nullopt);
    EXPECT_EQ(description.find("no"), std::nullopt);
    EXPECT_EQ(number_of(description, "fs_base"), 24);
}

TEST(TargetDescriptions, OtherElementsAndQuotedAnglesDoNotDisturb) {
    const auto description = described(R"(<vector id="v" type="float" count="4"/><flags id="f" size="4">
        <field name="A" start="0" end="0"/></flags><regs name="no" bitsize="64"/>
        <reg note="a > b" other='"' name="yes" bitsize="64"/>)");
    EXPECT_EQ(description.size(), 1U);
    EXPECT_EQ(number_of(description, "yes"), 0);
}

TEST(TargetDescriptions, RegistersOfOtherSizesAreCountedButNotFound) {
    const auto description = described(
        R"(<reg name="st0" bitsize="80"/><reg name="xmm0" bitsize="128"/><reg name="bit" bitsize="1"/>
                     <reg name="word" bitsize="16"/><reg name="none" bitsize="0"/><reg name="last" bitsize="64"/>)");
    EXPECT_EQ(description.find("st0"), std::nullopt);
    EXPECT_EQ(description.find("bit"), std::nullopt);
    EXPECT_EQ(description.find("word"), (Register{.number = 3, .offset = 0, .size = 2}));
    EXPECT_EQ(number_of(description, "last"), 5);
}

TEST(TargetDescriptions, FirstOfTwoRegistersOfOneNameCounts) {
    EXPECT_EQ(number_of(described(R"(<reg name="a" bitsize="64"/><reg name="a" bitsize="64"/>)"), "a"), 0);
}

TEST(TargetDescriptions, UnusableOnesAreErrors) {
    for (const std::string xml :
         {"<",
          "<reg",
          R"(<reg name="a" bitsize="64")",
          "<!-- no end",
          "<![CDATA[ no end",
          "<?no end",
          "<reg/>",
          R"(<reg name="a"/>)",
          R"(<reg bitsize="64"/>)",
          R"(<reg name="" bitsize="64"/>)",
          R"(<reg name="a" bitsize="x"/>)",
          R"(<reg name="a" bitsize="-64"/>)",
          R"(<reg name=a bitsize="64"/>)",
          R"(<reg name="a" bitsize="64" regnum="x"/>)",
          R"(<reg name="a" bitsize="64" regnum="65536"/>)",
          R"(<reg name="a" bitsize="64" regnum="99999999999999999999"/>)",
          R"(<reg name="a" bitsize="64" regnum="65535"/><reg name="b" bitsize="64"/>)",
          "<xi:include/>",
          R"(<xi:include href=""/>)",
          R"(<xi:include href="a:0,10"/>)",
          R"(<xi:include href="a#b"/>)",
          R"(<xi:include href="a)"}) {
        TargetDescription description;
        const auto added = description.add_document(xml);
        ASSERT_FALSE(added) << xml;
        EXPECT_EQ(added.error().kind, sys::ErrorKind::invalid);
    }
}

TEST(TargetDescriptions, HaveLimits) {
    TargetDescription description;
    EXPECT_TRUE(description.add_document(std::string(max_description, ' ')));
    EXPECT_FALSE(description.add_document(std::string(max_description + 1, ' ')));
    EXPECT_FALSE(description.add_document(
        fmt::format(R"(<reg name="{}" bitsize="64"/>)", std::string(max_description_name + 1, 'x'))));
    std::string includes;
    for (std::size_t i = 0; i <= max_documents; ++i)
        includes += R"(<xi:include href="a"/>)";
    EXPECT_FALSE(TargetDescription().add_document(includes));
    std::string registers;
    for (std::size_t i = 0; i < max_described_registers; ++i)
        registers += R"(<reg name="a" bitsize="8"/>)";
    EXPECT_TRUE(TargetDescription().add_document(registers));
    EXPECT_FALSE(TargetDescription().add_document(registers + R"(<reg name="a" bitsize="8"/>)"));
}

} // namespace
} // namespace kmodguard::gdb
