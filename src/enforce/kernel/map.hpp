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
    /// All that is there, in no order; how many at most is known, and more means that it is changed while it
    /// is read.
    [[nodiscard]] sys::Result<std::vector<std::pair<Key, Value>>> read_all(std::size_t max) const {
        std::vector<std::pair<Key, Value>> entries;
        Key key{};
        const Key* previous = nullptr;
        while (TRY(found(::bpf_map_get_next_key(fd(), previous, &key), Access::read))) {
            if (entries.size() > max)
                return sys::failure(sys::ErrorKind::failed, name() + " changes while it is read");
            if (const auto value = TRY(get(key))) entries.emplace_back(key, *value);
            previous = &key;
        }
        return entries;
    }
    /// The next key is asked for by the one before, while that is there still: without one the kernel begins
    /// anew, and looks through all that is empty by now. Another process may take keys away meanwhile, and
    /// then it does begin anew, so that nothing is left.
    [[nodiscard]] sys::Result<void> clear() const {
        Key key{};
        bool more = TRY(found(::bpf_map_get_next_key(fd(), nullptr, &key), Access::read));
        while (more) {
            const Key last = key;
            more = TRY(found(::bpf_map_get_next_key(fd(), &last, &key), Access::read));
            TRY(found(::bpf_map_delete_elem(fd(), &last), Access::write));
        }
        return {};
    }
};

} // namespace kmodguard::kernel
