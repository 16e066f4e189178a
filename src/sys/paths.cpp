// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/paths.hpp"

#include "sys/links.hpp"

namespace kmodguard::sys {

Paths::Paths() : Paths("/") {}

Paths::Paths(std::filesystem::path root) {
    std::error_code error; // a current directory that is gone, or an empty path
    root_ = std::filesystem::absolute(root, error).lexically_normal();
    if (error) root_ = std::move(root);
}

bool Paths::moved() const {
    return root_ != "/";
}

std::filesystem::path Paths::below(const std::filesystem::path& relative) const {
    const std::filesystem::path path = root_ / relative.relative_path();
    return moved() ? follow_below(root_, path) : path;
}

std::filesystem::path Paths::policy() const {
    return below("etc/kmodguard/policy.toml");
}

std::filesystem::path Paths::policy_drop_ins() const {
    return below("etc/kmodguard/policy.d");
}

std::filesystem::path Paths::runtime_directory() const {
    return below("run/kmodguard");
}

std::filesystem::path Paths::socket() const {
    return below("run/kmodguard/daemon.sock");
}

std::filesystem::path Paths::original_handler() const {
    return below("run/kmodguard/original_modprobe");
}

std::filesystem::path Paths::sealed_table() const {
    return below("run/kmodguard/sealed_table");
}

std::filesystem::path Paths::handler_setting() const {
    return below("proc/sys/kernel/modprobe");
}

std::filesystem::path Paths::loaded_modules() const {
    return below("proc/modules");
}

std::filesystem::path Paths::kernel_command_line() const {
    return below("proc/cmdline");
}

std::filesystem::path Paths::loading_disabled() const {
    return below("proc/sys/kernel/modules_disabled");
}

std::filesystem::path Paths::signature_setting() const {
    return below("sys/module/module/parameters/sig_enforce");
}

std::filesystem::path Paths::lockdown() const {
    return below("sys/kernel/security/lockdown");
}

std::filesystem::path Paths::compression() const {
    return below("sys/module/compression");
}

std::filesystem::path Paths::buses() const {
    return below("sys/bus");
}

std::filesystem::path Paths::modules(const std::string& release) const {
    return below(std::filesystem::path("lib/modules") / release);
}

std::vector<std::filesystem::path> Paths::modprobe_configuration() const {
    return {below("etc/modprobe.d"), below("run/modprobe.d"), below("usr/local/lib/modprobe.d"),
            below("lib/modprobe.d")};
}

} // namespace kmodguard::sys
