// SPDX-License-Identifier: AGPL-3.0-only
// Makes the module system calls as no tool makes them: through the other system call tables of an x86-64
// kernel, with descriptors and addresses that lead nowhere, from threads, interrupted by signals. Whoever
// answers the calls of others has to cope with each, and to say what the kernel would have said.
//
//   caller [--times N] [--every MICROSECONDS] WAY [ARGUMENT]
//
// It prints a line for each result, "WAY ERRNO COUNT", in the order of the names. It exits with 0 if every
// call succeeded, 1 if one failed, 2 if it was called wrongly or could not even try.

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <thread>

namespace {

struct Options {
    int times = 1;
    long every = 0;
    std::string argument;
};

[[noreturn]] void die(const std::string& what, const char* why = strerrorname_np(errno)) {
    std::fprintf(stderr, "caller: %s: %s\n", what.c_str(), why);
    std::exit(2);
}

int open_or_die(const std::string& path, int flags) {
    const int fd = open(path.c_str(), flags | O_CLOEXEC);
    if (fd < 0) die(path);
    return fd;
}

long page() {
    return sysconf(_SC_PAGESIZE);
}

// Memory that ends where a page does; behind that is nothing. Below 4 GiB, so that every table reaches it.
char* memory(std::size_t size) {
    const auto whole = static_cast<std::size_t>((static_cast<long>(size) + page() - 1) / page() * page());
    void* at = mmap(nullptr, whole + static_cast<std::size_t>(page()), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    if (at == MAP_FAILED) die("memory");
    if (mprotect(static_cast<char*>(at) + whole, static_cast<std::size_t>(page()), PROT_NONE) != 0)
        die("memory");
    return static_cast<char*>(at) + (whole - size);
}

struct Image {
    char* at = nullptr;
    std::size_t size = 0;
};

Image image(const std::string& path) {
    const int fd = open_or_die(path, O_RDONLY);
    Image read{.size = static_cast<std::size_t>(lseek(fd, 0, SEEK_END))};
    read.at = memory(read.size);
    if (pread(fd, read.at, read.size, 0) != static_cast<ssize_t>(read.size)) die(path);
    close(fd);
    return read;
}

char* text(std::string_view words) {
    char* at = memory(words.size() + 1);
    std::memcpy(at, words.data(), words.size());
    return at;
}

int error_of(long result) {
    return result == 0 ? 0 : errno;
}

int init(const void* at, std::size_t size, const char* parameters) {
    return error_of(syscall(SYS_init_module, at, size, parameters));
}

int finit(int fd, const char* parameters = "") {
    return error_of(syscall(SYS_finit_module, fd, parameters, 0));
}

// The tables. x32 has the numbers of x86-64 with a bit of its own; 32-bit programs enter through int 0x80,
// which anybody may.

constexpr long x32_bit = 0x40000000;
enum I386 : long { i386_init_module = 128, i386_delete_module = 129, i386_finit_module = 350 };

std::uint32_t low(const void* at) {
    return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(at));
}

int by_i386(long number, std::uint32_t first, std::uint32_t second, std::uint32_t third) {
    long result = number;
    asm volatile("int $0x80"
                 : "+a"(result)
                 : "b"(first), "c"(second), "d"(third)
                 : "memory", "r8", "r9", "r10", "r11");
    return static_cast<int>(-result);
}

int by_i386_init(const Options& o) {
    const Image mine = image(o.argument);
    return by_i386(i386_init_module, low(mine.at), static_cast<std::uint32_t>(mine.size), low(text("")));
}

int by_i386_finit(const Options& o) {
    const auto fd = static_cast<std::uint32_t>(open_or_die(o.argument, O_RDONLY));
    return by_i386(i386_finit_module, fd, low(text("")), 0);
}

int by_i386_unload(const Options& o) {
    return by_i386(i386_delete_module, low(text(o.argument)), O_NONBLOCK, 0);
}

int by_x32_init(const Options& o) {
    const Image mine = image(o.argument);
    return error_of(syscall(SYS_init_module | x32_bit, mine.at, mine.size, text("")));
}

int by_x32_finit(const Options& o) {
    return error_of(syscall(SYS_finit_module | x32_bit, open_or_die(o.argument, O_RDONLY), text(""), 0));
}

int by_x32_unload(const Options& o) {
    return error_of(syscall(SYS_delete_module | x32_bit, text(o.argument), O_NONBLOCK));
}

// Descriptors.

template <int flags>
int by_descriptor(const Options& o) {
    return finit(open_or_die(o.argument, flags));
}

int by_pipe(const Options&) {
    int ends[2];
    if (pipe(ends) != 0) die("pipe");
    return finit(ends[0]);
}

int by_socket(const Options&) {
    return finit(socket(AF_UNIX, SOCK_STREAM, 0));
}

int by_empty(const Options&) {
    return finit(memfd_create("empty", MFD_CLOEXEC));
}

// Addresses.

int by_hole(const Options& o) {
    const Image mine = image(o.argument);
    return init(mine.at, mine.size + 1, "");
}

template <std::uintptr_t address, std::size_t size>
int by_address(const Options&) {
    return init(reinterpret_cast<const void*>(address), size, "");
}

template <std::size_t size>
int by_size(const Options& o) {
    return init(image(o.argument).at, size, "");
}

int with_no_parameters(const Options& o) {
    return finit(open_or_die(o.argument, O_RDONLY), nullptr);
}

int with_endless_parameters(const Options& o) {
    char* at = memory(100);
    std::memset(at, 'x', 100);
    return finit(open_or_die(o.argument, O_RDONLY), at);
}

int with_parameters_to_the_edge(const Options& o) {
    return finit(open_or_die(o.argument, O_RDONLY), text("number=7"));
}

int with_long_parameters(const Options& o) {
    return finit(open_or_die(o.argument, O_RDONLY), text(std::string(1 << 20, 'x')));
}

// Threads and processes.

int in_thread(int (*attempt)(const Options&), const Options& o) {
    int error = 0;
    std::jthread([&] { error = attempt(o); }).join();
    return error;
}

int by_thread(const Options& o) {
    return in_thread([](const Options& mine) { return finit(open_or_die(mine.argument, O_RDONLY)); }, o);
}

// A thread with descriptors of its own: the same number is the image here and nothing there, or the reverse.
int by_own_descriptors(const Options& o) {
    return in_thread(
        [](const Options& mine) {
            if (unshare(CLONE_FILES) != 0) die("unshare");
            return finit(open_or_die(mine.argument, O_RDONLY));
        },
        o);
}

int by_others_descriptor(const Options& o) {
    const int fd = open_or_die(o.argument, O_RDONLY);
    int error = 0;
    std::jthread([&] {
        if (unshare(CLONE_FILES) != 0) die("unshare");
        close(fd);
        error = finit(fd);
    }).join();
    return error;
}

int with_an_odd_name(const Options& o) {
    prctl(PR_SET_NAME, "\xff\"\n\\");
    return finit(open_or_die(o.argument, O_RDONLY));
}

// The right to load is there to be taken up again, but not in effect now.
int without_effective_capability(const Options& o) {
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct sets[2]{};
    if (syscall(SYS_capget, &header, sets) != 0) die("capget");
    sets[CAP_TO_INDEX(CAP_SYS_MODULE)].effective &= ~CAP_TO_MASK(CAP_SYS_MODULE);
    if (syscall(SYS_capset, &header, sets) != 0) die("capset");
    return finit(open_or_die(o.argument, O_RDONLY));
}

// A process that is another from call to call: by its name, its real user, all its users, its program.
// Each twice, so that it is known.
int with_changes(const Options& o) {
    const int fd = open_or_die(o.argument, O_RDONLY);
    const int first = finit(fd);
    const auto again = [fd] {
        for (int i = 0; i < 2; ++i)
            finit(fd);
    };
    again();
    prctl(PR_SET_NAME, "renamed");
    again();
    if (setreuid(1000, static_cast<uid_t>(-1)) == 0) again();
    if (setresuid(2000, 2000, 2000) == 0) again();
    execl("/tmp/another", "another", "finit", o.argument.c_str(), nullptr);
    return first;
}

// Many that end at once, each with a name of its own.
int by_short_lived(const Options& o) {
    const int fd = open_or_die(o.argument, O_RDONLY);
    int status = 0;
    for (int i = 0; i < 20; ++i) {
        const pid_t child = fork();
        if (child == 0) {
            prctl(PR_SET_NAME, ("child-" + std::to_string(i)).c_str());
            _exit(finit(fd));
        }
        waitpid(child, &status, 0);
    }
    return WEXITSTATUS(status);
}

struct Way {
    const char* name;
    int (*attempt)(const Options&);
    const char* usage;
};

constexpr std::size_t tebibyte = 1ULL << 40;
constexpr Way ways[] = {
    {"init",
     [](const Options& o) {
         const Image mine = image(o.argument);
         return init(mine.at, mine.size, "");
     },
     "FILE"},
    {"finit", by_descriptor<O_RDONLY>, "FILE"},
    {"i386-init", by_i386_init, "FILE: through the table of 32-bit programs"},
    {"i386-finit", by_i386_finit, "FILE"},
    {"i386-unload", by_i386_unload, "NAME"},
    {"x32-init", by_x32_init, "FILE: through the x32 table"},
    {"x32-finit", by_x32_finit, "FILE"},
    {"x32-unload", by_x32_unload, "NAME"},
    {"fd-closed", [](const Options&) { return finit(999); }, "a number that is no open descriptor"},
    {"fd-negative", [](const Options&) { return finit(-1); }, "-1"},
    {"fd-path", by_descriptor<O_PATH>, "FILE, opened with O_PATH"},
    {"fd-write", by_descriptor<O_WRONLY>, "FILE, opened for writing only"},
    {"fd-directory", by_descriptor<O_RDONLY | O_DIRECTORY>, "FOLDER"},
    {"fd-pipe", by_pipe, "a pipe in which nothing is"},
    {"fd-socket", by_socket, "a socket"},
    {"fd-empty", by_empty, "a file of no bytes"},
    {"init-null", by_address<0, 4096>, "an image at address 0"},
    {"init-kernel", by_address<0xffff888000000000, 4096>, "an image in the kernel's memory"},
    {"init-wrap", by_address<0xfffffffffffff000, 8192>, "an image that goes on at address 0"},
    {"init-hole", by_hole, "FILE, one byte longer than the memory it is in"},
    {"init-none", by_size<0>, "FILE, none of it"},
    {"init-huge", by_size<tebibyte>, "FILE, 2^40 bytes of it"},
    {"init-endless", by_size<~std::size_t{0}>, "FILE, 2^64-1 bytes of it"},
    {"parameters-none", with_no_parameters, "FILE, parameters at address 0"},
    {"parameters-endless", with_endless_parameters, "FILE, parameters without an end before the memory's"},
    {"parameters-edge", with_parameters_to_the_edge, "FILE, number=7 at the end of the memory"},
    {"parameters-long", with_long_parameters, "FILE, 1 MiB of parameters"},
    {"thread", by_thread, "FILE, by another thread than the first"},
    {"own-descriptors", by_own_descriptors, "FILE, open in the calling thread alone"},
    {"others-descriptor", by_others_descriptor, "FILE, open in all but the calling thread"},
    {"odd-name", with_an_odd_name, "FILE, by a program whose name is no text"},
    {"changes", with_changes, "FILE, by a process that changes its name, its users and its program"},
    {"short-lived", by_short_lived, "FILE, by twenty processes that end at once"},
    {"no-effective", without_effective_capability, "FILE, CAP_SYS_MODULE permitted and not effective"},
};

[[noreturn]] void usage(const char* complaint) {
    std::fprintf(stderr, "caller: %s\nusage: caller [--times N] [--every MICROSECONDS] WAY [ARGUMENT]\n",
                 complaint);
    for (const Way& way : ways)
        std::fprintf(stderr, "  %-20s %s\n", way.name, way.usage);
    std::exit(2);
}

// A signal with a handler and without SA_RESTART, again and again: a call that is interrupted fails with
// EINTR.
void interrupt_every(long microseconds) {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    if (sigaction(SIGALRM, &action, nullptr) != 0) die("sigaction");
    const itimerval often{.it_interval = {.tv_sec = 0, .tv_usec = microseconds},
                          .it_value = {.tv_sec = 0, .tv_usec = microseconds}};
    if (setitimer(ITIMER_REAL, &often, nullptr) != 0) die("setitimer");
}

int attempt_all(const Way& way, const Options& options) {
    std::map<std::string, int> counts;
    if (options.every > 0) interrupt_every(options.every);
    for (int i = 0; i < options.times; ++i) {
        const int error = way.attempt(options);
        ++counts[error == 0 ? "ok" : strerrorname_np(error)];
    }
    const itimerval none{};
    setitimer(ITIMER_REAL, &none, nullptr);
    for (const auto& [result, count] : counts)
        std::printf("%s %s %d\n", way.name, result.c_str(), count);
    return counts.size() == 1 && counts.contains("ok") ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    Options options;
    int at = 1;
    for (; at + 1 < argc && std::strncmp(argv[at], "--", 2) == 0; at += 2) {
        const std::string_view option = argv[at];
        if (option == "--times")
            options.times = std::atoi(argv[at + 1]);
        else if (option == "--every")
            options.every = std::atol(argv[at + 1]);
        else
            usage("unknown option");
    }
    if (at >= argc) usage("no way");
    if (at + 1 < argc) options.argument = argv[at + 1];
    for (const Way& way : ways)
        if (std::strcmp(way.name, argv[at]) == 0) return attempt_all(way, options);
    usage("unknown way");
}
