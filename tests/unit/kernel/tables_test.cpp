// SPDX-License-Identifier: AGPL-3.0-only
//
// Shows that the tables of maps and programs have a row for each that is in the object file, and for nothing
// else: what has no row would be neither pinned nor frozen nor closed by the seal.
#include "enforce/kernel/loader.hpp"
#include "enforce/kernel/pins.hpp"
#include "modules/hash.hpp"

#include <bpf/libbpf.h>
#include <elf.h>
#include <gtest/gtest.h>
#include <kmodguard.skel.h>

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>

namespace kmodguard::kernel {
namespace {

using Names = std::multiset<std::string>;

struct Destroy {
    void operator()(kmodguard_programs* skeleton) const { kmodguard_programs__destroy(skeleton); }
};

/// The object file that the skeleton has, as the compiler has left it.
class ObjectFile {
  public:
    ObjectFile() {
        std::size_t size = 0;
        bytes_ = static_cast<const char*>(kmodguard_programs__elf_bytes(&size));
        sections_ = at<Elf64_Shdr>(header().e_shoff, header().e_shnum);
    }

    /// The maps that a program changes by a helper: where bpf_map_update_elem or bpf_map_delete_elem is
    /// called and a map's address was the last that came into the first argument. What is written through a
    /// pointer into a value is not found by this.
    [[nodiscard]] std::set<std::string> maps_changed_by_helpers() const {
        std::set<std::string> changed;
        for (const Elf64_Shdr& section : sections_)
            if (section.sh_type == SHT_REL && (sections_[section.sh_info].sh_flags & SHF_EXECINSTR) != 0)
                follow(sections_[section.sh_info], maps_in(section), changed);
        return changed;
    }

  private:
    template <typename T>
    [[nodiscard]] std::span<const T> at(std::uint64_t offset, std::size_t count) const {
        return {reinterpret_cast<const T*>(bytes_ + offset), count};
    }
    [[nodiscard]] const Elf64_Ehdr& header() const { return at<Elf64_Ehdr>(0, 1).front(); }
    [[nodiscard]] std::string name_in(const Elf64_Shdr& strings, std::uint32_t offset) const {
        return bytes_ + strings.sh_offset + offset;
    }

    /// By the offset of the instruction that takes its address.
    [[nodiscard]] std::map<std::uint64_t, std::string> maps_in(const Elf64_Shdr& relocations) const {
        const Elf64_Shdr& symbols = sections_[relocations.sh_link];
        std::map<std::uint64_t, std::string> maps;
        for (const auto& relocation :
             at<Elf64_Rel>(relocations.sh_offset, relocations.sh_size / sizeof(Elf64_Rel))) {
            const auto& symbol = at<Elf64_Sym>(
                symbols.sh_offset, symbols.sh_size / sizeof(Elf64_Sym))[ELF64_R_SYM(relocation.r_info)];
            if (symbol.st_shndx < sections_.size()
                && name_in(sections_[header().e_shstrndx], sections_[symbol.st_shndx].sh_name) == ".maps")
                maps[relocation.r_offset] = name_in(sections_[symbols.sh_link], symbol.st_name);
        }
        return maps;
    }

    void follow(const Elf64_Shdr& code, const std::map<std::uint64_t, std::string>& maps,
                std::set<std::string>& changed) const {
        std::array<std::string, 16> registers; ///< which map each has the address of
        const auto instructions = at<bpf_insn>(code.sh_offset, code.sh_size / sizeof(bpf_insn));
        for (std::size_t i = 0; i < instructions.size(); ++i) {
            const bpf_insn& now = instructions[i];
            const int kind = BPF_CLASS(now.code);
            if (now.code == (BPF_JMP | BPF_CALL)) {
                if (now.src_reg == 0
                    && (now.imm == BPF_FUNC_map_update_elem || now.imm == BPF_FUNC_map_delete_elem))
                    changed.insert(registers[1]);
            } else if (now.code == (BPF_ALU64 | BPF_MOV | BPF_X)) {
                registers.at(now.dst_reg) = registers.at(now.src_reg);
            } else if (kind == BPF_LD || kind == BPF_LDX || kind == BPF_ALU || kind == BPF_ALU64) {
                const auto map = maps.find(i * sizeof(bpf_insn));
                registers.at(now.dst_reg) = map == maps.end() ? "" : map->second;
                if (now.code == (BPF_LD | BPF_IMM | BPF_DW)) ++i; // takes two
            }
        }
    }

    const char* bytes_ = nullptr;
    std::span<const Elf64_Shdr> sections_;
};

class ProgramTables : public ::testing::Test {
  protected:
    /// Of the programs whose section begins so, the rest of that.
    Names programs_in(const std::string& prefix) {
        Names names;
        const bpf_program* program = nullptr;
        while ((program = bpf_object__next_program(skeleton->obj, const_cast<bpf_program*>(program)))
               != nullptr)
            if (const std::string section = bpf_program__section_name(program); section.starts_with(prefix))
                names.insert(section.substr(prefix.size()));
        return names;
    }
    const std::unique_ptr<kmodguard_programs, Destroy> skeleton{kmodguard_programs__open()};
};

TEST_F(ProgramTables, EveryMapHasARow) {
    Names maps;
    const bpf_map* map = nullptr;
    while ((map = bpf_object__next_map(skeleton->obj, map)) != nullptr)
        // The compiler's own for constants; one for variables would be neither pinned nor frozen.
        if (const std::string name = bpf_map__name(map); !name.contains(".rodata")) maps.insert(name);
    Names rows;
    for (const MapRow& row : map_table)
        rows.emplace(row.name);
    EXPECT_EQ(rows, maps);
}

TEST_F(ProgramTables, EveryRowIsAMapOfItsOwn) {
    OpenPins pins;
    std::set<const RawMap*> members;
    for (const MapRow& row : map_table)
        EXPECT_TRUE(members.insert(&row.in(pins)).second) << row.name;
}

/// Of these a process that has a descriptor could have a program of its own write to them.
TEST_F(ProgramTables, TheSealClosesAllThatTheVerdictDependsOn) {
    Names closed;
    for (const MapRow& row : map_table)
        if (row.seal == Seal::closes) closed.emplace(row.name);
    EXPECT_EQ(closed, (Names{"settings", "policy", "policy_a", "policy_b", "inventory", "content_key",
                             "tightened", "protected_maps", "scratch", "empty_scratch"}));
}

/// What the column of writers says against what the object file has. Not seen are writes to a value through a
/// pointer: so programs count (counters, budget, budgets, repeats), and note_mounts() writes the settings.
TEST_F(ProgramTables, WritersAreWhatTheObjectFileSays) {
    const std::set<std::string> changed = ObjectFile().maps_changed_by_helpers();
    EXPECT_EQ(changed, (std::set<std::string>{"budgets", "repeats", "scratch", "tightened"}))
        << "none of these is to be filled by user space, but for what it takes out of repeats";
    for (const MapRow& row : map_table) {
        const bpf_map* map = bpf_object__find_map_by_name(skeleton->obj, std::string(row.name).c_str());
        ASSERT_NE(map, nullptr) << row.name;
        EXPECT_EQ(row.writer == UserWriter::ring_reader, bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF)
            << row.name;
        if ((bpf_map__map_flags(map) & BPF_F_RDONLY_PROG) != 0) {
            EXPECT_EQ(row.writer, UserWriter::none) << row.name << ": the verdict relies on it";
        }
        if (row.seal == Seal::closes && changed.contains(std::string(row.name))) {
            EXPECT_EQ(row.writer, UserWriter::none) << row.name << " is of two writers";
        }
    }
}

TEST_F(ProgramTables, EveryProgramHasARow) {
    Names hooks;
    Names without_request;
    Names called;
    for (const ProgramRow& row : program_table) {
        if (row.kind == ProgramKind::called) called.emplace(row.name);
        if (row.kind != ProgramKind::called) hooks.emplace(row.name);
        if (row.kind == ProgramKind::hook) without_request.emplace(row.name);
    }
    EXPECT_EQ(programs_in("fmod_ret/security_"), hooks);
    EXPECT_EQ(programs_in("lsm/"), without_request);
    EXPECT_EQ(programs_in("syscall").size(), called.size());
    for (const std::string& name : called)
        EXPECT_NE(bpf_object__find_program_by_name(skeleton->obj, name.c_str()), nullptr) << name;
}

TEST(ProgramsHash, IsOfTheObjectFile) {
    std::size_t size = 0;
    const void* bytes = kmodguard_programs__elf_bytes(&size);
    EXPECT_EQ(programs_hash(), modules::sha256({static_cast<const std::byte*>(bytes), size}).value());
}

} // namespace
} // namespace kmodguard::kernel
