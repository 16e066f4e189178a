// SPDX-License-Identifier: AGPL-3.0-only
#include "linking/lazy_libraries.hpp"

#ifdef KMODGUARD_LAZY_LIBRARIES

#include <dlfcn.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

// The table that scripts/lazy-symbols makes. Texts stand one behind the other, each with its end.
extern "C" {
extern void* lazy_addresses[];            // of the functions; each is written once, by its first caller
extern const char lazy_libraries[];       // by number
extern const char lazy_names[];           // of the functions
extern const unsigned char lazy_owners[]; // the library of each function
extern const std::uint64_t lazy_count;    // of the functions
void* lazy_resolve(std::uint32_t function) noexcept;
}

namespace kmodguard::linking {
namespace {

const char* text(const char* first, std::size_t number) {
    for (; number > 0; --number)
        while (*first++ != '\0') {
        }
    return first;
}

/// The address of a function, which is called without a look at this from now on. May be called by several
/// threads at once.
sys::Result<void*> resolve(std::size_t function) {
    const char* library = text(lazy_libraries, lazy_owners[function]);
    // Never closed: what is loaded stays, and asking again finds it.
    void* handle = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
    void* address = handle == nullptr ? nullptr : ::dlsym(handle, text(lazy_names, function));
    if (address == nullptr)
        return sys::failure(sys::ErrorKind::failed, fmt::format("cannot load {}: {}", library, ::dlerror()),
                            "install the package that has it");
    __atomic_store_n(&lazy_addresses[function], address, __ATOMIC_RELEASE);
    return address;
}

} // namespace

sys::Result<void> load_libraries() {
    for (std::size_t function = 0; function < lazy_count; ++function)
        TRY(resolve(function));
    return {};
}

} // namespace kmodguard::linking

void* lazy_resolve(std::uint32_t function) noexcept {
    const int caller_errno = errno; // a function may read what its caller has set
    const auto address = kmodguard::linking::resolve(function);
    if (!address) {
        std::fprintf(stderr, "%s: %s; %s\n", program_invocation_short_name, address.error().what.c_str(),
                     address.error().hint.c_str());
        std::_Exit(127);
    }
    errno = caller_errno;
    return *address;
}

#else

namespace kmodguard::linking {

sys::Result<void> load_libraries() {
    return {};
}

} // namespace kmodguard::linking

#endif
