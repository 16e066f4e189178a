// SPDX-License-Identifier: AGPL-3.0-only
#include "enforce/kernel/map.hpp"

#include "sys/file.hpp"

namespace kmodguard::kernel {

sys::Result<RawMap> RawMap::open(const std::filesystem::path& pin) {
    sys::UniqueFd fd(::bpf_obj_get(pin.c_str()));
    if (!fd) return sys::system_failure("cannot open the pinned map", pin.native());
    return RawMap(std::move(fd), pin.filename());
}

sys::Result<std::uint32_t> RawMap::id() const {
    const auto info = info_of<bpf_map_info>(fd());
    if (!info) return sys::system_failure("cannot inspect the map", name_);
    return info->id;
}

sys::Result<bool> RawMap::is_frozen() const {
    // The kernel says so in fdinfo only (bpf_map_show_fdinfo).
    const std::string text = TRY(sys::read_pseudo_file("/proc/self/fdinfo/" + std::to_string(fd())));
    return text.contains("frozen:\t1");
}

sys::Result<void> RawMap::freeze() const {
    // Doing it twice is EBUSY or EPERM, by the kernel's version.
    const bool frozen = TRY(is_frozen());
    if (frozen || ::bpf_map_freeze(fd()) == 0) return {};
    return sys::system_failure("cannot freeze the map", name_);
}

sys::Result<bool> RawMap::found(int code, Access access) const {
    if (code == 0) return true;
    if (errno == ENOENT) return false;
    return sys::system_failure(access == Access::read ? "cannot read the map" : "cannot write to the map",
                               name_);
}

sys::Result<void> RawMap::put(const void* key, const void* value) const {
    if (::bpf_map_update_elem(fd(), key, value, BPF_ANY) == 0) return {};
    return sys::system_failure("cannot write to the map", name_);
}

sys::Result<void> RawMap::put_all(const void* keys, const void* values, std::size_t count) const {
    auto done = static_cast<std::uint32_t>(count);
    if (count == 0 || ::bpf_map_update_batch(fd(), keys, values, &done, nullptr) == 0) return {};
    return sys::system_failure("cannot write to the map", name_);
}

sys::Result<bool> RawMap::go_on(Position& position, Batch call, Access access, void* keys, void* values,
                                std::uint32_t& count) const {
    std::uint32_t next = 0;
    const int code =
        call(fd(), position.bucket ? &*position.bucket : nullptr, &next, keys, values, &count, nullptr);
    if (code != 0 && errno == ENOSPC) return false;
    if (code != 0 && errno != ENOENT)
        return sys::system_failure(access == Access::read ? "cannot read the map" : "cannot write to the map",
                                   name_);
    position.at_end = code != 0;
    position.bucket = next;
    return true;
}

} // namespace kmodguard::kernel
