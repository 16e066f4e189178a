// SPDX-License-Identifier: AGPL-3.0-only
//
// libkmod's context, opened so that it says nothing itself and so that it is known what of its configuration
// is the running machine's own.
#pragma once

#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <filesystem>
#include <memory>
#include <span>
#include <vector>

struct kmod_ctx;

namespace kmodguard::modules {

using KmodContext = std::unique_ptr<kmod_ctx, kmod_ctx* (*)(kmod_ctx*)>;

/// The context of the modules in `directory`, with the modprobe.d files of `configuration`, strongest first.
[[nodiscard]] sys::Result<KmodContext>
open_kmod_context(const std::filesystem::path& directory,
                  std::span<const std::filesystem::path> configuration = {});

/// What libkmod is to read modprobe.d from, strongest first: the folders, or where a file in one is a link
/// that leads out of another root, the files.
[[nodiscard]] std::vector<std::filesystem::path> modprobe_configuration_files(const sys::Paths& paths);

/// For a program that opens indexes while other threads run, and starts no program: to be called before the
/// first thread. Opening one then leaves the environment alone, which another thread may be reading.
void keep_kmod_silent();

/// How many entries of a context's configuration, at the end of each of its lists, are from the command line
/// of the running kernel: libkmod always reads it.
struct CommandLineEntries {
    std::size_t blacklists = 0;
    std::size_t options = 0;
};
[[nodiscard]] sys::Result<CommandLineEntries> command_line_entries(const std::filesystem::path& directory);

} // namespace kmodguard::modules
