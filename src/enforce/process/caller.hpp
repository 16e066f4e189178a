// SPDX-License-Identifier: AGPL-3.0-only
//
// The process that waits for its module: who it is, what it may do, and what its call points at. All of it
// is read from outside while the caller's other threads run on, so everything is read once, into memory of
// our own, and nothing is ever read a second time. The bytes are the caller's and hostile, and so is
// everything /proc says of it in words.
#pragma once

#include "events/event.hpp"
#include "modules/image_source.hpp"
#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <sys/types.h>

#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace kmodguard::process {

/// Why the caller gets no further, as the kernel would say it.
struct Refusal {
    int error = 0; ///< errno
    std::string why;
};

template <typename T>
using Taken = std::expected<T, Refusal>;

[[nodiscard]] inline std::unexpected<Refusal> refused(int error, std::string why) {
    return std::unexpected(Refusal{.error = error, .why = std::move(why)});
}

/// Longest parameters taken, NUL not counted: what an argument of a program may have (MAX_ARG_STRLEN).
inline constexpr std::size_t max_parameters = 128U << 10U;

/// A file that the caller has open.
struct OpenFile {
    sys::UniqueFd file;
    std::uint64_t size = 0; ///< bytes, when it was opened
    std::string path;       ///< as its mount namespace has it; "" for one that never had a name
};

/// The inode number of the one that the machine starts with (PROC_USER_INIT_INO of linux/proc_ns.h).
inline constexpr std::uint32_t initial_user_namespace = 0xEFFFFFFD;

struct UserNamespace {
    std::uint64_t id = 0; ///< inode number
    uid_t owner = 0;      ///< who made it, in the initial user namespace
};

/// The capability sets of a thread, in its user namespace.
struct Capabilities {
    std::uint64_t effective = 0;
    std::uint64_t permitted = 0;
    std::uint64_t inheritable = 0;

    [[nodiscard]] bool has_module() const; ///< CAP_SYS_MODULE is effective
    bool operator==(const Capabilities&) const = default;
};

/// Descriptors that spare the caller's look-up in /proc; nullptr where there is none.
struct KeptOpen {
    const sys::UniqueFd* process = nullptr; ///< the caller's pidfd, which is its process's first thread
    const sys::UniqueFd* own_descriptors = nullptr; ///< /proc/self/fd
};

/// Whether /proc shows the processes by the numbers that notifications come with: not one of another pid
/// namespace, in which they would be other processes.
[[nodiscard]] sys::Result<void> check_proc();

class Caller {
  public:
    /// What is kept open must outlive it.
    explicit Caller(pid_t thread, const KeptOpen& kept = {}) : thread_(thread), kept_(kept) {}

    /// Nothing: it has ended.
    [[nodiscard]] std::optional<Capabilities> capabilities() const;

    /// Whether the calling thread has CAP_SYS_MODULE effective, in whichever user namespace.
    [[nodiscard]] bool has_capability() const;

    /// What may_init_module of kernel/module/main.c asks: whether the calling thread has CAP_SYS_MODULE
    /// effective, in the initial user namespace, and modules are not disabled. (securebits have had their
    /// effect on the capabilities by then.) Refusal: EPERM, of `who`.
    [[nodiscard]] Taken<void> may_load(std::string_view who = "the caller") const;

    /// The user namespace that it is in. Refusal: EPERM, it cannot be looked at.
    [[nodiscard]] Taken<UserNamespace> user_namespace() const;

    /// The caller's open file `descriptor`, as finit_module(2) would take it: EBADF unless open for reading,
    /// EINVAL for what is no regular file or empty.
    [[nodiscard]] Taken<OpenFile> open_file(int descriptor) const;

    /// All of its content: EFBIG above `limit` bytes, EIO if it is shorter by now.
    [[nodiscard]] static Taken<modules::Buffer> copy_file(const OpenFile& file, std::uint64_t limit);

    /// `size` bytes of the caller's memory: EFAULT, EFBIG above `limit`, ENOEXEC for none.
    [[nodiscard]] Taken<modules::Buffer> copy_memory(std::uint64_t address, std::uint64_t size,
                                                     std::uint64_t limit) const;

    /// Text up to its NUL, of at most `limit` bytes: EFAULT, E2BIG.
    [[nodiscard]] Taken<std::string> copy_text(std::uint64_t address, std::size_t limit) const;

    /// Who it is, as far as /proc tells.
    [[nodiscard]] events::Requester requester() const;

  private:
    pid_t thread_;
    KeptOpen kept_;
};

} // namespace kmodguard::process
