// SPDX-License-Identifier: AGPL-3.0-only
//
// Structures as bytes, between a process and the reader that it started. Both are of one build, so there is
// no version; what a structure consists of is said once for both directions, by a function fields(). What
// comes back is taken for hostile, since the reader has read what is: no length in it is believed.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace kmodguard::reader {

/// For fields(), which is given a structure to read and one to fill.
template <typename Structure, typename Type>
concept MaybeConst = std::same_as<std::remove_const_t<Structure>, Type>;

template <typename Value>
concept Plain = std::is_arithmetic_v<Value> || std::is_enum_v<Value>;

/// Appends the values that it is called with.
class Encoder {
  public:
    template <typename... Values>
    void operator()(const Values&... values) {
        (put(values), ...);
    }
    [[nodiscard]] std::string take() && { return std::move(bytes_); }

  private:
    template <Plain Value>
    void put(const Value& value) {
        bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    void put(const std::string& text) {
        put(std::uint64_t{text.size()});
        bytes_ += text;
    }
    void put(const std::filesystem::path& path) { put(path.native()); }
    template <typename Value, std::size_t size>
    void put(const std::array<Value, size>& values) {
        for (const Value& value : values)
            put(value);
    }
    template <typename Value>
    void put(const std::optional<Value>& value) {
        put(value.has_value());
        if (value) put(*value);
    }
    template <typename First, typename Second>
    void put(const std::pair<First, Second>& pair) {
        put(pair.first);
        put(pair.second);
    }
    template <typename Value>
    void put(const std::vector<Value>& values) {
        put_all(values);
    }
    template <typename Value, typename Order>
    void put(const std::set<Value, Order>& values) {
        put_all(values);
    }
    template <typename Key, typename Value, typename Order>
    void put(const std::map<Key, Value, Order>& values) {
        put_all(values);
    }
    template <typename Container>
    void put_all(const Container& values) {
        put(std::uint64_t{values.size()});
        for (const auto& value : values)
            put(value);
    }
    template <typename Structure>
        requires std::is_class_v<Structure>
    void put(const Structure& structure) {
        fields(*this, structure);
    }

    std::string bytes_;
};

/// Fills the values that it is called with. Once the bytes have ended too soon, or could not be a value, all
/// others stay empty.
class Decoder {
  public:
    explicit Decoder(std::string_view bytes) : rest_(bytes) {}

    template <typename... Values>
    void operator()(Values&... values) {
        (get(values), ...);
    }
    /// Whether the bytes were what was asked for, and nothing else.
    [[nodiscard]] bool is_done() const { return !failed_ && rest_.empty(); }

  private:
    template <Plain Value>
    void get(Value& value) {
        if (const auto bytes = take(sizeof value); !failed_) {
            if constexpr (std::is_same_v<Value, bool>)
                value = bytes.front() != 0; // any other value of a bool is none
            else
                std::ranges::copy(bytes, reinterpret_cast<char*>(&value));
        }
    }
    void get(std::string& text) { text = take(count()); }
    void get(std::filesystem::path& path) {
        std::string text;
        get(text);
        path = std::move(text);
    }
    template <typename Value, std::size_t size>
    void get(std::array<Value, size>& values) {
        for (Value& value : values)
            get(value);
    }
    template <typename Value>
    void get(std::optional<Value>& value) {
        bool is_there = false;
        get(is_there);
        value.reset();
        if (is_there && !failed_) get(value.emplace());
    }
    template <typename First, typename Second>
    void get(std::pair<First, Second>& pair) {
        get(pair.first);
        get(pair.second);
    }
    template <typename Value>
    void get(std::vector<Value>& values) {
        values.clear();
        for (std::uint64_t left = count(); left > 0 && !failed_; --left)
            get(values.emplace_back());
    }
    template <typename Value, typename Order>
    void get(std::set<Value, Order>& values) {
        for (std::uint64_t left = count(); left > 0 && !failed_; --left) {
            Value value{};
            get(value);
            values.insert(std::move(value));
        }
    }
    template <typename Key, typename Value, typename Order>
    void get(std::map<Key, Value, Order>& values) {
        for (std::uint64_t left = count(); left > 0 && !failed_; --left) {
            std::pair<Key, Value> entry;
            get(entry);
            values.insert(std::move(entry));
        }
    }
    template <typename Structure>
        requires std::is_class_v<Structure>
    void get(Structure& structure) {
        fields(*this, structure);
    }

    std::string_view take(std::uint64_t size) {
        failed_ = failed_ || size > rest_.size();
        if (failed_) return {};
        const std::string_view taken = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return taken;
    }
    /// Of things that take a byte each at least.
    std::uint64_t count() {
        std::uint64_t number = 0;
        get(number);
        failed_ = failed_ || number > rest_.size();
        return failed_ ? 0 : number;
    }

    std::string_view rest_;
    bool failed_ = false;
};

template <typename... Values>
[[nodiscard]] std::string encoded(const Values&... values) {
    Encoder encoder;
    encoder(values...);
    return std::move(encoder).take();
}

/// False: the bytes are not such values.
template <typename... Values>
[[nodiscard]] bool decode(std::string_view bytes, Values&... values) {
    Decoder decoder(bytes);
    decoder(values...);
    return decoder.is_done();
}

} // namespace kmodguard::reader
