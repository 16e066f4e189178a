// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows what is known of the commands that modprobe.d's install lines have, among them those of published
// hardening lists and of Debian's packages; and that what is not known is never taken for nothing.
#include "core/module_index.hpp"
#include "random.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace kmodguard::core {
namespace {

using Names = std::vector<std::string>;

Names loads(std::string_view text) {
    return read_install_command(text).loads;
}

std::string unknown(std::string_view text) {
    return read_install_command(text).unknown;
}

TEST(InstallCommand, LoadsNothingWhereItIsTrueOrFalse) {
    for (const std::string text :
         {"/bin/true", "/bin/false", "/usr/bin/false", "true", ":", "exit 1", "/bin/sh -c 'exit 0'", "",
          "/usr/sbin/nologin", "echo \"$0: not wanted\" >&2; exit 1", "/bin/true # by CIS 3.2.1",
          "logger -t x 'usb-storage; modprobe is off' && false", "{ false; }", "modprobe -r pcspkr",
          "modprobe -n x", "modprobe --show-depends x", "/bin/false 2>/dev/null"})
        EXPECT_TRUE(read_install_command(text).loads_nothing()) << text << ": " << unknown(text);
}

TEST(InstallCommand, LoadsWhatItGivesToModprobe) {
    EXPECT_EQ(loads("modprobe --all alpha beta"), (Names{"alpha", "beta"}));
    EXPECT_EQ(loads("modprobe -qa alpha beta; exit 0"), (Names{"alpha", "beta"}));
    EXPECT_EQ(loads("/sbin/modprobe alpha beta=1"), Names{"alpha"});
    EXPECT_EQ(loads("/sbin/modprobe --ignore-install sg && /sbin/modprobe -q sr_mod || true"),
              (Names{"sg", "sr_mod"}));
    EXPECT_EQ(loads("modprobe nvidia-modeset ; modprobe -i nvidia-current-drm $CMDLINE_OPTS"),
              (Names{"nvidia-modeset", "nvidia-current-drm"}));
    EXPECT_EQ(loads("modprobe sg -i"), Names{"sg"});
    EXPECT_EQ(loads("sh -c 'modprobe \"a\"; sh -c \"modprobe b\"'"), (Names{"a", "b"}));
    EXPECT_EQ(loads("if true; then modprobe -- a; else exec modprobe b; fi"), (Names{"a", "b"}));
    for (const std::string text : {"modprobe --all alpha beta", "modprobe -i nvidia-current $CMDLINE_OPTS",
                                   "modprobe -w 10 a", "modprobe --wait=10 a"})
        EXPECT_EQ(unknown(text), "") << text;
}

/// getopt_long(3) takes an option that is cut short; the word after it was taken for the module.
TEST(InstallCommand, LoadsWhatComesAfterAnOptionThatIsCutShort) {
    EXPECT_EQ(loads("modprobe --al a b"), (Names{"a", "b"}));
    EXPECT_EQ(loads("modprobe --wai 5 a"), Names{"a"});
    EXPECT_EQ(loads("modprobe --dirn / a"), Names{"a"});
    EXPECT_EQ(unknown("modprobe --dirn / a"), "modprobe --dirn / a");
    EXPECT_EQ(loads("modprobe --dry a"), Names{"a"}) << "what only shows is believed by its whole name alone";
}

TEST(InstallCommand, LoadsWhatItGivesToModprobeInAnotherEnvironment) {
    EXPECT_EQ(loads("LC_ALL=C MODPROBE_OPTIONS=-q exec modprobe a"), Names{"a"});
    EXPECT_EQ(unknown("LC_ALL=C MODPROBE_OPTIONS=-q exec modprobe a"),
              "LC_ALL=C MODPROBE_OPTIONS=-q exec modprobe a");
    EXPECT_EQ(unknown("name=x; modprobe a"), "") << "which concerns no other command";
}

TEST(InstallCommand, NamesThePartThatCannotBeTold) {
    EXPECT_EQ(unknown("modprobe a; /usr/local/bin/load-all now"), "/usr/local/bin/load-all now");
    EXPECT_EQ(unknown("modprobe $NAME"), "modprobe $NAME");
    EXPECT_EQ(unknown("$MODPROBE a"), "$MODPROBE a");
    EXPECT_EQ(unknown("modprobe -C /etc/other a"), "modprobe -C /etc/other a");
    EXPECT_EQ(unknown("MODPROBE_OPTIONS=-r modprobe a"), "MODPROBE_OPTIONS=-r modprobe a");
    EXPECT_EQ(unknown("echo `modprobe b`"), "echo `modprobe b`");
    EXPECT_EQ(unknown("modprobe $(cat list)"), "modprobe $"); // and then "cat list"
    EXPECT_EQ(unknown("echo 'modprobe b"), "echo 'modprobe b");
    EXPECT_EQ(unknown("insmod /root/evil.ko"), "insmod /root/evil.ko");
    EXPECT_EQ(unknown("modprobe ./evil.ko"), "modprobe ./evil.ko");
    EXPECT_EQ(unknown("eval modprobe a"), "eval modprobe a");
    EXPECT_EQ(unknown("sh -c \"sh -c \\\"sh -c 'sh -c exit'\\\"\" x"),
              "sh -c sh -c \"sh -c 'sh -c exit'\" x");
}

TEST(InstallCommand, StillNamesWhatItLoadsBesides) {
    EXPECT_EQ(loads("/usr/local/bin/prepare && modprobe evil"), Names{"evil"});
    EXPECT_EQ(loads("modprobe $OPTIONS evil"), Names{"evil"});
    EXPECT_EQ(loads("modprobe -C /etc/other evil"), Names{"evil"});
    EXPECT_EQ(loads("insmod -f /root/ev-il.ko.xz"), Names{"ev_il"});
    EXPECT_EQ(loads("(modprobe a) | modprobe b & modprobe c"), (Names{"a", "b", "c"}));
    EXPECT_EQ(loads("modp\\robe a"), Names{"a"});
}

TEST(InstallCommand, IsBounded) {
    std::string many;
    for (int number = 0; number < 100; ++number)
        many += "modprobe m" + std::to_string(number) + ";";
    EXPECT_EQ(loads(many).size(), 64U);
    EXPECT_EQ(unknown(many), "m64");
    EXPECT_EQ(unknown("true " + std::string(4091, 'x') + ";modprobe a"), ";modprobe a");
    const std::string nested = "sh -c sh -c sh -c x";
    EXPECT_FALSE(read_install_command(nested).loads_nothing());
}

/// Whatever the text, a modprobe that stands in it by itself is seen, or something is said not to be known.
TEST(InstallCommand, NoTextHidesAModprobe) {
    constexpr std::string_view pieces[] = {";",    "&&",    " ",  "\"", "'",      "\\",        "$X",
                                           "`",    "(",     ")",  "{ ", "}",      ">",         "#",
                                           "true", "exit ", "\n", "-i", "sh -c ", "modprobe ", "="};
    test::Random random(11, 2000);
    while (random.next_round()) {
        std::string text;
        for (std::size_t length = random.below(12); length > 0; --length)
            text += pieces[random.below(std::size(pieces))];
        const auto command = read_install_command(text + " \nmodprobe evil");
        EXPECT_TRUE(!command.loads.empty() || !command.unknown.empty()) << text;
    }
}

} // namespace
} // namespace kmodguard::core
