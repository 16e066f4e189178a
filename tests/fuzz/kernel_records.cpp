// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: any bytes as a record of the kernel point, and as the file that a sealed machine keeps
// its table in. Whatever they hold, an event and its line of text come of it, or an error.
#include "enforce/kernel/policy_table.hpp"
#include "enforce/kernel/records.hpp"
#include "events/event_json.hpp"

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

using namespace kmodguard;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    guard_record record{};
    std::memcpy(&record, data, std::min(size, sizeof record));
    static const core::Policy policy;
    static const core::Admissions admissions;
    core::NoModules index;
    const events::Attempt attempt = kernel::event_of(record, {policy, index, admissions, 0});
    const events::SealRefusal refusal = kernel::seal_refusal_of(record);
    std::string line;
    if (summary(attempt).empty() || !events::append_json(line, attempt)) std::abort();
    if (summary(refusal).empty() || !events::append_json(line, refusal)) std::abort();
    if (const auto table = kernel::parse_table({reinterpret_cast<const char*>(data), size});
        table && kernel::text_of_table(*table).size() > size)
        std::abort();
    return 0;
}
