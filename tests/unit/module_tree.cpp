// SPDX-License-Identifier: AGPL-3.0-only
#include "module_tree.hpp"

#include "modules/elf_builder.hpp"
#include "modules/image_packing.hpp"
#include "sys/process.hpp"

#include <elf.h>

#include <fstream>
#include <iterator>
#include <stdexcept>

namespace kmodguard::test {

namespace {

/// Exported symbols as libkmod reads them from __ksymtab_strings, used ones from the symbol table.
ElfSpec spec_of(const FakeImage& image) {
    const std::string& name = image.calls_itself.empty() ? image.name : image.calls_itself;
    ElfSpec spec = module_spec(name);
    std::vector<std::string> records{"license=GPL", "name=" + name, "vermagic=6.1.0 SMP"};
    for (const std::string& alias : image.aliases)
        records.push_back("alias=" + alias);
    if (!image.softdep.empty()) records.push_back("softdep=" + image.softdep);
    spec.section(".modinfo").content = modinfo(records);

    std::vector<Elf64_Sym> symbols(1);
    std::string names(1, '\0');
    for (const std::string& needed : image.needs) {
        Elf64_Sym& symbol = symbols.emplace_back();
        symbol.st_name = static_cast<Elf64_Word>(names.size());
        symbol.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE);
        names += "symbol_of_" + needed + '\0';
    }
    const std::string table(reinterpret_cast<const char*>(symbols.data()),
                            symbols.size() * sizeof(Elf64_Sym));
    spec.sections.push_back(
        {.name = "__ksymtab_strings", .content = "symbol_of_" + image.name + '\0', .info = 0});
    spec.sections.push_back({.name = ".symtab", .content = table, .type = SHT_SYMTAB, .flags = 0});
    spec.sections.push_back({.name = ".strtab", .content = names, .type = SHT_STRTAB, .flags = 0});
    return spec;
}

} // namespace

ModuleTree::ModuleTree() {
    write("lib/modules/" + release + "/modules.order", "");
    write("lib/modules/" + release + "/modules.builtin", "");
    write("lib/modules/" + release + "/modules.builtin.modinfo", "");
    for (const char* directory : {"etc/modprobe.d", "etc/kmodguard", "run/kmodguard", "proc/sys/kernel"})
        std::filesystem::create_directories(root_ / directory);
}

sys::Paths ModuleTree::paths() const {
    return sys::Paths(root_.path());
}

std::filesystem::path ModuleTree::operator/(std::string_view relative) const {
    return root_ / relative;
}

const ModuleTree& ModuleTree::write(std::string_view relative, std::string_view content) const {
    std::filesystem::create_directories((root_ / relative).parent_path());
    std::ofstream(root_ / relative, std::ios::binary | std::ios::trunc) << content;
    return *this;
}

std::string ModuleTree::read(std::string_view relative) const {
    std::ifstream file(root_ / relative, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::string ModuleTree::image_file(const FakeImage& image) {
    const std::string name = "lib/modules/" + release + "/kernel/" + image.name + ".ko";
    switch (image.packing) {
    case modules::Container::xz: return name + ".xz";
    case modules::Container::zstd: return name + ".zst";
    case modules::Container::gzip: return name + ".gz";
    case modules::Container::raw: break;
    }
    return name;
}

const ModuleTree& ModuleTree::add(const FakeImage& image) const {
    const Bytes packed = pack(build(spec_of(image)), image.packing);
    return write(image_file(image), {reinterpret_cast<const char*>(packed.data()), packed.size()});
}

const ModuleTree& ModuleTree::built_in(const std::string& name) const {
    const std::string list = "lib/modules/" + release + "/modules.builtin";
    return write(list, read(list) + "kernel/" + name + ".ko\n");
}

const ModuleTree& ModuleTree::depmod() const {
    const auto finished = sys::run_program({"/sbin/depmod", "-b", root_.path().native(), release});
    if (!finished || finished->status != 0) throw std::runtime_error("depmod failed");
    return *this;
}

const ModuleTree& add_usual_modules(const ModuleTree& tree) {
    tree.add({.name = "kmt_base"})
        .add({.name = "kmt_needs", .needs = {"kmt_base"}, .aliases = {"kmt-alias-*"}})
        .add({.name = "kmt_deep", .needs = {"kmt_needs"}})
        .add({.name = "kmt_twin_a", .aliases = {"kmt-twin-*"}})
        .add({.name = "kmt_twin_b", .aliases = {"kmt-twin-1", "kmt-only-b"}})
        .add({.name = "kmt_after"})
        .add({.name = "kmt_soft", .softdep = "pre: kmt_base post: kmt_after"})
        .add({.name = "kmt_installed"})
        .add({.name = "kmt-dashed"})
        .add({.name = "kmt_hidden", .aliases = {"kmt-hidden-1"}})
        .add({.name = "kmt_liar", .calls_itself = "kmt_base"})
        .built_in("kmt_inside")
        .write("etc/modprobe.d/kmt.conf", "blacklist kmt_hidden\n"
                                          "install kmt_installed /bin/true\n"
                                          "options kmt_needs depth=3 name=\"a b\"\n"
                                          "alias kmt-configured kmt_deep\n")
        .depmod();
    return tree;
}

} // namespace kmodguard::test
