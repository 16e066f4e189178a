// SPDX-License-Identifier: AGPL-3.0-only
// Loads one module image in every way that the two system calls and a file system allow. A guard that decides
// by the path, the inode or what it read a moment before may have decided about something else than the
// kernel then gets: each way here is one that such a guard could miss. modprobe and insmod know only a few.
//
//   loader [--repeat N] [--parallel N] [--params TEXT] [--flags NUMBER] [--unload NAME]... WAY FILE
//   loader unload NAME
//
// It prints a line an attempt, "WAY ok" or "WAY ERRNO"; pair prints two, swap one for each result with its
// count. It exits with 0 if every attempt succeeded, 1 if one failed, 2 if it was called wrongly or could not
// even try: a copy that fails is no attempt. --unload takes a module away again after every attempt.

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

struct Options {
    int repeat = 1;
    int parallel = 0;
    std::string params;
    int flags = 0;
    std::vector<std::string> unload;
    std::string file;
    std::string other; // for swap
};

[[noreturn]] void die(const std::string& what, const char* why = strerrorname_np(errno)) {
    std::fprintf(stderr, "loader: %s: %s\n", what.c_str(), why);
    std::exit(2);
}

// What an attempt has to undo, the last first.
struct Cleanup : std::vector<std::function<void()>> {
    ~Cleanup() {
        for (; !empty(); pop_back())
            back()();
    }
};

std::string describe(int error) {
    return error == 0 ? "ok" : strerrorname_np(error);
}

// What came of an attempt: one result for most ways.
struct Results : std::vector<std::string> {
    Results() = default;
    Results(int error) : vector{describe(error)} {}
};

int open_or_die(const std::string& path, int flags) {
    const int fd = open(path.c_str(), flags | O_CLOEXEC, 0600);
    if (fd < 0) die(path);
    return fd;
}

std::string read_all(int fd, const std::string& what) {
    std::string bytes;
    char buffer[65536];
    ssize_t got = 0;
    while ((got = read(fd, buffer, sizeof buffer)) > 0)
        bytes.append(buffer, static_cast<std::size_t>(got));
    if (got < 0) die(what);
    return bytes;
}

std::string content(const std::string& path) {
    const int fd = open_or_die(path, O_RDONLY);
    std::string bytes = read_all(fd, path);
    close(fd);
    return bytes;
}

void write_all(int fd, std::string_view bytes, const std::string& what) {
    while (!bytes.empty()) {
        const ssize_t written = write(fd, bytes.data(), bytes.size());
        if (written < 0) die(what);
        bytes.remove_prefix(static_cast<std::size_t>(written));
    }
}

void write_file(const std::string& path, std::string_view bytes) {
    const int fd = open_or_die(path, O_WRONLY | O_CREAT | O_TRUNC);
    write_all(fd, bytes, path);
    close(fd);
}

// The system calls themselves: 0 or an errno.

int init_module(const std::string& image, const Options& o) {
    return syscall(SYS_init_module, image.data(), image.size(), o.params.c_str()) != 0 ? errno : 0;
}

int finit_module(int fd, const Options& o, int flags = 0) {
    const int error = syscall(SYS_finit_module, fd, o.params.c_str(), o.flags | flags) != 0 ? errno : 0;
    close(fd);
    return error;
}

int finit_module(const std::string& path, const Options& o, int flags = 0) {
    return finit_module(open_or_die(path, O_RDONLY), o, flags);
}

int delete_module(const std::string& name) {
    return syscall(SYS_delete_module, name.c_str(), O_NONBLOCK) != 0 ? errno : 0;
}

// The kernel reads no image that anybody has open for writing (ETXTBSY), so what was written is opened anew.
int reopen(int written) {
    const int fd = open_or_die("/proc/self/fd/" + std::to_string(written), O_RDONLY);
    close(written);
    return fd;
}

// The ways, and what a few of them share.

Results by_init(const Options& o) {
    return init_module(content(o.file), o);
}

template <int flags>
Results by_finit(const Options& o) {
    return finit_module(o.file, o, flags);
}

template <unsigned flags, int seals>
Results by_memfd(const Options& o) {
    const int fd = memfd_create("module", MFD_CLOEXEC | flags);
    if (fd < 0) die("memfd_create");
    write_all(fd, content(o.file), "memfd");
    if (seals != 0 && fcntl(fd, F_ADD_SEALS, seals) != 0) die("seals");
    return finit_module(reopen(fd), o);
}

Results by_unlinked(const Options& o) {
    char path[] = "/tmp/loader-XXXXXX";
    const int written = mkstemp(path);
    if (written < 0) die(path);
    write_all(written, content(o.file), path);
    const int fd = reopen(written);
    unlink(path);
    return finit_module(fd, o);
}

std::string fresh_folder(Cleanup& cleanup) {
    char path[] = "/tmp/loader-XXXXXX";
    if (mkdtemp(path) == nullptr) die(path);
    const std::string folder = path;
    cleanup.push_back([folder] { rmdir(folder.c_str()); });
    return folder;
}

Results by_tmpfs(const Options& o) {
    Cleanup cleanup;
    const std::string folder = fresh_folder(cleanup);
    if (mount("tmpfs", folder.c_str(), "tmpfs", 0, nullptr) != 0) die("mount a tmpfs");
    cleanup.push_back([folder] { umount2(folder.c_str(), MNT_DETACH); });
    write_file(folder + "/module", content(o.file));
    return finit_module(folder + "/module", o);
}

Results by_hardlink(const Options& o) {
    Cleanup cleanup;
    const std::string path =
        o.file.substr(0, o.file.rfind('/') + 1) + "loader-" + std::to_string(getpid()) + ".link";
    if (link(o.file.c_str(), path.c_str()) != 0) die("link " + path);
    cleanup.push_back([path] { unlink(path.c_str()); });
    return finit_module(path, o);
}

Results by_bind(const Options& o) {
    Cleanup cleanup;
    const std::string path = fresh_folder(cleanup) + "/module";
    write_file(path, "");
    cleanup.push_back([path] { unlink(path.c_str()); });
    if (mount(o.file.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0) die("bind " + o.file);
    cleanup.push_back([path] { umount2(path.c_str(), MNT_DETACH); });
    return finit_module(path, o);
}

// A file system of its own in a file. The programs mke2fs and mount do it; the module loop must be loaded.
Results by_loop(const Options& o) {
    Cleanup cleanup;
    const std::string image = content(o.file);
    const std::string folder = fresh_folder(cleanup);
    const std::string disk = folder + ".ext2";
    write_file(disk, "");
    cleanup.push_back([disk] { unlink(disk.c_str()); });
    if (truncate(disk.c_str(), static_cast<off_t>(image.size()) + 2'000'000) != 0) die(disk);
    const std::string make =
        "mke2fs -F " + disk + " >/dev/null && mount -t ext4 -o loop " + disk + ' ' + folder;
    if (std::system(make.c_str()) != 0) die(make, "failed");
    cleanup.push_back([folder] { umount2(folder.c_str(), MNT_DETACH); });
    write_file(folder + "/module", image);
    return finit_module(folder + "/module", o);
}

Results by_decompression(const Options& o) {
    const std::string image = content(o.file);
    const bool xz = image.starts_with("\xfd\x37zXZ");
    const bool zstd = image.starts_with("\x28\xb5\x2f\xfd");
    const std::string program = xz ? "xzcat" : zstd ? "zstdcat" : "cat";
    std::FILE* pipe = popen((program + " '" + o.file + '\'').c_str(), "r");
    if (pipe == nullptr) die(program);
    const std::string bytes = read_all(fileno(pipe), program);
    if (pclose(pipe) != 0) die(program, "failed");
    return init_module(bytes, o);
}

// Two threads with a descriptor each, at one instant: newer kernels load an inode once for both.
Results by_pair(const Options& o) {
    std::atomic<int> waiting = 2;
    Results results;
    results.resize(2);
    {
        std::vector<std::jthread> threads;
        for (std::string& result : results)
            threads.emplace_back([&] {
                const int fd = open_or_die(o.file, O_RDONLY);
                for (--waiting; waiting > 0;) {
                }
                result = describe(finit_module(fd, o));
            });
    }
    return results;
}

// Writes OTHER's and FILE's content over FILE in turn until told to stop. It leaves the file closed for a
// while each time, because the kernel loads none that is open for writing.
void keep_overwriting(const Options& o, const std::string& mine, const std::string& others,
                      const std::atomic<bool>& stop) {
    for (bool swapped = true; !stop; swapped = !swapped) {
        const int fd = open(o.file.c_str(), O_WRONLY | O_CLOEXEC);
        if (fd < 0 && errno != ETXTBSY) die(o.file);
        if (fd < 0) continue;
        const std::string& now = swapped ? others : mine;
        if (pwrite(fd, now.data(), now.size(), 0) < 0 || ftruncate(fd, static_cast<off_t>(now.size())) != 0)
            die(o.file);
        close(fd);
        usleep(static_cast<useconds_t>(rand() % 2000));
    }
}

std::string unload_all(const Options& o) {
    std::string names;
    for (const std::string& name : o.unload)
        if (delete_module(name) == 0) names += ' ' + name;
    return names;
}

// The names that --unload took away again tell which of the two images was loaded.
Results by_swap(const Options& o) {
    const std::string mine = content(o.file);
    const std::string others = content(o.other);
    std::map<std::string, int> counts;
    std::atomic<bool> stop = false;
    {
        std::jthread writer([&] { keep_overwriting(o, mine, others, stop); });
        for (int round = 0; round < o.repeat; ++round) {
            usleep(static_cast<useconds_t>(rand() % 1000));
            const std::string result = describe(finit_module(o.file, o));
            ++counts[result + unload_all(o)];
        }
        stop = true;
    }
    write_file(o.file, mine);
    Results results;
    for (const auto& [result, count] : counts)
        results.push_back(result + ' ' + std::to_string(count));
    return results;
}

struct Way {
    const char* name;
    Results (*attempt)(const Options&);
    const char* usage;
};

constexpr int all_seals = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr Way ways[] = {
    {"init", by_init, "init_module of the file's bytes"},
    {"finit", by_finit<0>, "finit_module of the file"},
    {"compressed", by_finit<4>, "finit_module with MODULE_INIT_COMPRESSED_FILE"},
    {"memfd", by_memfd<0, 0>, "of a copy in memory"},
    {"sealed-memfd", by_memfd<MFD_ALLOW_SEALING, all_seals>, "of a copy that nobody can change"},
    {"unlinked", by_unlinked, "of a copy in /tmp that has no name any more"},
    {"tmpfs", by_tmpfs, "of a copy on a tmpfs of its own"},
    {"hardlink", by_hardlink, "by another name of the file, in its folder"},
    {"bind", by_bind, "through a bind mount of the file"},
    {"loop", by_loop, "of a copy on an ext2 in a loop device"},
    {"decompress-init", by_decompression, "init_module of what xzcat or zstdcat makes of the file"},
    {"pair", by_pair, "finit_module by two threads at one instant"},
    {"swap", by_swap, "FILE OTHER: finit_module while FILE is overwritten, --repeat rounds"},
    {"unload", [](const Options& o) -> Results { return delete_module(o.file); },
     "delete_module of the name FILE"},
};

[[noreturn]] void usage(const char* complaint) {
    std::fprintf(stderr,
                 "loader: %s\nusage: loader [--repeat N] [--parallel N] [--params TEXT] [--flags NUMBER] "
                 "[--unload NAME]... WAY FILE\n",
                 complaint);
    for (const Way& way : ways)
        std::fprintf(stderr, "  %-16s %s\n", way.name, way.usage);
    std::exit(2);
}

// Prints when all is done: whoever reads the lines would otherwise run during the next attempt.
bool attempt_all(const Way& way, const Options& options) {
    bool all = true;
    std::string report;
    const int times = way.attempt == by_swap ? 1 : options.repeat;
    for (int i = 0; i < times; ++i) {
        for (const std::string& result : way.attempt(options)) {
            all = result.starts_with("ok") && all;
            report += std::string(way.name) + ' ' + result + '\n';
        }
        unload_all(options);
    }
    write_all(STDOUT_FILENO, report, "stdout");
    return all;
}

// All children wait for the end of one pipe, so that they start together.
int attempt_parallel(const Way& way, const Options& options) {
    int gate[2];
    if (pipe(gate) != 0) die("pipe");
    for (int i = 0; i < options.parallel; ++i) {
        const pid_t child = fork();
        if (child < 0) die("fork");
        if (child > 0) continue;
        close(gate[1]);
        char byte;
        if (read(gate[0], &byte, 1) != 0) die("wait at the gate");
        std::exit(attempt_all(way, options) ? 0 : 1);
    }
    close(gate[0]);
    close(gate[1]);
    int worst = 0;
    for (int status; wait(&status) > 0;)
        worst = std::max(worst, WIFEXITED(status) ? WEXITSTATUS(status) : 2);
    return worst;
}

Options read_options(int argc, char** argv, int& at) {
    Options options;
    for (; at < argc && std::strncmp(argv[at], "--", 2) == 0; at += 2) {
        const std::string_view option = argv[at];
        if (at + 1 >= argc) usage("an option without its value");
        const char* value = argv[at + 1];
        if (option == "--repeat")
            options.repeat = std::atoi(value);
        else if (option == "--parallel")
            options.parallel = std::atoi(value);
        else if (option == "--params")
            options.params = value;
        else if (option == "--flags")
            options.flags = static_cast<int>(std::strtol(value, nullptr, 0));
        else if (option == "--unload")
            options.unload.emplace_back(value);
        else
            usage("unknown option");
    }
    return options;
}

} // namespace

int main(int argc, char** argv) {
    int at = 1;
    Options options = read_options(argc, argv, at);
    if (at >= argc) usage("no way");
    for (const Way& way : ways) {
        if (std::strcmp(way.name, argv[at]) != 0) continue;
        if (argc - at != (way.attempt == by_swap ? 3 : 2)) usage("a way wants a file, swap two");
        options.file = argv[at + 1];
        options.other = argv[argc - 1];
        return options.parallel > 0 ? attempt_parallel(way, options) : attempt_all(way, options) ? 0 : 1;
    }
    usage("unknown way");
}
