// SPDX-License-Identifier: AGPL-3.0-only
//
// A root directory with a kernel's modules in it, as depmod leaves them, for tests of whatever reads one:
//
//     ModuleTree tree;
//     tree.add({.name = "kmt_base"}).add({.name = "kmt_user", .needs = {"kmt_base"}}).depmod();
//
// The images are small ELF files that libkmod, depmod and kmodguard read as those of a kernel. Nothing in it
// is loaded by anybody. Names begin with kmt_, for libkmod also looks at what the machine itself has loaded.
#pragma once

#include "modules/decompress.hpp"
#include "sys/paths.hpp"
#include "temporary_directory.hpp"

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kmodguard::test {

struct FakeImage {
    std::string name;                   ///< of the file, and the image's own
    std::vector<std::string> needs{};   ///< modules whose symbols it uses
    std::vector<std::string> aliases{}; ///< in .modinfo
    std::string softdep{};              ///< "pre: a b post: c", in .modinfo
    modules::Container packing = modules::Container::raw;
    std::string calls_itself{}; ///< another name in the image than that of the file
};

class ModuleTree {
  public:
    inline static const std::string release = "6.1.0-fake";

    ModuleTree();

    [[nodiscard]] sys::Paths paths() const;
    [[nodiscard]] std::filesystem::path operator/(std::string_view relative) const;

    const ModuleTree& write(std::string_view relative, std::string_view content) const;
    [[nodiscard]] std::string read(std::string_view relative) const;

    [[nodiscard]] static std::string image_file(const FakeImage& image);

    const ModuleTree& add(const FakeImage& image) const;

    const ModuleTree& built_in(const std::string& name) const;

    const ModuleTree& depmod() const;

  private:
    TemporaryDirectory root_;
};

/// One module of each kind.
const ModuleTree& add_usual_modules(const ModuleTree& tree);

} // namespace kmodguard::test
