// SPDX-License-Identifier: AGPL-3.0-only
#include "compiled/image_reader.hpp"

#include <unistd.h>

namespace kmodguard::compiled {

sys::Result<ContentKey> ContentKey::random() {
    ContentKey key;
    if (::getentropy(key.bytes.data(), key.bytes.size()) != 0)
        return sys::system_failure("cannot draw", "a random key");
    return key;
}

} // namespace kmodguard::compiled
