// SPDX-License-Identifier: AGPL-3.0-only
// Makes the kernel ask for modules the way real programs do, and loads modules by the bare system calls.
// Tests run it as any user; it is static and needs nothing but the kernel.
//
//   requester [--user UID] [--repeat N] [--parallel N] [--time] [--unload MODULE] REQUEST ARGUMENT...
//
// It prints a line an attempt: "REQUEST ok", "REQUEST ERRNO" or, for ask, "REQUEST exitN" when the kernel's
// helper ended with status N; with --time also the nanoseconds. It exits with 0 if every attempt succeeded, 1
// if one failed, 2 if it was called wrongly. "mount", "link", "qdisc" and "nfnetlink" need rights: anybody
// but root takes them in namespaces of his own.

#include <fcntl.h>
#include <grp.h>
#include <linux/genetlink.h>
#include <linux/if_alg.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Arguments = std::span<char* const>;

struct Options {
    long user = -1;
    int repeat = 1;
    int parallel = 0;
    bool time = false;
    std::string unload;
};

struct Request {
    const char* name;
    const char* usage;
    std::size_t arguments;     // how many it needs at least
    int namespaces;            // which of its own anybody but root needs
    int (*attempt)(Arguments); // 0, an errno, or the negative exit status of the kernel's helper program
};

std::string image; // the module for "init", read before the clock starts

int number(const char* text) {
    return static_cast<int>(std::strtol(text, nullptr, 0));
}

// Closes what an attempt opened and keeps the errno of the attempt.
int finish(int fd, int error) {
    if (fd >= 0) close(fd);
    return error;
}

int socket_request(Arguments a) {
    const int fd = socket(number(a[0]), number(a[1]), number(a[2]));
    return finish(fd, fd < 0 ? errno : 0);
}

int alg_request(Arguments a) {
    const int fd = socket(AF_ALG, SOCK_SEQPACKET, 0);
    if (fd < 0) return errno;
    sockaddr_alg address{};
    address.salg_family = AF_ALG;
    std::snprintf(reinterpret_cast<char*>(address.salg_type), sizeof address.salg_type, "%s", a[0]);
    std::snprintf(reinterpret_cast<char*>(address.salg_name), sizeof address.salg_name, "%s", a[1]);
    const int failed = bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
    return finish(fd, failed ? errno : 0);
}

int open_request(Arguments a) {
    const int fd = open(a[0], O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    return finish(fd, fd < 0 ? errno : 0);
}

int mount_request(Arguments a) {
    char folder[] = "/tmp/requester-XXXXXX";
    if (mkdtemp(folder) == nullptr) return errno;
    const int error = mount("none", folder, a[0], 0, "") != 0 ? errno : 0;
    if (error == 0) umount2(folder, MNT_DETACH);
    rmdir(folder);
    return error;
}

// A netlink message under construction, with room for a few attributes.
struct Message {
    alignas(4) char bytes[512] = {};
    nlmsghdr* header() { return reinterpret_cast<nlmsghdr*>(bytes); }

    template <typename Body>
    Body* begin(int type, int flags) {
        header()->nlmsg_len = NLMSG_LENGTH(sizeof(Body));
        header()->nlmsg_type = static_cast<unsigned short>(type);
        header()->nlmsg_flags = static_cast<unsigned short>(NLM_F_REQUEST | NLM_F_ACK | flags);
        return static_cast<Body*>(NLMSG_DATA(header()));
    }

    rtattr* attribute(int type, std::string_view text = {}) {
        auto* place = reinterpret_cast<rtattr*>(bytes + NLMSG_ALIGN(header()->nlmsg_len));
        place->rta_type = static_cast<unsigned short>(type);
        place->rta_len = static_cast<unsigned short>(RTA_LENGTH(text.empty() ? 0 : text.size() + 1));
        std::memcpy(RTA_DATA(place), text.data(), text.size());
        header()->nlmsg_len = NLMSG_ALIGN(header()->nlmsg_len) + RTA_ALIGN(place->rta_len);
        return place;
    }
};

int exchange(int protocol, Message& message) {
    const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    if (fd < 0) return errno;
    if (send(fd, message.bytes, message.header()->nlmsg_len, 0) < 0) return finish(fd, errno);
    alignas(4) char buffer[8192];
    const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got < 0) return finish(fd, errno);
    const auto* answer = reinterpret_cast<const nlmsghdr*>(buffer);
    const bool is_error = answer->nlmsg_type == NLMSG_ERROR;
    return finish(fd, is_error ? -static_cast<const nlmsgerr*>(NLMSG_DATA(answer))->error : 0);
}

int link_request(Arguments a) {
    Message message;
    message.begin<ifinfomsg>(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    message.attribute(IFLA_IFNAME, "kmg%d");
    rtattr* info = message.attribute(IFLA_LINKINFO);
    const rtattr* kind = message.attribute(IFLA_INFO_KIND, a[0]);
    info->rta_len = static_cast<unsigned short>(info->rta_len + RTA_ALIGN(kind->rta_len));
    return exchange(NETLINK_ROUTE, message);
}

int qdisc_request(Arguments a) {
    Message message;
    auto* body = message.begin<tcmsg>(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE);
    body->tcm_ifindex = static_cast<int>(if_nametoindex("lo"));
    body->tcm_parent = TC_H_ROOT;
    message.attribute(TCA_KIND, a[0]);
    return exchange(NETLINK_ROUTE, message);
}

int genl_request(Arguments a) {
    Message message;
    auto* body = message.begin<genlmsghdr>(GENL_ID_CTRL, 0);
    body->cmd = CTRL_CMD_GETFAMILY;
    body->version = 1;
    message.attribute(CTRL_ATTR_FAMILY_NAME, a[0]);
    return exchange(NETLINK_GENERIC, message);
}

int nfnetlink_request(Arguments a) {
    Message message;
    message.begin<nfgenmsg>(number(a[0]) << 8, 0);
    return exchange(NETLINK_NETFILTER, message);
}

int tcp_request(Arguments a) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) return errno;
    const int failed =
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, a[0], static_cast<socklen_t>(std::strlen(a[0])));
    return finish(fd, failed ? errno : 0);
}

int netdev_request(Arguments a) {
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    ifreq request{};
    std::snprintf(request.ifr_name, sizeof request.ifr_name, "%s", a[0]);
    return finish(fd, ioctl(fd, SIOCGIFINDEX, &request) != 0 ? errno : 0);
}

// What iptables-legacy asks first, of the module ip_tables: it wants "iptable_NAME".
int table_request(Arguments a) {
    const int fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    if (fd < 0) return errno;
    // linux/netfilter_ipv4/ip_tables.h, which does not go together with netinet/in.h
    constexpr int get_info = 64;
    struct {
        char name[32];
        unsigned hooks_entries_and_size[13];
    } info{};
    std::snprintf(info.name, sizeof info.name, "%s", a[0]);
    socklen_t size = sizeof info;
    return finish(fd, getsockopt(fd, IPPROTO_IP, get_info, &info, &size) != 0 ? errno : 0);
}

int ldisc_request(Arguments a) {
    const int fd = posix_openpt(O_RDWR | O_NOCTTY);
    if (fd < 0) return errno;
    const int discipline = number(a[0]);
    return finish(fd, ioctl(fd, TIOCSETD, &discipline) != 0 ? errno : 0);
}

// Runs a file of 0xff 0xff and the two bytes given: the kernel asks for binfmt-XXXX and answers ENOEXEC.
int binfmt_request(Arguments a) {
    char path[] = "/tmp/requester-XXXXXX";
    const int fd = mkstemp(path);
    if (fd < 0) return errno;
    const unsigned magic = static_cast<unsigned>(std::strtoul(a[0], nullptr, 16));
    const unsigned char bytes[8] = {0xff, 0xff, static_cast<unsigned char>(magic & 0xff),
                                    static_cast<unsigned char>(magic >> 8)};
    const bool written = write(fd, bytes, sizeof bytes) == sizeof bytes && fchmod(fd, 0755) == 0;
    close(fd);
    if (written) execl(path, path, static_cast<char*>(nullptr));
    const int error = errno;
    unlink(path);
    return error;
}

int ask_request(Arguments a) {
    const int fd = open("/proc/kmg_ask", O_RDWR | O_CLOEXEC);
    if (fd < 0) return errno;
    char answer[16] = {};
    if (write(fd, a[0], std::strlen(a[0])) < 0 || read(fd, answer, sizeof answer - 1) < 0)
        return finish(fd, errno);
    const int result = number(answer);
    return finish(fd, result > 0 ? -(result >> 8 ? result >> 8 : result) : -result);
}

int finit_request(Arguments a) {
    const int fd = open(a[0], O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    const char* parameters = a.size() > 1 ? a[1] : "";
    return finish(fd, syscall(SYS_finit_module, fd, parameters, a.size() > 2 ? number(a[2]) : 0) != 0 ? errno
                                                                                                      : 0);
}

int init_request(Arguments a) {
    return syscall(SYS_init_module, image.data(), image.size(), a.size() > 1 ? a[1] : "") != 0 ? errno : 0;
}

int delete_request(Arguments a) {
    return syscall(SYS_delete_module, a[0], O_NONBLOCK) != 0 ? errno : 0;
}

constexpr Request requests[] = {
    {"socket", "FAMILY TYPE PROTOCOL", 3, 0, socket_request},
    {"alg", "TYPE NAME        (AF_ALG: hash sha256, skcipher 'cbc(aes)', ...)", 2, 0, alg_request},
    {"open", "PATH             (a device node)", 1, 0, open_request},
    {"mount", "FSTYPE", 1, CLONE_NEWNS, mount_request},
    {"link", "KIND             (a network device by rtnetlink)", 1, CLONE_NEWNET, link_request},
    {"qdisc", "KIND             (on lo)", 1, CLONE_NEWNET, qdisc_request},
    {"nfnetlink", "SUBSYSTEM        (number)", 1, CLONE_NEWNET, nfnetlink_request},
    {"genl", "FAMILY           (generic netlink, by name)", 1, 0, genl_request},
    {"tcp", "NAME             (congestion control; only root makes the kernel ask)", 1, 0, tcp_request},
    {"netdev", "NAME             (interface; only root makes the kernel ask)", 1, 0, netdev_request},
    {"table", "NAME             (of iptables; only root may, and ip_tables has to be loaded)", 1, 0,
     table_request},
    {"ldisc", "NUMBER           (line discipline, on a pseudo terminal)", 1, 0, ldisc_request},
    {"binfmt", "HEX4             (always fails with ENOEXEC)", 1, 0, binfmt_request},
    {"ask", "TOKEN            (any bytes, through the test module kmg_ask)", 1, 0, ask_request},
    {"finit", "PATH [PARAMETERS [FLAGS]]", 1, 0, finit_request},
    {"init", "PATH [PARAMETERS]", 1, 0, init_request},
    {"delete", "MODULE", 1, 0, delete_request},
};

[[noreturn]] void usage(const char* complaint) {
    std::fprintf(stderr,
                 "requester: %s\nusage: requester [--user UID] [--repeat N] [--parallel N] [--time] "
                 "[--unload MODULE] REQUEST ARGUMENT...\n",
                 complaint);
    for (const Request& request : requests)
        std::fprintf(stderr, "  %-10s %s\n", request.name, request.usage);
    std::exit(2);
}

[[noreturn]] void die(const char* what) {
    std::fprintf(stderr, "requester: %s: %s\n", what, strerrorname_np(errno));
    std::exit(2);
}

void drop_to(long user) {
    const auto id = static_cast<gid_t>(user);
    if (setgroups(1, &id) != 0 || setgid(id) != 0 || setuid(static_cast<uid_t>(user)) != 0)
        die("change user");
    prctl(PR_SET_DUMPABLE, 1); // or the files of /proc/self would be root's
}

void write_file(const char* path, const std::string& text) {
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text.data(), text.size()) < 0) die(path);
    close(fd);
}

void enter_namespaces(int which) {
    const uid_t uid = getuid();
    const gid_t gid = getgid();
    if (unshare(CLONE_NEWUSER | which) != 0) die("unshare");
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1");
    write_file("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1");
}

void read_image(const char* path) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) die(path);
    char buffer[65536];
    for (ssize_t got; (got = read(fd, buffer, sizeof buffer)) > 0;)
        image.append(buffer, static_cast<std::size_t>(got));
    close(fd);
}

long long now() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

std::string describe(int error) {
    if (error == 0) return "ok";
    if (error < 0) return "exit" + std::to_string(-error);
    const char* name = strerrorname_np(error);
    return name != nullptr ? name : std::to_string(error);
}

bool attempt_once(const Request& request, Arguments arguments, const Options& options, std::string& report) {
    const long long before = now();
    const int error = request.attempt(arguments);
    const long long taken = now() - before;
    report += std::string(request.name) + ' ' + describe(error);
    if (options.time) report += ' ' + std::to_string(taken);
    report += '\n';
    if (!options.unload.empty()) syscall(SYS_delete_module, options.unload.c_str(), O_NONBLOCK);
    return error == 0;
}

// Prints when all is done: whoever reads the lines would otherwise run during the next attempt's time.
bool attempt_all(const Request& request, Arguments arguments, const Options& options) {
    bool all = true;
    std::string report;
    for (int i = 0; i < options.repeat; ++i)
        all = attempt_once(request, arguments, options, report) && all;
    if (write(STDOUT_FILENO, report.data(), report.size()) < 0) die("write");
    return all;
}

// All children wait for the end of one pipe, so that they start together.
bool attempt_parallel(const Request& request, Arguments arguments, const Options& options) {
    int gate[2];
    if (pipe(gate) != 0) die("pipe");
    for (int i = 0; i < options.parallel; ++i) {
        const pid_t child = fork();
        if (child < 0) die("fork");
        if (child > 0) continue;
        close(gate[1]);
        char byte;
        if (read(gate[0], &byte, 1) != 0) die("wait at the gate");
        std::exit(attempt_all(request, arguments, options) ? 0 : 1);
    }
    close(gate[0]);
    close(gate[1]);
    bool all = true;
    for (int status; wait(&status) > 0;)
        all = status == 0 && all;
    return all;
}

Options read_options(int argc, char** argv, int& at) {
    Options options;
    for (; at < argc && std::strncmp(argv[at], "--", 2) == 0; ++at) {
        const std::string_view option = argv[at];
        if (option == "--time") {
            options.time = true;
            continue;
        }
        if (++at >= argc) usage("an option without its value");
        if (option == "--user")
            options.user = number(argv[at]);
        else if (option == "--repeat")
            options.repeat = number(argv[at]);
        else if (option == "--parallel")
            options.parallel = number(argv[at]);
        else if (option == "--unload")
            options.unload = argv[at];
        else
            usage("unknown option");
    }
    return options;
}

} // namespace

int main(int argc, char** argv) {
    int at = 1;
    const Options options = read_options(argc, argv, at);
    if (at >= argc) usage("no request");
    for (const Request& request : requests) {
        if (std::strcmp(request.name, argv[at]) != 0) continue;
        const Arguments arguments(argv + at + 1, static_cast<std::size_t>(argc - at - 1));
        if (arguments.size() < request.arguments) usage("too few arguments");
        if (request.attempt == init_request) read_image(arguments[0]);
        if (options.user >= 0) drop_to(options.user);
        if (request.namespaces != 0 && getuid() != 0) enter_namespaces(request.namespaces);
        const auto attempts = options.parallel > 0 ? attempt_parallel : attempt_all;
        return attempts(request, arguments, options) ? 0 : 1;
    }
    usage("unknown request");
}
