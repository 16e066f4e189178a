// SPDX-License-Identifier: AGPL-3.0-only
//
// The only unit that sees the generated skeleton, and libbpf's objects.
#include "enforce/kernel/programs.hpp"

#include "enforce/kernel/pins.hpp"
#include "modules/hash.hpp"
#include "sys/trace.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <kmodguard.skel.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <span>

namespace kmodguard::kernel {
namespace {

/// The row of a program, if it is one of this mechanism.
const ProgramRow* row_of(const bpf_program* program, Mechanism mechanism) {
    const std::string_view section = bpf_program__section_name(program);
    const std::string_view name = bpf_program__name(program);
    const auto found = std::ranges::find_if(program_table, [&](const ProgramRow& row) {
        if (row.kind == Kind::called) return name == row.name;
        const bool lsm = mechanism == Mechanism::lsm && row.kind != Kind::request;
        const std::string_view prefix = lsm ? "lsm/" : "fmod_ret/security_";
        return section.starts_with(prefix) && section.substr(prefix.size()) == row.name;
    });
    return found == program_table.end() ? nullptr : &*found;
}

/// Which programs are loaded: of what is not, nothing is fitted to the kernel or verified.
void choose(const kmodguard_programs& skeleton, Mechanism mechanism, Part part) {
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton.obj) {
        const ProgramRow* row = row_of(program, mechanism);
        bpf_program__set_autoload(program, row != nullptr && row->part == part);
    }
}

struct Destroy {
    void operator()(kmodguard_programs* skeleton) const { kmodguard_programs__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<kmodguard_programs, Destroy>;

/// What libbpf said last, for the error: it says more than an errno.
std::string last_message; // NOLINT: libbpf's callback takes no context

int keep_message(libbpf_print_level level, const char* format, va_list arguments) {
    if (level == LIBBPF_DEBUG && !sys::is_traced(sys::Topic::bpf)) return 0;
    char line[512];
    std::vsnprintf(line, sizeof line, format, arguments);
    std::string_view text = line;
    text = text.substr(0, text.find_last_not_of('\n') + 1);
    sys::trace(sys::Topic::bpf, "{}", text);
    if (level == LIBBPF_DEBUG) return 0;
    if (text.find("failed") != std::string_view::npos || last_message.empty()) last_message = text;
    return 0;
}

std::unexpected<sys::Error> load_failure(int code) {
    std::string why =
        last_message.empty() ? std::string(std::generic_category().message(code)) : last_message;
    std::string hint;
    if (code == EPERM) hint = "it takes CAP_BPF and CAP_PERFMON, which a container usually has not";
    if (code == ENOENT || code == ESRCH) hint = "the kernel has no security hooks (CONFIG_SECURITY)";
    return sys::failure(sys::ErrorKind::failed, "cannot load the kernel point's programs: " + why,
                        std::move(hint));
}

sys::Result<void> pin(int fd, const std::filesystem::path& path) {
    if (::bpf_obj_pin(fd, path.c_str()) != 0) return sys::system_failure("cannot pin", path.native());
    return {};
}

sys::Result<bpf_map*> map_of(const kmodguard_programs& skeleton, const MapRow& row) {
    const std::string name(row.name);
    bpf_map* map = bpf_object__find_map_by_name(skeleton.obj, name.c_str());
    if (map == nullptr) return sys::system_failure("cannot find the map", name, ENOENT);
    return map;
}

/// What user space is not to write to any more. Freezing, too, takes CAP_BPF on older kernels.
sys::Result<void> set_for_good(const kmodguard_programs& skeleton) {
    const auto key = TRY(modules::ContentKey::random());
    const std::uint32_t only = 0;
    if (::bpf_map_update_elem(bpf_map__fd(skeleton.maps.content_key), &only, key.bytes.data(), BPF_ANY) != 0)
        return sys::system_failure("cannot set", "the key for contents");
    for (const MapRow& row : map_table)
        if (row.writer == Writer::programs) {
            const bpf_map* map = TRY(map_of(skeleton, row));
            if (::bpf_map_freeze(bpf_map__fd(map)) != 0)
                return sys::system_failure("cannot freeze the map", row.name);
        }
    return {};
}

sys::Result<void> pin_maps(const kmodguard_programs& skeleton, const std::filesystem::path& directory) {
    if (::mkdir(directory.c_str(), S_IRWXU) != 0)
        return sys::system_failure("cannot create", directory.native());
    for (const MapRow& row : map_table) {
        const bpf_map* map = TRY(map_of(skeleton, row));
        TRY(pin(bpf_map__fd(map), directory / map_pin(row.name)));
    }
    return {};
}

/// Those that are loaded.
sys::Result<void> pin_programs(const kmodguard_programs& skeleton, Mechanism mechanism,
                               const std::filesystem::path& directory) {
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton.obj) {
        const ProgramRow* row = row_of(program, mechanism);
        if (row == nullptr || !bpf_program__autoload(program)) continue;
        const auto path = directory / program_pin(row->name);
        ::unlink(path.c_str()); // of an attempt to seal that failed
        TRY(pin(bpf_program__fd(program), path));
        sys::trace(sys::Topic::bpf, "pinned {}", path.native());
    }
    return {};
}

/// Has the programs work on the maps that are pinned already.
sys::Result<void> use_pinned_maps(const kmodguard_programs& skeleton,
                                  const std::filesystem::path& directory) {
    for (const MapRow& row : map_table) {
        bpf_map* map = TRY(map_of(skeleton, row));
        const RawMap pinned = TRY(RawMap::open(directory / map_pin(row.name)));
        if (const int code = bpf_map__reuse_fd(map, pinned.fd()); code != 0)
            return sys::system_failure("cannot use the map", row.name, -code);
    }
    return {};
}

} // namespace

sys::Result<core::Sha256> programs_hash() {
    std::size_t size = 0;
    const void* bytes = kmodguard_programs__elf_bytes(&size);
    return modules::sha256({static_cast<const std::byte*>(bytes), size});
}

sys::Result<void> load_programs(const LoadOptions& options) {
    libbpf_set_print(keep_message);
    const Skeleton skeleton(kmodguard_programs__open());
    if (!skeleton) return load_failure(errno);
    choose(*skeleton, options.mechanism, Part::guarding);
    skeleton->rodata->kernel_decompresses = options.kernel_decompresses ? 1 : 0;
    const long processors = ::sysconf(_SC_NPROCESSORS_CONF);
    const auto room = static_cast<std::uint32_t>(std::clamp(processors * 4, 256L, 8192L));
    bpf_map__set_max_entries(skeleton->maps.scratch, room);
    if (const int code = kmodguard_programs__load(skeleton.get()); code != 0) return load_failure(-code);
    sys::trace(sys::Topic::bpf, "loaded: mechanism {}, the kernel {} images by itself",
               to_string(options.mechanism),
               options.kernel_decompresses ? "decompresses" : "does not decompress");
    TRY(set_for_good(*skeleton));
    TRY(pin_maps(*skeleton, options.directory));
    return pin_programs(*skeleton, options.mechanism, options.directory);
}

sys::Result<void> load_sealing_programs(Mechanism mechanism, const std::filesystem::path& directory) {
    libbpf_set_print(keep_message);
    const Skeleton skeleton(kmodguard_programs__open());
    if (!skeleton) return load_failure(errno);
    choose(*skeleton, mechanism, Part::sealing);
    TRY(use_pinned_maps(*skeleton, directory));
    if (const int code = kmodguard_programs__load(skeleton.get()); code != 0) return load_failure(-code);
    return pin_programs(*skeleton, mechanism, directory);
}

} // namespace kmodguard::kernel
