// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: any bytes as a kernel's description of its types. What is picked out of them can be
// picked out of itself again, and is the same.
#include "enforce/kernel/needed_types.hpp"

#include <cstdint>
#include <cstdlib>

using namespace kmodguard;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const kernel::NeededTypes needed{.types = {"file", "path", "reading"},
                                            .members = {"f_path", "f_mode", "dentry", "name"},
                                            .functions = {"security_file_open"}};
    const auto found = kernel::find_types({reinterpret_cast<const char*>(data), size}, needed);
    if (!found) return 0;
    const auto again = kernel::find_types(found->btf, needed);
    if (!again || again->btf != found->btf) std::abort();
    return 0;
}
