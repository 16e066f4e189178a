// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that the canary is a module image to whoever judges it by its name, and to no kernel.
#include "ctl/canary.hpp"
#include "modules/decompress.hpp"
#include "modules/image.hpp"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>

namespace kmodguard::ctl {
namespace {

using modules::Container;

TEST(Canary, HasTheNameAndNothingToComplainAbout) {
    const auto identity = modules::identify_image(canary_image());
    EXPECT_EQ(identity.facts.problem, "");
    EXPECT_EQ(identity.facts.name, "kmodguard_canary");
}

/// The machine is the first that load_module() compares (elf_validity_check).
TEST(Canary, IsOfNoMachine) {
    const auto image = canary_image();
    Elf64_Ehdr header;
    ASSERT_GE(image.size(), sizeof header);
    std::memcpy(&header, image.data(), sizeof header);
    EXPECT_EQ(header.e_machine, EM_NONE);
}

TEST(Canary, IsTheSameEachTime) {
    EXPECT_EQ(canary_image(), canary_image());
}

TEST(Canary, UnpacksToItselfInEveryForm) {
    const auto image = canary_image();
    for (const Container container : {Container::raw, Container::gzip, Container::xz, Container::zstd}) {
        const auto packed = compress(image, container);
        ASSERT_TRUE(packed) << to_string(container);
        EXPECT_EQ(modules::container_of(std::span(*packed)), container);
        const auto unpacked = modules::decompress(std::span(*packed));
        ASSERT_TRUE(unpacked) << to_string(container) << ": " << unpacked.error().what;
        EXPECT_EQ(*unpacked, image) << to_string(container);
    }
}

/// Kernels skip the fields of a gzip header by its flags, and check xz by CRC32 alone (lib/xz).
TEST(Canary, IsPackedAsKernelsUnpackIt) {
    const auto gzip = compress(canary_image(), Container::gzip);
    ASSERT_TRUE(gzip);
    EXPECT_EQ(gzip->at(3), std::byte{0});
    const auto xz = compress(canary_image(), Container::xz);
    ASSERT_TRUE(xz);
    EXPECT_EQ(xz->at(7), std::byte{1}); // stream flags: CRC32
}

} // namespace
} // namespace kmodguard::ctl
