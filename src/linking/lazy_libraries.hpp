// SPDX-License-Identifier: AGPL-3.0-only
//
// Shared libraries that are loaded when one of their functions is first called, and not at each start: most
// verbs of kmodctl call none of libcrypto, libkmod, libbpf and the like, and the dynamic linker's work for
// them is nine tenths of what such a verb costs. cmake/linking.cmake says which; scripts/lazy-symbols makes
// the stubs.
//
// A library that cannot be loaded then ends the program, as it would have at the start: status 127 and a line
// on standard error. What lives on, and what may not end in the middle of its work, loads all of them first.
//
// The addresses are in memory that stays writable, as those of a program are that is bound lazily by the
// dynamic linker.
#pragma once

#include "sys/result.hpp"

namespace kmodguard::linking {

/// Loads all of them now, or says which one cannot be loaded. Does nothing where they are linked in the
/// ordinary way (other processors than x86-64, sanitizers).
[[nodiscard]] sys::Result<void> load_libraries();

} // namespace kmodguard::linking
