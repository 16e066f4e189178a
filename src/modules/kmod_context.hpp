// SPDX-License-Identifier: AGPL-3.0-only
//
// libkmod's context, opened so that it says nothing itself and so that it is known what of its configuration
// is the running machine's own; and the files of modprobe.d that it reads.
#pragma once

#include "sys/paths.hpp"
#include "sys/result.hpp"

#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct kmod_ctx;
struct kmod_config_iter;

namespace kmodguard::modules {

using KmodContext = std::unique_ptr<kmod_ctx, kmod_ctx* (*)(kmod_ctx*)>;

/// The context of the modules in `directory`, with the modprobe.d files of `configuration`, strongest first.
[[nodiscard]] sys::Result<KmodContext>
open_kmod_context(const std::filesystem::path& directory,
                  std::span<const std::filesystem::path> configuration = {});

/// What libkmod is to read modprobe.d from, strongest first: the folders, or where a file in one is a link
/// that leads out of another root, the files.
[[nodiscard]] std::vector<std::filesystem::path> modprobe_configuration_files(const sys::Paths& paths);

/// Calls `use(key, value)` for every entry of one kind of modprobe.d lines but the last `left_out`. Ends the
/// iterator, which may be nullptr.
void for_each_line(kmod_config_iter* iterator,
                   const std::function<void(const std::string& key, const std::string& value)>& use,
                   std::size_t left_out = 0);

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

/// A line of modprobe.d that is not obeyed. libkmod reports on standard error, and before a caller can set a
/// handler, that it passes over it; the one who wrote "blacklsit" has to know where it is.
struct IgnoredLine {
    std::filesystem::path file;
    unsigned line = 0; ///< where it begins, from 1
    std::string word;  ///< its first
    bool operator==(const IgnoredLine&) const = default;
};

/// Of the files that libkmod reads, in its order. Unreadable ones are skipped, as it skips them, and those of
/// more than a megabyte.
[[nodiscard]] std::vector<IgnoredLine> ignored_lines(const sys::Paths& paths);

/// The same of one file's text, which is hostile.
[[nodiscard]] std::vector<IgnoredLine> ignored_lines_of(std::string_view text);

} // namespace kmodguard::modules
