// SPDX-License-Identifier: AGPL-3.0-only
#include "sys/result.hpp"

#include <fmt/format.h>

#include <cstring>

namespace kmodguard::sys {
namespace {

ErrorKind kind_of(int code) {
    switch (code) {
    case ENOENT: return ErrorKind::not_found;
    case EACCES:
    case EPERM: return ErrorKind::denied;
    case ECONNREFUSED: return ErrorKind::unreachable;
    default: return ErrorKind::failed;
    }
}

} // namespace

Error system_error(std::string_view action, std::string_view object, int code) {
    const char* description = ::strerrordesc_np(code); // null for a code that the C library does not know
    const std::string why = description != nullptr ? description : fmt::format("error {}", code);
    return {kind_of(code), fmt::format("{} {}: {}", action, object, why),
            code == EACCES || code == EPERM ? "this needs root" : ""};
}

std::string error_name(int code) {
    const char* name = code == 0 ? nullptr : ::strerrorname_np(code);
    return name != nullptr ? name : std::to_string(code);
}

} // namespace kmodguard::sys
