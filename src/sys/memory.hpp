// SPDX-License-Identifier: AGPL-3.0-only
//
// How a process that lives long keeps what it takes of the machine's memory small.
#pragma once

namespace kmodguard::sys {

/// Has blocks of 128 KiB and more given back as soon as they are freed, for good (the C library would raise
/// that limit with each), and all threads take from one arena. What an image took to be judged then does not
/// stay. To be called before threads are started.
void give_back_freed_memory();

} // namespace kmodguard::sys
