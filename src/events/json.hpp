// SPDX-License-Identifier: AGPL-3.0-only
//
// JSON values for whoever prints them; the library behind it is heavy and stays in one translation unit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace kmodguard::events {

class Json {
  public:
    using List = std::vector<Json>;
    using Object = std::vector<std::pair<std::string, Json>>; ///< members keep their order

    Json() = default;                           ///< null
    Json(bool value) : value_(value) {}         // NOLINT(google-explicit-constructor)
    Json(std::int64_t value) : value_(value) {} // NOLINT(google-explicit-constructor)
    Json(std::uint64_t value)
        : value_(static_cast<std::int64_t>(value)) {}            // NOLINT(google-explicit-constructor)
    Json(std::uint32_t value) : value_(std::int64_t{value}) {}   // NOLINT(google-explicit-constructor)
    Json(std::string value) : value_(std::move(value)) {}        // NOLINT(google-explicit-constructor)
    Json(std::string_view value) : value_(std::string(value)) {} // NOLINT(google-explicit-constructor)
    Json(const char* value) : value_(std::string(value)) {}      // NOLINT(google-explicit-constructor)
    Json(List value) : value_(std::move(value)) {}               // NOLINT(google-explicit-constructor)
    Json(Object value) : value_(std::move(value)) {}             // NOLINT(google-explicit-constructor)

    /// As one line. Bytes that are no UTF-8 become the replacement character.
    [[nodiscard]] std::string line() const;

    using Value = std::variant<std::monostate, bool, std::int64_t, std::string, List, Object>;
    [[nodiscard]] const Value& value() const { return value_; }

  private:
    Value value_;
};

} // namespace kmodguard::events
