// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/support.hpp"

#include "sys/file.hpp"
#include "sys/kernel.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>
#include <utility>

namespace kmodguard::kernel {
namespace {

/// Whether a comma-separated list has `wanted`.
bool lists(std::string_view list, std::string_view wanted) {
    while (!list.empty()) {
        const auto comma = list.find(',');
        if (list.substr(0, list.find_first_of(",\n")) == wanted) return true;
        list = comma == std::string_view::npos ? "" : list.substr(comma + 1);
    }
    return false;
}

/// "6.1.0-56-amd64" is {6, 1}.
std::pair<int, int> version_of(const std::string& release) {
    int major = 0;
    int minor = 0;
    const char* end = release.data() + release.size();
    const auto first = std::from_chars(release.data(), end, major);
    if (first.ptr != end && *first.ptr == '.') std::from_chars(first.ptr + 1, end, minor);
    return {major, minor};
}

/// Whether tasks can be preempted inside of the kernel, as far as it says so.
bool preempts(const sys::Paths& paths) {
    if (const auto chosen = sys::kernel_parameter(paths, "preempt"))
        return *chosen == "full" || *chosen == "lazy";
    utsname running{};
    if (::uname(&running) != 0) return true;
    const std::string_view version = running.version;
    return version.find("PREEMPT") != std::string_view::npos
           && (version.find("PREEMPT_DYNAMIC") == std::string_view::npos
               || version_of(running.release) >= std::pair(6, 13)); // voluntary by default before
}

/// Kernels skip a program that is already running on the same processor: always if it is fmod_ret, and before
/// Linux 6.2 if it is lsm (bpf_prog_check_recur of kernel/bpf/trampoline.c).
bool skips_when_interrupted(Mechanism mechanism) {
    return mechanism == Mechanism::fmod_ret || version_of(sys::kernel_release()) < std::pair(6, 2);
}

} // namespace

Support inspect(const sys::Paths& paths) {
    Support support;
    support.kernel_decompresses = !sys::in_kernel_compression(paths).empty();
    const auto fail = [&support](Problem problem) {
        support.problem = problem;
        return support;
    };
    if (paths.moved()) return fail(Problem::other_root);
    if (::access("/proc/modules", F_OK) != 0) return fail(Problem::no_modules);
    if (::access("/sys/kernel/btf/vmlinux", R_OK) != 0) return fail(Problem::no_types);
    const auto lockdown = sys::read_pseudo_file("/sys/kernel/security/lockdown");
    if (lockdown && lockdown->contains("[confidentiality]")) return fail(Problem::confidentiality);
    const auto active = sys::read_pseudo_file("/sys/kernel/security/lsm");
    // Where the list cannot be read, the means that works whatever is in it.
    support.mechanism = active && lists(*active, "bpf") ? Mechanism::lsm : Mechanism::fmod_ret;
    if (!active)
        support.notes.push_back(Note::no_securityfs);
    else if (support.mechanism == Mechanism::fmod_ret)
        support.notes.push_back(Note::bpf_inactive);
    if (skips_when_interrupted(support.mechanism) && preempts(paths)) support.notes.push_back(Note::may_skip);
    return support;
}

bool Support::may_skip() const {
    return std::ranges::find(notes, Note::may_skip) != notes.end();
}

bool is_tracing_off() {
    return sys::read_pseudo_file(tracing_setting).value_or("").starts_with('0');
}

} // namespace kmodguard::kernel
