// SPDX-License-Identifier: AGPL-3.0-only
#include "verdicts/machine.hpp"

#include "enforce/kernel/loader.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <utility>

namespace kmodguard::verdicts {
namespace {

kernel::Support supported() {
    or_give_up(kernel::mount_bpffs());
    kernel::Support support = kernel::inspect(sys::Paths());
    if (support.problem != kernel::Problem::none) give_up(kernel::error_of(support.problem));
    return support;
}

kernel::Guard armed(const kernel::Support& support) {
    or_give_up(kernel::remove_pinned()); // of a run that was ended
    auto loader = or_give_up(kernel::Loader::start(support));
    kernel::Guard guard = or_give_up(kernel::Guard::establish(loader, "/run/kmodguard-sealed"));
    const core::Policy nothing;
    publish(guard, or_give_up(kernel::compile(nothing, core::Admissions(), 0)));
    or_give_up(guard.arm());
    return guard;
}

std::unique_ptr<kernel::RecordReader> reader_into(const kernel::Guard& guard,
                                                  std::vector<guard_record>& records) {
    return or_give_up(kernel::RecordReader::open(guard.pins(), [&records](const guard_record& record) {
        const bool ours = record.requester.pid == static_cast<std::uint32_t>(::getpid());
        if (record.kind == GUARD_IMAGE && ours) records.push_back(record);
    }));
}

} // namespace

void publish(kernel::Guard& guard, const kernel::PolicyTable& table) {
    if (const auto published = guard.publish(table); !published.is_accepted()) give_up(published.error);
}

void give_up(const sys::Error& error) {
    fmt::print(stderr, "verdicts: {}{}{}\n", error.what, error.hint.empty() ? "" : "; ", error.hint);
    std::exit(2);
}

GuardedMachine::GuardedMachine()
    : support_(supported()), guard_(armed(support_)), reader_(reader_into(guard_, records_)) {}

GuardedMachine::~GuardedMachine() {
    if (const auto removed = kernel::remove_pinned(); !removed)
        fmt::print(stderr, "verdicts: {}\n", removed.error().what);
}

std::vector<guard_record> GuardedMachine::take_records() {
    while (reader_->read()) {
    }
    return std::exchange(records_, {});
}

int init_module(std::span<const std::byte> image) {
    return ::syscall(SYS_init_module, image.data(), image.size(), "") == 0 ? 0 : errno;
}

MemoryFile::MemoryFile() : fd_(::memfd_create("image", MFD_CLOEXEC)) {
    if (!fd_) give_up(sys::system_error("cannot create", "a file in memory"));
}

int MemoryFile::finit_module(std::span<const std::byte> image) {
    if (::ftruncate(fd_.get(), 0) != 0
        || ::pwrite(fd_.get(), image.data(), image.size(), 0) != static_cast<ssize_t>(image.size()))
        give_up(sys::system_error("cannot write", "a file in memory"));
    return ::syscall(SYS_finit_module, fd_.get(), "", 0) == 0 ? 0 : errno;
}

} // namespace kmodguard::verdicts
