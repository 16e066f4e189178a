// SPDX-License-Identifier: AGPL-3.0-only
//
// Types are made and read by libbpf here, so that what is picked out is what it would have found.
#include "enforce/kernel/needed_types.hpp"

#include <bpf/btf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace kmodguard::kernel {
namespace {

struct Free {
    void operator()(btf* types) const { btf__free(types); }
};
using Types = std::unique_ptr<btf, Free>;

std::string bytes_of(const Types& types) {
    std::uint32_t size = 0;
    const void* bytes = btf__raw_data(types.get(), &size);
    return {static_cast<const char*>(bytes), size};
}

Types parsed(const std::string& bytes) {
    return Types(btf__new(bytes.data(), static_cast<std::uint32_t>(bytes.size())));
}

/// A small kernel: a file with a path within, a type of each other kind, and two structures of one name.
class NeededTypesTest : public ::testing::Test {
  protected:
    void SetUp() override {
        btf* b = kernel.get();
        const int integer = btf__add_int(b, "unsigned int", 4, 0);
        const int pointer = btf__add_ptr(b, integer);
        const int path = btf__add_struct(b, "path", 16);
        btf__add_field(b, "mnt", pointer, 0, 0);
        btf__add_field(b, "dentry", pointer, 64, 0);
        const int named = btf__add_typedef(b, "path_t", path);
        const int constant = btf__add_const(b, named);
        const int unnamed = btf__add_union(b, nullptr, 8);
        btf__add_field(b, "f_mode", integer, 0, 0);
        btf__add_field(b, "other", pointer, 0, 0);
        const int array = btf__add_array(b, integer, integer, 14);
        btf__add_struct(b, "file", 128);
        btf__add_field(b, "not_needed", pointer, 0, 0);
        btf__add_field(b, nullptr, unnamed, 64, 0);
        btf__add_field(b, "f_path", constant, 128, 0);
        btf__add_field(b, "name", array, 256, 0);
        btf__add_struct(b, "not_needed_either", 8);
        btf__add_field(b, "f_path", pointer, 0, 0);
        btf__add_enum(b, "reading", 4);
        btf__add_enum_value(b, "READING_MODULE", 2);
        btf__add_enum64(b, "reading", 8, false);
        btf__add_enum64_value(b, "READING_LARGE", std::uint64_t{1} << 40U);
        const int prototype = btf__add_func_proto(b, integer);
        btf__add_func_param(b, "file", pointer);
        btf__add_func(b, "security_file_open", BTF_FUNC_STATIC, prototype);
        second_function = btf__add_func(b, "security_inode_unlink", BTF_FUNC_STATIC, prototype);
        const int variable = btf__add_var(b, "jiffies", BTF_VAR_GLOBAL_ALLOCATED, integer);
        btf__add_datasec(b, ".data", 8);
        btf__add_datasec_var_info(b, variable, 0, 4);
        btf__add_volatile(b, integer);
        btf__add_restrict(b, pointer);
        btf__add_fwd(b, "inode", BTF_FWD_STRUCT);
        btf__add_float(b, "double", 8);
        btf__add_decl_tag(b, "tag", path, -1);
        btf__add_type_tag(b, "user", pointer);
        btf__add_struct(b, "file", 8);
        btf__add_field(b, "f_mode", integer, 32, 0);
    }

    /// The offset in bits of a member of the `nth` structure of that name, or of an unnamed one within it.
    static std::vector<std::uint32_t> offsets(const Types& types, const std::string& name,
                                              const std::string& member) {
        std::vector<std::uint32_t> found;
        for (std::uint32_t id = 1; id < btf__type_cnt(types.get()); ++id) {
            const btf_type* type = btf__type_by_id(types.get(), id);
            if (!btf_is_composite(type) || name != btf__name_by_offset(types.get(), type->name_off)) continue;
            for (int i = 0; i < btf_vlen(type); ++i)
                if (member == btf__name_by_offset(types.get(), btf_members(type)[i].name_off))
                    found.push_back(btf_member_bit_offset(type, static_cast<std::uint32_t>(i)));
        }
        return found;
    }

    Types kernel{btf__new_empty()};
    int second_function = 0;
    const NeededTypes needed{.types = {"file", "reading", "nowhere"},
                             .members = {"f_path", "f_mode", "dentry", "name"},
                             .functions = {"security_inode_unlink", "security_nothing"}};
};

using Offsets = std::vector<std::uint32_t>;

TEST_F(NeededTypesTest, HasTheMembersWhereTheKernelHasThem) {
    const auto found = find_types(bytes_of(kernel), needed);
    ASSERT_TRUE(found) << found.error().what;
    const Types types = parsed(found->btf);
    ASSERT_NE(types, nullptr);
    EXPECT_EQ(offsets(types, "file", "f_path"), Offsets{128});
    EXPECT_EQ(offsets(types, "file", ""), Offsets{64});
    EXPECT_EQ(offsets(types, "", "f_mode"), Offsets{0});
    EXPECT_EQ(offsets(types, "path", "dentry"), Offsets{64}) << "what lies within is there too";
    EXPECT_EQ(offsets(types, "file", "name"), Offsets{256});
}

TEST_F(NeededTypesTest, HasAllTypesOfOneName) {
    const auto found = find_types(bytes_of(kernel), needed);
    ASSERT_TRUE(found) << found.error().what;
    EXPECT_EQ(offsets(parsed(found->btf), "file", "f_mode"), Offsets{32});
}

TEST_F(NeededTypesTest, HasNothingElse) {
    const auto found = find_types(bytes_of(kernel), needed);
    ASSERT_TRUE(found) << found.error().what;
    const Types types = parsed(found->btf);
    EXPECT_EQ(offsets(types, "file", "not_needed"), Offsets{});
    EXPECT_EQ(offsets(types, "path", "mnt"), Offsets{});
    EXPECT_EQ(offsets(types, "not_needed_either", "f_path"), Offsets{});
    EXPECT_LT(btf__find_by_name_kind(types.get(), "security_file_open", BTF_KIND_FUNC), 0);
}

TEST_F(NeededTypesTest, HasEnumeratorsOfBothSizes) {
    const auto found = find_types(bytes_of(kernel), needed);
    ASSERT_TRUE(found) << found.error().what;
    const Types types = parsed(found->btf);
    const auto* small = btf__type_by_id(types.get(), static_cast<std::uint32_t>(btf__find_by_name_kind(
                                                         types.get(), "reading", BTF_KIND_ENUM)));
    ASSERT_EQ(btf_vlen(small), 1);
    EXPECT_EQ(btf_enum(small)->val, 2);
    const auto* large = btf__type_by_id(types.get(), static_cast<std::uint32_t>(btf__find_by_name_kind(
                                                         types.get(), "reading", BTF_KIND_ENUM64)));
    ASSERT_EQ(btf_vlen(large), 1);
    EXPECT_EQ(btf_enum64_value(btf_enum64(large)), std::uint64_t{1} << 40U);
}

TEST_F(NeededTypesTest, TellsTheKernelsNumbersOfFunctions) {
    const auto found = find_types(bytes_of(kernel), needed);
    ASSERT_TRUE(found) << found.error().what;
    ASSERT_EQ(found->functions.size(), 1U);
    EXPECT_EQ(found->functions.at("security_inode_unlink"), static_cast<std::uint32_t>(second_function));
}

TEST_F(NeededTypesTest, ReadsNothingBeyondTheEnd) {
    const std::string whole = bytes_of(kernel);
    for (std::size_t size = 0; size < whole.size(); ++size) {
        const std::vector<char> cut(whole.begin(),
                                    whole.begin() + static_cast<std::ptrdiff_t>(size)); // of that very size
        EXPECT_FALSE(find_types({cut.data(), cut.size()}, needed)) << size;
    }
}

TEST_F(NeededTypesTest, FailsForAKindThatIsNotKnown) {
    std::string bytes = bytes_of(kernel);
    const std::uint32_t unknown = 31U << 24U;
    std::memcpy(bytes.data() + sizeof(btf_header) + offsetof(btf_type, info), &unknown, sizeof unknown);
    const auto found = find_types(bytes, needed);
    ASSERT_FALSE(found);
    EXPECT_EQ(found.error().what,
              "cannot read the description of the kernel's types: it has types of kind 31");
}

TEST_F(NeededTypesTest, FailsForATypeThatLeadsBackToItself) {
    btf* b = kernel.get();
    const auto next = static_cast<int>(btf__type_cnt(b));
    btf__add_typedef(b, "around", next + 1);
    btf__add_typedef(b, "and_around", next);
    btf__add_struct(b, "reading", 8);
    btf__add_field(b, "name", next, 0, 0);
    const auto found = find_types(bytes_of(kernel), needed);
    ASSERT_FALSE(found);
    EXPECT_TRUE(found.error().what.ends_with("a type leads back to itself")) << found.error().what;
}

} // namespace
} // namespace kmodguard::kernel
