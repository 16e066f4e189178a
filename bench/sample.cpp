// SPDX-License-Identifier: AGPL-3.0-only
#include "sample.hpp"

#include "core/names.hpp"
#include "core/pattern_set.hpp"
#include "modules/kmod_index.hpp"

#include <fmt/format.h>
#include <fnmatch.h>
#include <stdlib.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <random>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace kmodguard::bench {
namespace {

namespace fs = std::filesystem;
using Random = std::mt19937;

constexpr std::uint32_t seed = 20'261'121;
constexpr std::size_t other_pattern_count = 10'000;

/// A new folder with nothing in it but lib/modules/RELEASE, of hard links where there can be such: a link to
/// the folder would lead out of that root, where none is followed to.
fs::path make_root(const fs::path& modules, const std::string& release) {
    std::string name = fs::temp_directory_path() / "kmodguard-bench-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
    const fs::path root(name);
    fs::create_directories(root / "lib/modules");
    fs::create_directories(root / "etc/kmodguard");
    const auto copy = [&](fs::copy_options how, std::error_code& error) {
        fs::copy(fs::canonical(modules), root / "lib/modules" / release,
                 fs::copy_options::recursive | fs::copy_options::skip_symlinks | how, error);
    };
    std::error_code other_file_system;
    copy(fs::copy_options::create_hard_links, other_file_system);
    if (other_file_system) {
        std::error_code error;
        copy(fs::copy_options::overwrite_existing, error);
        if (error) throw std::runtime_error("cannot copy " + modules.native() + ": " + error.message());
    }
    return root;
}

/// The patterns of modules.alias: lines "alias PATTERN MODULE".
std::vector<std::string> read_patterns(const fs::path& modules) {
    std::ifstream file(modules / "modules.alias");
    std::vector<std::string> patterns;
    for (std::string line; std::getline(file, line);) {
        std::istringstream words(line);
        std::string key;
        std::string pattern;
        if (words >> key >> pattern && key == "alias") patterns.push_back(pattern);
    }
    if (patterns.empty()) throw std::runtime_error(fmt::format("{} has no modules.alias", modules.native()));
    return patterns;
}

std::string hex_digits(Random& random, std::size_t count) {
    std::string digits;
    while (digits.size() < count)
        digits += "0123456789ABCDEF"[random() % 16];
    return digits;
}

/// A text that `pattern` matches.
std::string fill(const std::string& pattern, Random& random) {
    std::string text;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        switch (pattern[i]) {
        case '*': text += hex_digits(random, 4); break;
        case '?': text += hex_digits(random, 1); break;
        case '[':
            text += pattern[i + 1];
            i = std::min(pattern.find(']', i), pattern.size() - 1);
            break;
        default: text += pattern[i];
        }
    }
    return text;
}

} // namespace

Sample::Sample(const fs::path& modules)
    : release_(modules.filename()), root_(make_root(modules, release_)), paths_(root_) {
    const std::vector<std::string> patterns = read_patterns(modules);
    choose_tokens(patterns);
    choose_others(modules, patterns);
}

Sample::~Sample() {
    std::error_code ignored;
    fs::remove_all(root_, ignored);
}

void Sample::choose_tokens(std::vector<std::string> patterns) {
    auto index = modules::KmodIndex::open(paths_, release_);
    if (!index) throw std::runtime_error(index.error().what);
    Random random(seed);
    std::shuffle(patterns.begin(), patterns.end(), random);
    for (const std::string& pattern : patterns) {
        const bool is_device = pattern.contains(':');
        auto& chosen = is_device ? devices_ : requests_;
        if (chosen.size() == (is_device ? device_tokens : request_tokens)) continue;
        std::string token = fill(pattern, random);
        if (!core::is_token(token) || ::fnmatch(pattern.c_str(), token.c_str(), 0) != 0) continue;
        const auto resolved = (*index)->resolve(token);
        if (resolved.empty()) continue;
        modules_.insert(resolved.begin(), resolved.end());
        chosen.push_back(std::move(token));
    }
    for (std::size_t i = 0; unknown_.size() < unknown_tokens; ++i) {
        std::string token = fmt::format("{}{}", i % 2 == 0 ? "net-pf-" : "unheard-of-", 100 + i);
        if ((*index)->resolve(token).empty()) unknown_.push_back(std::move(token));
    }
    known_ = devices_;
    known_.insert(known_.end(), requests_.begin(), requests_.end());
    all_ = known_;
    all_.insert(all_.end(), unknown_.begin(), unknown_.end());
}

void Sample::choose_others(const fs::path& modules, const std::vector<std::string>& patterns) {
    Random random(seed);
    std::ifstream file(modules / "modules.dep");
    for (std::string line; std::getline(file, line);) {
        const auto name = core::module_name_of(line.substr(0, line.find(':')));
        if (name && !modules_.contains(*name)) other_modules_.push_back(*name);
    }
    std::shuffle(other_modules_.begin(), other_modules_.end(), random);
    // Evenly over the whole list, which is sorted by module.
    const std::size_t stride = std::max<std::size_t>(patterns.size() / other_pattern_count, 1);
    for (std::size_t i = 0; i < patterns.size(); i += stride) {
        core::PatternSet alone;
        alone.add(patterns[i], 0);
        const auto hits = [&alone](const std::string& token) { return alone.match(token).has_value(); };
        if (std::ranges::none_of(all_, hits)) other_patterns_.push_back(patterns[i]);
    }
    std::shuffle(other_patterns_.begin(), other_patterns_.end(), random);
}

} // namespace kmodguard::bench
