// SPDX-License-Identifier: AGPL-3.0-only
//
// A BPF map as a typed table. Errors name the map; bpf(2) says what they mean.
#pragma once

#include "sys/result.hpp"
#include "sys/unique_fd.hpp"

#include <bpf/bpf.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace kmodguard::kernel {

/// What the kernel knows of the map, program or link behind a descriptor (bpf_map_info, bpf_prog_info,
/// bpf_link_info); nothing if it is something else, with errno.
template <typename Info>
[[nodiscard]] std::optional<Info> info_of(int fd) {
    Info info{};
    std::uint32_t size = sizeof info;
    return ::bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? std::optional(info) : std::nullopt;
}

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
    enum class Access : std::uint8_t { read, write };
    /// Whether a call of libbpf's that returned `code` has found the key.
    [[nodiscard]] sys::Result<bool> found(int code, Access access) const;
    [[nodiscard]] sys::Result<void> put(const void* key, const void* value) const;
    [[nodiscard]] sys::Result<void> put_all(const void* keys, const void* values, std::size_t count) const;

    /// Where a walk over the whole map is.
    struct Position {
        std::optional<std::uint32_t> bucket = std::nullopt; ///< nothing: at the beginning
        bool at_end = false;
    };
    static constexpr std::size_t first_part = 256; ///< entries that a walk asks for at first
    using Batch = decltype(&::bpf_map_lookup_batch);
    /// Has the kernel fill `keys` and `values`, which have room for `count`, from `position` on; `count` is
    /// how many there are then. False: there is not enough room.
    [[nodiscard]] sys::Result<bool> go_on(Position& position, Batch call, Access access, void* keys,
                                          void* values, std::uint32_t& count) const;

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
        const bool there = TRY(found(::bpf_map_lookup_elem(fd(), &key, &value), Access::read));
        return there ? std::optional(value) : std::nullopt;
    }
    /// Takes the value out; nothing if there is no such key.
    [[nodiscard]] sys::Result<std::optional<Value>> extract(const Key& key) const {
        Value value{};
        const bool there = TRY(found(::bpf_map_lookup_and_delete_elem(fd(), &key, &value), Access::write));
        return there ? std::optional(value) : std::nullopt;
    }
    /// Many, by few system calls; in the order given. What was set before a failure stays.
    [[nodiscard]] sys::Result<void> set_all(const std::vector<Key>& keys,
                                            const std::vector<Value>& values) const {
        return put_all(keys.data(), values.data(), keys.size());
    }
    /// All that is there, in no order; how many at most is known, and more means that it is changed while it
    /// is read.
    [[nodiscard]] sys::Result<std::vector<std::pair<Key, Value>>> read_all(std::size_t max) const {
        std::vector<std::pair<Key, Value>> entries;
        Part part;
        while (TRY(next(part, &::bpf_map_lookup_batch, Access::read))) {
            if (entries.size() + part.count > max + 1)
                return sys::failure(sys::ErrorKind::failed, name() + " changes while it is read");
            for (std::size_t i = 0; i < part.count; ++i)
                entries.emplace_back(part.keys[i], part.values[i]);
        }
        return entries;
    }
    [[nodiscard]] sys::Result<void> clear() const {
        Part part;
        while (TRY(next(part, &::bpf_map_lookup_and_delete_batch, Access::write))) {
        }
        return {};
    }

  private:
    /// Of a walk over the whole map.
    struct Part {
        Position position;
        std::vector<Key> keys = std::vector<Key>(first_part);
        std::vector<Value> values = std::vector<Value>(first_part);
        std::uint32_t count = 0; ///< of `keys` and `values`, from the beginning
    };

    /// False: there was no more.
    [[nodiscard]] sys::Result<bool> next(Part& part, Batch call, Access access) const {
        while (!part.position.at_end) {
            part.count = static_cast<std::uint32_t>(part.keys.size());
            const auto fits =
                TRY(go_on(part.position, call, access, part.keys.data(), part.values.data(), part.count));
            if (fits && part.count != 0) return true;
            if (fits) continue;
            part.keys.resize(part.keys.size() * 2); // what hashes alike comes together, or not at all
            part.values.resize(part.values.size() * 2);
        }
        return false;
    }
};

} // namespace kmodguard::kernel
