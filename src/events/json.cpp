// SPDX-License-Identifier: AGPL-3.0-only
#include "events/json.hpp"

#include "events/json_text.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>
#include <unordered_set>

namespace kmodguard::events {
namespace {

using Tree = nlohmann::ordered_json;

/// Hands on what the parser calls out, without a tree of the library's own in between. The parser keeps no
/// stack that the text could exhaust, and stops where a function here returns false.
class Reader final : public nlohmann::json_sax<Tree> {
  public:
    explicit Reader(std::size_t depth) : depth_(depth) {}

    bool null() override { return add(Json()); }
    bool boolean(bool value) override { return add(value); }
    bool number_integer(number_integer_t value) override { return add(value); }
    bool number_unsigned(number_unsigned_t value) override {
        if (value > static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max()))
            return stop("a number is out of range");
        return add(static_cast<std::int64_t>(value));
    }
    bool number_float(number_float_t /*value*/, const string_t& /*text*/) override {
        return stop("a number is not an integer");
    }
    bool string(string_t& value) override { return add(std::move(value)); }
    bool binary(binary_t& /*value*/) override { return stop("it holds binary data"); }

    bool start_object(std::size_t /*members*/) override { return open(&JsonBuilder::begin_object); }
    bool key(string_t& name) override {
        if (!names_.back().insert(name).second) return stop("two members of an object have one name");
        builder_.name(name);
        return true;
    }
    bool end_object() override { return close(&JsonBuilder::end_object); }
    bool start_array(std::size_t /*elements*/) override { return open(&JsonBuilder::begin_list); }
    bool end_array() override { return close(&JsonBuilder::end_list); }
    bool parse_error(std::size_t position, const std::string& /*token*/,
                     const nlohmann::detail::exception& /*error*/) override {
        return stop(fmt::format("it is not JSON from byte {} on", position));
    }

    [[nodiscard]] const std::string& error() const { return error_; }
    [[nodiscard]] Json take() { return builder_.take(); }

  private:
    bool stop(std::string why) {
        error_ = std::move(why);
        return false;
    }
    bool add(Json value) {
        builder_.add(std::move(value));
        return true;
    }
    bool open(void (JsonBuilder::*begin)()) {
        if (builder_.depth() == depth_) return stop(fmt::format("it is nested more than {} deep", depth_));
        (builder_.*begin)();
        names_.emplace_back();
        return true;
    }
    bool close(void (JsonBuilder::*end)()) {
        (builder_.*end)();
        names_.pop_back();
        return true;
    }

    std::size_t depth_;
    JsonBuilder builder_;
    std::vector<std::unordered_set<std::string>> names_; ///< of the members of what is open
    std::string error_;
};

} // namespace

Json::Json() = default;
Json::Json(bool value) : value_(value) {}
Json::Json(std::int64_t value) : value_(value) {}
Json::Json(std::string value) : value_(std::move(value)) {}
Json::Json(std::string_view value) : value_(std::string(value)) {}
Json::Json(const char* value) : value_(std::string(value)) {}
Json::Json(List value) : value_(std::move(value)) {}
Json::Json(Object value) : value_(std::move(value)) {}
Json::Json(const Json& other) = default;
Json::Json(Json&& other) noexcept = default;
Json& Json::operator=(const Json& other) = default;
Json& Json::operator=(Json&& other) noexcept = default;
Json::~Json() = default;

sys::Result<Json> Json::parse(std::string_view text, const JsonLimits& limits) {
    const auto refuse = [](std::string_view why) {
        return sys::failure(sys::ErrorKind::invalid, fmt::format("the JSON text cannot be used: {}", why));
    };
    if (text.size() > limits.bytes) return refuse(fmt::format("it has more than {} bytes", limits.bytes));
    if (text.find('\0') != std::string_view::npos) // the library takes one for the end
        return refuse("it holds a NUL");
    Reader reader(limits.depth);
    if (!Tree::sax_parse(text, &reader)) return refuse(reader.error());
    return reader.take();
}

const Json* Json::find(std::string_view name) const {
    const Object* members = object();
    if (members == nullptr) return nullptr;
    const auto found = std::ranges::find(*members, name, &Object::value_type::first);
    return found == members->end() ? nullptr : &found->second;
}

void Json::write(Output& out) const {
    if (const List* items = list()) {
        out.begin_list();
        for (const Json& item : *items)
            item.write(out);
        out.end_list();
    } else if (const Object* members = object()) {
        out.begin_object();
        for (const auto& [name, member] : *members) {
            out.name(name);
            member.write(out);
        }
        out.end_object();
    } else if (const std::string* value = text()) {
        out.text(*value);
    } else if (const bool* answer = boolean()) {
        out.boolean(*answer);
    } else if (const std::int64_t* integer = number()) {
        out.number(*integer);
    } else {
        out.null();
    }
}

std::string Json::line() const {
    std::string line;
    JsonText text(line);
    write(text);
    return line;
}

void JsonBuilder::add(Json value) {
    if (open_.empty())
        whole_ = std::move(value);
    else if (Container& inner = open_.back(); inner.is_object)
        inner.members.emplace_back(std::move(name_), std::move(value));
    else
        inner.items.push_back(std::move(value));
}

void JsonBuilder::open(bool is_object) {
    open_.push_back({.is_object = is_object, .name = std::move(name_)});
}

void JsonBuilder::close() {
    Container done = std::move(open_.back());
    open_.pop_back();
    name_ = std::move(done.name);
    add(done.is_object ? Json(std::move(done.members)) : Json(std::move(done.items)));
}

} // namespace kmodguard::events
