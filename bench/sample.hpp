// SPDX-License-Identifier: AGPL-3.0-only
//
// What the benchmarks ask for: tokens that a real machine could ask for, made from the aliases of a real
// kernel's index. The seed is fixed, so that every run asks the same.
#pragma once

#include "sys/paths.hpp"

#include <cstddef>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace kmodguard::bench {

// Together fewer than the daemon remembers decisions for.
inline constexpr std::size_t device_tokens = 250;
inline constexpr std::size_t request_tokens = 150;
inline constexpr std::size_t unknown_tokens = 100;

/// Tokens, and a root of its own below which the index is found. The root goes when the sample does.
class Sample {
  public:
    /// `modules` is a kernel's /lib/modules/RELEASE. Throws std::runtime_error if depmod never ran there.
    explicit Sample(const std::filesystem::path& modules);
    ~Sample();
    Sample(const Sample&) = delete;
    Sample& operator=(const Sample&) = delete;

    [[nodiscard]] const sys::Paths& paths() const { return paths_; }
    [[nodiscard]] const std::string& release() const { return release_; }

    /// What udev asks for when a device appears: "pci:v00008086d...". Long, and matched against wildcards.
    [[nodiscard]] const std::vector<std::string>& devices() const { return devices_; }
    /// What programs make the kernel ask for: "net-pf-15", "crypto-md4", "fs-xfs". Anybody can.
    [[nodiscard]] const std::vector<std::string>& requests() const { return requests_; }
    [[nodiscard]] const std::vector<std::string>& known() const { return known_; } ///< devices and requests
    [[nodiscard]] const std::vector<std::string>& unknown() const { return unknown_; }
    [[nodiscard]] const std::vector<std::string>& tokens() const { return all_; } ///< all three

    /// The modules behind the known tokens.
    [[nodiscard]] const std::set<std::string>& modules() const { return modules_; }
    /// Modules that no token leads to, and patterns that match none, in an order without meaning.
    [[nodiscard]] const std::vector<std::string>& other_modules() const { return other_modules_; }
    [[nodiscard]] const std::vector<std::string>& other_patterns() const { return other_patterns_; }

  private:
    void choose_tokens(std::vector<std::string> patterns);
    void choose_others(const std::filesystem::path& modules, const std::vector<std::string>& patterns);

    std::string release_;
    std::filesystem::path root_;
    sys::Paths paths_;
    std::vector<std::string> devices_;
    std::vector<std::string> requests_;
    std::vector<std::string> known_;
    std::vector<std::string> unknown_;
    std::vector<std::string> all_;
    std::set<std::string> modules_;
    std::vector<std::string> other_modules_;
    std::vector<std::string> other_patterns_;
};

} // namespace kmodguard::bench
