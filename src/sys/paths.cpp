// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/paths.hpp"

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

std::filesystem::path Paths::policy() const {
    return root_ / "etc/kmodguard/policy.toml";
}

std::filesystem::path Paths::policy_drop_ins() const {
    return root_ / "etc/kmodguard/policy.d";
}

std::filesystem::path Paths::runtime_directory() const {
    return root_ / "run/kmodguard";
}

std::filesystem::path Paths::socket() const {
    return runtime_directory() / "daemon.sock";
}

std::filesystem::path Paths::original_handler() const {
    return runtime_directory() / "original_modprobe";
}

std::filesystem::path Paths::sealed_table() const {
    return runtime_directory() / "sealed_table";
}

std::filesystem::path Paths::handler_setting() const {
    return root_ / "proc/sys/kernel/modprobe";
}

std::filesystem::path Paths::loaded_modules() const {
    return root_ / "proc/modules";
}

std::filesystem::path Paths::kernel_command_line() const {
    return root_ / "proc/cmdline";
}

std::filesystem::path Paths::loading_disabled() const {
    return root_ / "proc/sys/kernel/modules_disabled";
}

std::filesystem::path Paths::signature_setting() const {
    return root_ / "sys/module/module/parameters/sig_enforce";
}

std::filesystem::path Paths::lockdown() const {
    return root_ / "sys/kernel/security/lockdown";
}

std::filesystem::path Paths::compression() const {
    return root_ / "sys/module/compression";
}

std::filesystem::path Paths::buses() const {
    return root_ / "sys/bus";
}

std::filesystem::path Paths::modules(const std::string& release) const {
    return root_ / "lib/modules" / release;
}

std::vector<std::filesystem::path> Paths::modprobe_configuration() const {
    return {root_ / "etc/modprobe.d", root_ / "run/modprobe.d", root_ / "usr/local/lib/modprobe.d",
            root_ / "lib/modprobe.d"};
}

} // namespace kmodguard::sys
