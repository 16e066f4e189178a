// SPDX-License-Identifier: AGPL-3.0-only
//
// The only unit that sees the generated skeleton, and libbpf's objects.
#include "enforce/kernel/programs.hpp"

#include "enforce/kernel/map.hpp"
#include "modules/content_tag.hpp"
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

constexpr std::string_view lsm_section = "lsm/";
constexpr std::string_view fmod_ret_section = "fmod_ret/security_";
/// The one hook that has a program of the second kind only (kmodguard.bpf.c says why).
constexpr std::string_view request_section = "fmod_ret/security_kernel_module_request";

/// The hook of a program of this kind; "" if it is of the other, or of no hook.
std::string_view hook_of(const bpf_program* program, Mechanism mechanism) {
    const std::string_view section = bpf_program__section_name(program);
    const bool lsm = mechanism == Mechanism::lsm && section != request_section;
    const auto prefix = lsm ? lsm_section : fmod_ret_section;
    return section.starts_with(prefix) ? section.substr(prefix.size()) : "";
}

/// What a program is pinned as, and whether it is one of the seal's; "" if it is of the other kind.
std::string_view name_of(const bpf_program* program, Mechanism mechanism) {
    const std::string_view hook = hook_of(program, mechanism);
    if (hook.empty() && bpf_program__name(program) == tightening_program) return tightening_program;
    return hook;
}

enum class Part : std::uint8_t { guarding, sealing };

bool is_wanted(const bpf_program* program, Mechanism mechanism, Part part) {
    const std::string_view name = name_of(program, mechanism);
    const bool seals =
        name == tightening_program || std::ranges::find(sealing_hooks(), name) != sealing_hooks().end();
    return !name.empty() && seals == (part == Part::sealing);
}

/// Which programs are loaded: of what is not, nothing is fitted to the kernel or verified.
void choose(const kmodguard_programs& skeleton, Mechanism mechanism, Part part) {
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton.obj)
        bpf_program__set_autoload(program, is_wanted(program, mechanism, part));
}

struct Destroy {
    void operator()(kmodguard_programs* skeleton) const { kmodguard_programs__destroy(skeleton); }
};
using Skeleton = std::unique_ptr<kmodguard_programs, Destroy>;

/// What libbpf said last, for the error: it has more to tell than an errno.
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

/// What user space is not to write to any more. Freezing, too, takes CAP_BPF on older kernels.
sys::Result<void> set_for_good(const kmodguard_programs& skeleton) {
    const auto key = modules::ContentKey::random();
    if (!key) return std::unexpected(key.error());
    const std::uint32_t only = 0;
    const int key_map = bpf_map__fd(skeleton.maps.content_key);
    if (::bpf_map_update_elem(key_map, &only, key->bytes.data(), BPF_ANY) != 0
        || ::bpf_map_freeze(key_map) != 0)
        return sys::system_failure("cannot set", "the key for contents");
    for (const bpf_map* map :
         {skeleton.maps.tightened, skeleton.maps.scratch, skeleton.maps.empty_scratch, skeleton.maps.counters,
          skeleton.maps.budget, skeleton.maps.budgets}) // programs go on writing to them
        if (::bpf_map_freeze(bpf_map__fd(map)) != 0)
            return sys::system_failure("cannot freeze the map", bpf_map__name(map));
    return {};
}

/// Those that are shared by all programs, and not the compiler's own for constants.
std::vector<bpf_map*> maps_of(const kmodguard_programs& skeleton) {
    std::vector<bpf_map*> maps;
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, skeleton.obj) if (std::string_view(bpf_map__name(map)).find('.')
                                                    == std::string_view::npos) maps.push_back(map);
    return maps;
}

sys::Result<void> pin_maps(const kmodguard_programs& skeleton, const std::filesystem::path& directory) {
    if (::mkdir(directory.c_str(), S_IRWXU) != 0)
        return sys::system_failure("cannot create", directory.native());
    for (const bpf_map* map : maps_of(skeleton))
        if (auto pinned = pin(bpf_map__fd(map), directory / map_pin(bpf_map__name(map))); !pinned)
            return pinned;
    return {};
}

/// Those that are loaded.
sys::Result<void> pin_programs(const kmodguard_programs& skeleton, Mechanism mechanism,
                               const std::filesystem::path& directory) {
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, skeleton.obj) {
        if (!bpf_program__autoload(program)) continue;
        const auto path = directory / program_pin(name_of(program, mechanism));
        ::unlink(path.c_str()); // of an attempt to seal that failed
        if (auto pinned = pin(bpf_program__fd(program), path); !pinned) return pinned;
        sys::trace(sys::Topic::bpf, "pinned {}", path.native());
    }
    return {};
}

/// Has the programs work on the maps that are pinned already.
sys::Result<void> use_pinned_maps(const kmodguard_programs& skeleton,
                                  const std::filesystem::path& directory) {
    for (bpf_map* map : maps_of(skeleton)) {
        const auto pinned = RawMap::open(directory / map_pin(bpf_map__name(map)));
        if (!pinned) return std::unexpected(pinned.error());
        if (const int code = bpf_map__reuse_fd(map, pinned->fd()); code != 0)
            return sys::system_failure("cannot use the map", bpf_map__name(map), -code);
    }
    return {};
}

} // namespace

const std::vector<std::string_view>& guarding_hooks() {
    static const std::vector<std::string_view> hooks = {"kernel_module_request", "kernel_read_file",
                                                        "kernel_post_read_file", "kernel_load_data",
                                                        "kernel_post_load_data"};
    return hooks;
}

const std::vector<std::string_view>& sealing_hooks() {
    static const std::vector<std::string_view> hooks = {
        "inode_unlink", "inode_rmdir", "inode_rename", "sb_umount", "move_mount", "sb_mount",
        "sb_pivotroot", "file_open",   "bpf",          "bpf_map",   "locked_down"};
    return hooks;
}

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
    skeleton->rodata->kernel_unpacks = options.kernel_unpacks ? 1 : 0;
    const long processors = ::sysconf(_SC_NPROCESSORS_CONF);
    const auto room = static_cast<std::uint32_t>(std::clamp(processors * 4, 256L, 8192L));
    bpf_map__set_max_entries(skeleton->maps.scratch, room);
    if (const int code = kmodguard_programs__load(skeleton.get()); code != 0) return load_failure(-code);
    sys::trace(sys::Topic::bpf, "loaded: mechanism {}, the kernel {} images by itself",
               to_string(options.mechanism), options.kernel_unpacks ? "decompresses" : "does not decompress");
    if (auto set = set_for_good(*skeleton); !set) return set;
    if (auto pinned = pin_maps(*skeleton, options.directory); !pinned) return pinned;
    return pin_programs(*skeleton, options.mechanism, options.directory);
}

sys::Result<void> load_sealing_programs(Mechanism mechanism, const std::filesystem::path& directory) {
    libbpf_set_print(keep_message);
    const Skeleton skeleton(kmodguard_programs__open());
    if (!skeleton) return load_failure(errno);
    choose(*skeleton, mechanism, Part::sealing);
    if (auto used = use_pinned_maps(*skeleton, directory); !used) return used;
    if (const int code = kmodguard_programs__load(skeleton.get()); code != 0) return load_failure(-code);
    return pin_programs(*skeleton, mechanism, directory);
}

} // namespace kmodguard::kernel
