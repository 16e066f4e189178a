// SPDX-License-Identifier: AGPL-3.0-only
//
// libFuzzer target: any bytes as a module image. Beside memory errors it looks for the one that matters most,
// an image that is let pass under another name than a kernel would register; the kernel's opinion comes from
// the model that the unit tests use.
#include "../unit/modules/kernel_image_model.cpp" // the tests' model
#include "core/names.hpp"
#include "modules/image.hpp"

#include <cstdint>
#include <cstdlib>

using namespace kmodguard;

namespace {

void require(bool condition) {
    if (!condition) std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const auto image = std::as_bytes(std::span(data, size));
    const auto identity =
        modules::identify_image(image, {.with_hash = true, .with_aliases = true, .with_signature = true});
    const auto& facts = identity.facts;
    require(facts.sha256.has_value());
    require(identity.signature.has_value());
    if (!facts.problem.empty()) {
        require(facts.name.empty() && facts.modinfo_name.empty() && !facts.aliases);
        return 0;
    }
    require(core::is_module_name(facts.name));
    require(facts.aliases.has_value());
    require(modules::identify_image(image).facts.name == facts.name);
    for (const auto& reading : test::kernel_readings(image)) {
        require(reading.name == facts.name);
        require(reading.modinfo_name.value_or("") == facts.modinfo_name);
    }
    return 0;
}
