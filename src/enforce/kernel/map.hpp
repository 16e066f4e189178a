// SPDX-License-Identifier: AGPL-3.0-only
//
// A BPF map as a typed table. Errors name the map; what they mean is said in bpf(2).
#pragma once

#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace kmodguard::kernel {

/// What of it does not depend on the types.
class RawMap {
  public:
    RawMap() = default;
    RawMap(sys::UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}
    [[nodiscard]] static sys::Result<RawMap> open(const std::filesystem::path& pin);

    [[nodiscard]] int fd() const { return fd_.get(); }
    [[nodiscard]] explicit operator bool() const { return static_cast<bool>(fd_); }
    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] sys::Result<std::uint32_t> id() const;
    [[nodiscard]] sys::Result<bool> is_frozen() const;
    /// No write from user space any more, by any process; writes by programs go on.
    [[nodiscard]] sys::Result<void> freeze() const;

  protected:
    [[nodiscard]] sys::Result<void> put(const void* key, const void* value) const;
    [[nodiscard]] sys::Result<bool> take(const void* key, void* value) const; ///< false: no such key
    [[nodiscard]] sys::Result<bool> take_out(const void* key, void* value) const;
    [[nodiscard]] sys::Result<bool> next(const void* previous, void* key) const;
    [[nodiscard]] sys::Result<void> drop(const void* key) const; ///< none there is fine

  private:
    sys::UniqueFd fd_;
    std::string name_;
};

template <typename Key, typename Value>
class Map : public RawMap {
  public:
    Map() = default;
    explicit Map(RawMap map) : RawMap(std::move(map)) {}

    [[nodiscard]] sys::Result<void> set(const Key& key, const Value& value) const {
        return put(&key, &value);
    }
    [[nodiscard]] sys::Result<std::optional<Value>> get(const Key& key) const {
        Value value{};
        const bool found = TRY(take(&key, &value));
        return found ? std::optional(value) : std::nullopt;
    }
    [[nodiscard]] sys::Result<void> erase(const Key& key) const { return drop(&key); }
    /// The key after `previous`, in no order; from none the first; nothing after the last.
    [[nodiscard]] sys::Result<std::optional<Key>> after(const std::optional<Key>& previous) const {
        Key key{};
        const bool found = TRY(next(previous ? &*previous : nullptr, &key));
        return found ? std::optional(key) : std::nullopt;
    }
    /// Takes the value out; nothing if there is no such key.
    [[nodiscard]] sys::Result<std::optional<Value>> extract(const Key& key) const {
        Value value{};
        const bool found = TRY(take_out(&key, &value));
        return found ? std::optional(value) : std::nullopt;
    }
    [[nodiscard]] sys::Result<void> clear() const {
        while (true) {
            const auto key = TRY(after(std::nullopt));
            if (!key) return {};
            TRY(erase(*key));
        }
    }
};

} // namespace kmodguard::kernel
