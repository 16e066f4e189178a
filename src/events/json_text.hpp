// SPDX-License-Identifier: AGPL-3.0-only
//
// JSON as text, put together in the buffer that it is written from.
#pragma once

#include "events/output.hpp"

#include <string>

namespace kmodguard::events {

/// Appends one value to `to`, in one line and without blanks. What in a text is no UTF-8 becomes the
/// replacement character, one for each part of a character that is cut short (Unicode, "maximal subpart").
class JsonText final : public Output {
  public:
    explicit JsonText(std::string& to) : to_(to) {}

    void name(std::string_view member) override { name_ = member; }
    void null() override;
    void boolean(bool value) override;
    void number(std::int64_t value) override;
    void text(std::string_view value) override;
    void begin_object() override { begin('{'); }
    void end_object() override { end('}'); }
    void begin_list() override { begin('['); }
    void end_list() override { end(']'); }

  private:
    void before_value();
    void begin(char bracket);
    void end(char bracket);

    std::string& to_;
    std::string_view name_; ///< of the value that comes next; none in a list
    bool follows_ = false;  ///< another value, in the same object or list
};

} // namespace kmodguard::events
