// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/memory.hpp"

#include <malloc.h>

namespace kmodguard::sys {

void give_back_freed_memory() {
    ::mallopt(M_ARENA_MAX, 1);
    ::mallopt(M_MMAP_THRESHOLD, 128 * 1024);
}

} // namespace kmodguard::sys
