// SPDX-License-Identifier: AGPL-3.0-only
//
// JSON values to print and to read; the library that reads them is heavy and stays in one translation
// unit. What is read comes from others, and may be made to be misread: a reader that keeps the first of two
// members of one name and a writer that meant the second do not talk of the same thing.
#pragma once

#include "events/output.hpp"
#include "sys/result.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace kmodguard::events {

struct JsonLimits {
    std::size_t bytes = 64U << 10U; ///< of the text
    std::size_t depth = 16;         ///< of lists and objects in one another
};

class Json {
  public:
    using List = std::vector<Json>;
    using Object = std::vector<std::pair<std::string, Json>>; ///< members keep their order

    // NOLINTBEGIN(google-explicit-constructor): a value is written where a Json is wanted
    Json(); ///< null
    Json(bool value);
    Json(std::int64_t value);
    template <std::integral Number> // of another width, or without a sign
    Json(Number value) : Json(static_cast<std::int64_t>(value)) {}
    Json(std::string value);
    Json(std::string_view value);
    Json(const char* value);
    Json(List value);
    Json(Object value);
    // NOLINTEND(google-explicit-constructor)

    // Not in the header, where each of the many files that hand a Json on would compile them again.
    Json(const Json& other);
    Json(Json&& other) noexcept;
    Json& operator=(const Json& other);
    Json& operator=(Json&& other) noexcept;
    ~Json();

    /// The value of `text`, which is one JSON value and white space (RFC 8259). More is refused than there:
    /// an object with two members of one name, a number that is no integer of 64 bits, a NUL, and whatever is
    /// over the limits. Errors are of kind invalid, name the byte, and contain nothing of the text.
    [[nodiscard]] static sys::Result<Json> parse(std::string_view text, const JsonLimits& limits = {});

    /// The member `name`; nullptr if there is none, or this is no object.
    [[nodiscard]] const Json* find(std::string_view name) const;
    /// nullptr if it is something else.
    [[nodiscard]] const std::string* text() const { return std::get_if<std::string>(&value_); }
    [[nodiscard]] const bool* boolean() const { return std::get_if<bool>(&value_); }
    [[nodiscard]] const std::int64_t* number() const { return std::get_if<std::int64_t>(&value_); }
    [[nodiscard]] const List* list() const { return std::get_if<List>(&value_); }
    [[nodiscard]] const Object* object() const { return std::get_if<Object>(&value_); }

    /// As one line (json_text.hpp).
    [[nodiscard]] std::string line() const;

  private:
    void write(Output& out) const;

    std::variant<std::monostate, bool, std::int64_t, std::string, List, Object> value_;
};

/// Puts a value together from its parts.
class JsonBuilder final : public Output {
  public:
    void name(std::string_view member) override { name_ = member; }
    void null() override { add({}); }
    void boolean(bool value) override { add(value); }
    void number(std::int64_t value) override { add(value); }
    void text(std::string_view value) override { add(value); }
    void begin_object() override { open(true); }
    void end_object() override { close(); }
    void begin_list() override { open(false); }
    void end_list() override { close(); }

    void add(Json value);
    [[nodiscard]] std::size_t depth() const {
        return open_.size();
    } ///< of lists and objects that are not ended
    /// The value, once it is whole.
    [[nodiscard]] Json take() { return std::move(whole_); }

  private:
    struct Container {
        bool is_object = false;
        std::string name; ///< its own, in the object that it is in
        Json::Object members = {};
        Json::List items = {};
    };

    void open(bool is_object);
    void close();

    std::vector<Container> open_;
    std::string name_; ///< of the value that comes next
    Json whole_;
};

} // namespace kmodguard::events
