// SPDX-License-Identifier: AGPL-3.0-only
//
// Changing a policy file without taking it away from its administrator. Only the entries that change change;
// comments, order, blank lines, quoting and indentation of all else stay byte for byte. Every edited text is
// read again and compared with what it should mean; if it means anything else it is thrown away, and the
// administrator is asked to edit by hand.
#pragma once

#include "config/entry.hpp"
#include "core/policy.hpp"
#include "sys/result.hpp"

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace kmodguard::config {

struct AddEntry {
    List list = List::allow_modules;
    std::string text; ///< in any spelling; a module is written by its canonical name
    bool operator==(const AddEntry&) const = default;
};

/// Removes every spelling of the entry: "foo_bar" removes "foo-bar".
struct RemoveEntry {
    List list = List::allow_modules;
    std::string text;
    bool operator==(const RemoveEntry&) const = default;
};

struct SetMode {
    core::Mode mode = core::Mode::enforce;
    bool operator==(const SetMode&) const = default;
};

using Edit = std::variant<AddEntry, RemoveEntry, SetMode>;

/// `text` after `edits`, of which the last one for an entry holds. Adding what is there and removing what is
/// not changes nothing. Errors: an entry that can be none (invalid), a text that is no usable policy
/// (bad_policy, with its first error; an empty text counts as a usable one), and a text that could not be
/// edited safely (failed).
[[nodiscard]] sys::Result<std::string> edit_policy(std::string_view text, std::span<const Edit> edits);

/// A policy file that changes.
struct EditedFile {
    std::filesystem::path path;   ///< as it was given
    std::filesystem::path target; ///< the same, symbolic links followed
    std::string text;             ///< what it is to be
};

/// What `edits` make of the files `paths`, the main file first and then the drop-ins in the order in which
/// they are read (config::policy_files): entries are added to the main file unless one of the files has them,
/// removed from every file that has them, and the mode is set in the last file that sets one. A YAML file is
/// not changed: an error. Nothing is written.
[[nodiscard]] sys::Result<std::vector<EditedFile>> edit_files(std::span<const std::filesystem::path> paths,
                                                              std::span<const Edit> edits);

} // namespace kmodguard::config
