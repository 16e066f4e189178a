// SPDX-License-Identifier: AGPL-3.0-only
//
// What one check of `kmodctl doctor` found. The check itself makes the text and the remedy, of what it has
// seen; nothing reads them back.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace kmodguard::ctl {

enum class Level {
    ok,
    note, ///< no reason to act at once
    bad,  ///< something is not guarded as it should be
};

struct Finding {
    std::string check; ///< what was looked at, in a word or two
    Level level = Level::ok;
    std::string text;
    std::string remedy; ///< what to do; empty if all is well
};
using Findings = std::vector<Finding>;

[[nodiscard]] inline Finding ok(std::string check, std::string text) {
    return {std::move(check), Level::ok, std::move(text), ""};
}
[[nodiscard]] inline Finding note(std::string check, std::string text, std::string remedy) {
    return {std::move(check), Level::note, std::move(text), std::move(remedy)};
}
[[nodiscard]] inline Finding bad(std::string check, std::string text, std::string remedy) {
    return {std::move(check), Level::bad, std::move(text), std::move(remedy)};
}

} // namespace kmodguard::ctl
