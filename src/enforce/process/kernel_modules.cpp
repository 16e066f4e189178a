// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/process/kernel_modules.hpp"

#include "sys/file.hpp"
#include "sys/kernel.hpp"
#include "sys/unique_fd.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace kmodguard::process {
namespace {

/// A file that no process can change any more, open for reading only: the kernel takes no module from a file
/// that any process has open for writing (ETXTBSY).
sys::UniqueFd sealed_file(std::span<const std::byte> bytes) {
    constexpr int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    const sys::UniqueFd writable = sys::memory_file("module", MFD_ALLOW_SEALING);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (!writable || !sys::write_all(writable.get(), text)) return {};
    if (::fcntl(writable.get(), F_ADD_SEALS, seals) != 0) return {};
    return sys::UniqueFd(
        ::open(fmt::format("/proc/self/fd/{}", writable.get()).c_str(), O_RDONLY | O_CLOEXEC));
}

int error_of(long result) {
    return result == 0 ? 0 : errno;
}

} // namespace

int RunningKernel::load(const modules::Buffer& image, const std::string& parameters) {
    return error_of(::syscall(SYS_init_module, image.data(), image.size(), parameters.c_str()));
}

int RunningKernel::load_file(modules::Buffer image, const std::string& parameters, int flags) {
    const sys::UniqueFd file = sealed_file(image.all());
    if (!file) return errno != 0 ? errno : EIO;
    image = modules::Buffer(0);
    return error_of(::syscall(SYS_finit_module, file.get(), parameters.c_str(), flags));
}

bool RunningKernel::is_loaded(const std::string& module) {
    return sys::has_live_module(module);
}

int RunningKernel::unload(const std::string& module, unsigned flags) {
    return error_of(::syscall(SYS_delete_module, module.c_str(), flags));
}

} // namespace kmodguard::process
