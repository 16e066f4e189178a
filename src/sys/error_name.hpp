// SPDX-License-Identifier: AGPL-3.0-only
//
// What a system call failed with, as it is written in records and reports.
#pragma once

#include <string>

namespace kmodguard::sys {

/// "EPERM"; the number of one that the C library does not know; "0" for none.
[[nodiscard]] std::string error_name(int code);

} // namespace kmodguard::sys
