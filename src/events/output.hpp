// SPDX-License-Identifier: AGPL-3.0-only
//
// What takes a value part by part, as it lies in the event: the text of a line of JSON (json_text.hpp), a
// Json to be added to (json.hpp), the fields of a message to the journal (sinks.cpp). So no event is copied
// on its way to a log.
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace kmodguard::events {

class Output {
  public:
    Output() = default;
    Output(const Output&) = delete;
    Output& operator=(const Output&) = delete;
    virtual ~Output() = default;

    /// What the next value is called, in an object. Where none comes before the next name there is no such
    /// member. It must last until the value comes.
    virtual void name(std::string_view member) = 0;
    virtual void null() = 0;
    virtual void boolean(bool value) = 0;
    virtual void number(std::int64_t value) = 0;
    virtual void text(std::string_view value) = 0;
    virtual void begin_object() = 0;
    virtual void end_object() = 0;
    virtual void begin_list() = 0;
    virtual void end_list() = 0;
};

// Values that are in no object or list of their own.
inline void write_value(Output& out, std::string_view value) {
    out.text(value);
}
template <std::same_as<bool> Bool> // what merely becomes one is none
void write_value(Output& out, Bool value) {
    out.boolean(value);
}
template <std::integral Number>
    requires(!std::same_as<Number, bool>)
void write_value(Output& out, Number value) {
    out.number(static_cast<std::int64_t>(value));
}
template <typename Enum>
    requires std::is_enum_v<Enum>
void write_value(Output& out, Enum value) {
    out.text(to_string(value));
}

} // namespace kmodguard::events
