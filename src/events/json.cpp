// SPDX-License-Identifier: AGPL-3.0-only
#include "events/json.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>
#include <unordered_set>

namespace kmodguard::events {
namespace {

using Tree = nlohmann::ordered_json;

Tree tree_of(const Json& json) {
    if (const Json::List* list = json.list()) {
        Tree tree = Tree::array();
        for (const Json& item : *list)
            tree.push_back(tree_of(item));
        return tree;
    }
    if (const Json::Object* object = json.object()) {
        Tree tree = Tree::object();
        for (const auto& [key, item] : *object)
            tree[key] = tree_of(item);
        return tree;
    }
    if (const std::string* text = json.text()) return *text;
    if (const bool* boolean = json.boolean()) return *boolean;
    const std::int64_t* number = json.number();
    return number != nullptr ? Tree(*number) : Tree();
}

/// Puts a value together from what the parser calls out, without a tree of the library's own in between. The
/// parser keeps no stack that the text could exhaust, and stops where a function here returns false.
class Builder final : public nlohmann::json_sax<Tree> {
  public:
    explicit Builder(std::size_t depth) : depth_(depth) {}

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

    bool start_object(std::size_t /*members*/) override { return open(true); }
    bool key(string_t& name) override {
        Container& inner = open_.back();
        if (!inner.names.insert(name).second) return stop("two members of an object have one name");
        inner.name = std::move(name);
        return true;
    }
    bool end_object() override { return close(); }
    bool start_array(std::size_t /*elements*/) override { return open(false); }
    bool end_array() override { return close(); }
    bool parse_error(std::size_t position, const std::string& /*token*/,
                     const nlohmann::detail::exception& /*error*/) override {
        return stop(fmt::format("it is not JSON from byte {} on", position));
    }

    [[nodiscard]] const std::string& error() const { return error_; }
    [[nodiscard]] Json take() { return std::move(whole_); }

  private:
    struct Container {
        bool is_object = false;
        Json::Object members;
        Json::List items;
        std::string name; ///< of the member whose value comes next
        std::unordered_set<std::string> names;
    };

    bool stop(std::string why) {
        error_ = std::move(why);
        return false;
    }
    bool add(Json value) {
        if (open_.empty())
            whole_ = std::move(value);
        else if (Container& inner = open_.back(); inner.is_object)
            inner.members.emplace_back(std::move(inner.name), std::move(value));
        else
            inner.items.push_back(std::move(value));
        return true;
    }
    bool open(bool is_object) {
        if (open_.size() == depth_) return stop(fmt::format("it is nested more than {} deep", depth_));
        open_.emplace_back().is_object = is_object;
        return true;
    }
    bool close() {
        Container done = std::move(open_.back());
        open_.pop_back();
        return add(done.is_object ? Json(std::move(done.members)) : Json(std::move(done.items)));
    }

    std::size_t depth_;
    std::vector<Container> open_;
    Json whole_;
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
    Builder builder(limits.depth);
    if (!Tree::sax_parse(text, &builder)) return refuse(builder.error());
    return builder.take();
}

void Json::add(std::string_view name, Json value) {
    std::get<Object>(value_).emplace_back(name, std::move(value));
}

const Json* Json::find(std::string_view name) const {
    const Object* members = object();
    if (members == nullptr) return nullptr;
    const auto found = std::ranges::find(*members, name, &Object::value_type::first);
    return found == members->end() ? nullptr : &found->second;
}

std::string Json::line() const {
    return tree_of(*this).dump(-1, ' ', false, nlohmann::detail::error_handler_t::replace);
}

} // namespace kmodguard::events
