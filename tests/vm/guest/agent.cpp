// SPDX-License-Identifier: AGPL-3.0-only
// The test machine's hand inside the guest: it runs the commands that the harness sends over a serial
// port and sends back what they print and how they end. Any number run at once. In the plain machine
// it is also process 1, so it reaps whatever a test leaves behind.
//
// A frame, either way: "KMGv", kind, 3 zero bytes, command id, payload length (little endian), payload.
// To the guest:   R run (user NUL command NUL NAME=VALUE NUL ...), I input (empty: end), K signal a group, T
// the host's
//                 time (seconds, little endian) and random bytes, for a machine that goes on from a saved
//                 state. G get a file (its path), W write one anew, w add to one (path NUL mode NUL
//                 content): done by the agent itself, which costs a hundredth of a shell, mkdir, cat and
//                 chmod.
// From the guest: H ready, A frame received, O output, E errors, X ended (exit status, or -signal).
// The host sends one frame and waits for its A, so a burst can never overrun the serial port's buffers.
// What a command's children print after it has ended still arrives, as O or E behind its X.
//
// `agent window DEVICE OFFSET LENGTH` writes a part of the memory that the host lays into the machine (a PCI
// device's, by its file in /sys) to its standard output: that is how files come into a machine that has
// booted, at the speed of memory.

#include <fcntl.h>
#include <grp.h>
#include <linux/random.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <list>
#include <string>
#include <utility>
#include <vector>

namespace {

constexpr char magic[4] = {'K', 'M', 'G', 'v'};

struct Header {
    char magic[4];
    char kind;
    char zero[3];
    std::uint32_t id;
    std::uint32_t length;
};
static_assert(sizeof(Header) == 16);

struct Command {
    std::uint32_t id = 0;
    pid_t pid = -1;
    int input = -1;
    int output = -1;
    int errors = -1;
    std::string pending; // input not yet taken by the command
    bool input_ended = false;
    bool ended = false;
};

struct User {
    uid_t uid = 0;
    gid_t gid = 0;
    std::string home = "/root";
    std::string name = "root";
};

int port = -1;
std::list<Command> commands;

[[noreturn]] void die(const char* what) {
    std::fprintf(stderr, "agent: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
}

void write_all(const char* data, std::size_t size) {
    while (size > 0) {
        const ssize_t written = write(port, data, size);
        if (written < 0 && errno != EINTR) die("write to the serial port");
        if (written > 0) data += written, size -= static_cast<std::size_t>(written);
    }
}

void read_all(char* data, std::size_t size) {
    while (size > 0) {
        const ssize_t got = read(port, data, size);
        if (got == 0 || (got < 0 && errno != EINTR)) die("read from the serial port");
        if (got > 0) data += got, size -= static_cast<std::size_t>(got);
    }
}

void send(char kind, std::uint32_t id, const char* data = nullptr, std::size_t size = 0) {
    Header header{};
    std::memcpy(header.magic, magic, sizeof magic);
    header.kind = kind;
    header.id = id;
    header.length = static_cast<std::uint32_t>(size);
    write_all(reinterpret_cast<const char*>(&header), sizeof header);
    write_all(data, size);
}

void open_port(const char* path) {
    port = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (port < 0) die(path);
    termios settings{};
    if (tcgetattr(port, &settings) != 0) die("tcgetattr");
    cfmakeraw(&settings);
    settings.c_cflag |= CLOCAL | CREAD;
    cfsetspeed(&settings, B115200);
    if (tcsetattr(port, TCSANOW, &settings) != 0) die("tcsetattr");
}

// Reads /etc/passwd by itself: a static program cannot use the C library's name services.
bool find_user(const std::string& wanted, User& user) {
    std::FILE* file = std::fopen("/etc/passwd", "re");
    char line[1024];
    bool found = false;
    while (file != nullptr && !found && std::fgets(line, sizeof line, file) != nullptr) {
        std::vector<std::string> fields;
        for (char* rest = line; char* field = strsep(&rest, ":\n");)
            fields.emplace_back(field);
        if (fields.size() < 6 || (fields[0] != wanted && fields[2] != wanted)) continue;
        user = {static_cast<uid_t>(std::stoul(fields[2])), static_cast<gid_t>(std::stoul(fields[3])),
                fields[5], fields[0]};
        found = true;
    }
    if (file != nullptr) std::fclose(file);
    if (!found && !wanted.empty() && wanted.find_first_not_of("0123456789") == std::string::npos) {
        user = {static_cast<uid_t>(std::stoul(wanted)), static_cast<gid_t>(std::stoul(wanted)), "/", wanted};
        found = true;
    }
    return found;
}

[[noreturn]] void become(const std::vector<std::string>& words, const User& user) {
    signal(SIGPIPE, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    setsid();
    if (setgroups(1, &user.gid) != 0 || setgid(user.gid) != 0 || setuid(user.uid) != 0) die("change user");
    if (chdir(user.home.c_str()) != 0 && chdir("/") != 0) die("chdir");
    clearenv();
    setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
    setenv("HOME", user.home.c_str(), 1);
    setenv("USER", user.name.c_str(), 1);
    setenv("TERM", "dumb", 1);
    setenv("LC_ALL", "C.UTF-8", 1);
    for (std::size_t i = 2; i < words.size(); ++i)
        putenv(const_cast<char*>(words[i].c_str()));
    execl("/bin/sh", "sh", "-c", words[1].c_str(), static_cast<char*>(nullptr));
    die("/bin/sh");
}

void start(std::uint32_t id, const std::string& payload) {
    std::vector<std::string> words;
    for (std::size_t at = 0; at < payload.size(); at += words.back().size() + 1)
        words.emplace_back(payload.c_str() + at);
    int in[2], out[2], err[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0) die("pipe2");
    const pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(err[1], 2);
        User user;
        if (words.size() < 2 || !find_user(words[0], user)) {
            std::fprintf(stderr, "agent: no user %s in the guest's /etc/passwd\n",
                         words.empty() ? "" : words[0].c_str());
            _exit(127);
        }
        become(words, user);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    for (const int fd : {in[1], out[0], err[0]})
        fcntl(fd, F_SETFL, O_NONBLOCK);
    commands.push_back({id, pid, in[1], out[0], err[0], {}, false, false});
}

Command* find(std::uint32_t id) {
    for (Command& command : commands)
        if (command.id == id) return &command;
    return nullptr;
}

void feed(Command& command) {
    while (command.input >= 0 && !command.pending.empty()) {
        const ssize_t taken = write(command.input, command.pending.data(), command.pending.size());
        if (taken < 0 && errno == EAGAIN) return;
        if (taken < 0) command.input_ended = true; // nobody reads any more
        command.pending.erase(0, taken < 0 ? command.pending.size() : static_cast<std::size_t>(taken));
    }
    if (command.input >= 0 && command.input_ended) close(std::exchange(command.input, -1));
}

// Sends on one buffer of what is there; returns whether there may be more.
bool forward(const Command& command, int& fd, char kind) {
    static char buffer[32768];
    if (fd < 0) return false;
    const ssize_t got = read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EAGAIN) return false;
    if (got <= 0)
        close(std::exchange(fd, -1));
    else
        send(kind, command.id, buffer, static_cast<std::size_t>(got));
    return got > 0;
}

// A pipe holds 64 KiB: what the command itself wrote is sent after a few rounds, whoever goes on writing.
void drain(Command& command) {
    for (int round = 0; round < 8 && forward(command, command.output, 'O'); ++round) {
    }
    for (int round = 0; round < 8 && forward(command, command.errors, 'E'); ++round) {
    }
}

// What a saved state has in common with every machine that starts from it, and must not have.
void go_on(const std::string& payload) {
    std::int64_t seconds = 0;
    if (payload.size() < sizeof seconds) return;
    std::memcpy(&seconds, payload.data(), sizeof seconds);
    const timeval now{static_cast<time_t>(seconds), 0};
    if (settimeofday(&now, nullptr) != 0) die("settimeofday");
    const int random = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    const std::size_t size = payload.size() - sizeof seconds;
    if (random < 0 || write(random, payload.data() + sizeof seconds, size) != static_cast<ssize_t>(size)
        || ioctl(random, RNDRESEEDCRNG) != 0)
        die("/dev/urandom");
    close(random);
}

// The device's memory cannot be read, only mapped.
int show_window(const char* device, const char* offset, const char* length) {
    const int file = open(device, O_RDWR | O_CLOEXEC | O_SYNC);
    if (file < 0) die(device);
    const std::size_t size = std::strtoull(length, nullptr, 10);
    const auto at = static_cast<off_t>(std::strtoull(offset, nullptr, 10));
    void* mapped = mmap(nullptr, size, PROT_READ, MAP_SHARED, file, at);
    if (mapped == MAP_FAILED) die("mmap");
    const char* data = static_cast<const char*>(mapped);
    for (std::size_t done = 0; done < size;) {
        const ssize_t written = write(1, data + done, std::min<std::size_t>(size - done, 65536));
        if (written < 0) die("write");
        done += static_cast<std::size_t>(written);
    }
    return 0;
}

// Tells how a request that the agent carried out itself ended.
void finish(std::uint32_t id, const char* failed, const std::string& path) {
    if (failed != nullptr) {
        const std::string text =
            std::string("agent: cannot ") + failed + " " + path + ": " + std::strerror(errno);
        send('E', id, text.data(), text.size());
    }
    send('X', id, failed != nullptr ? "1" : "0", 1);
}

void get(std::uint32_t id, const std::string& path) {
    static char buffer[32768];
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return finish(id, "open", path);
    ssize_t got = 0;
    while ((got = read(file, buffer, sizeof buffer)) > 0)
        send('O', id, buffer, static_cast<std::size_t>(got));
    finish(id, got < 0 ? "read" : nullptr, path);
    close(file);
}

void put(std::uint32_t id, const std::string& payload, int how) {
    const std::string path = payload.c_str();
    const std::string mode = payload.c_str() + path.size() + 1;
    const std::size_t content = path.size() + mode.size() + 2;
    for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
        if (mkdir(path.substr(0, at).c_str(), 0755) != 0 && errno != EEXIST)
            return finish(id, "make the folder of", path);
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | how, 0600);
    if (file < 0) return finish(id, "open", path);
    for (std::size_t at = content; at < payload.size();) {
        const ssize_t written = write(file, payload.data() + at, payload.size() - at);
        if (written < 0) {
            finish(id, "write", path);
            close(file);
            return;
        }
        at += static_cast<std::size_t>(written);
    }
    finish(id,
           fchmod(file, static_cast<mode_t>(std::strtoul(mode.c_str(), nullptr, 8))) != 0 ? "change"
                                                                                          : nullptr,
           path);
    close(file);
}

void receive() {
    Header header{};
    read_all(reinterpret_cast<char*>(&header), sizeof header);
    if (std::memcmp(header.magic, magic, sizeof magic) != 0) {
        std::fprintf(stderr, "agent: the command channel is out of step\n");
        std::exit(1);
    }
    std::string payload(header.length, '\0');
    read_all(payload.data(), payload.size());
    send('A', header.id);
    if (header.kind == 'R') return start(header.id, payload);
    if (header.kind == 'T') return go_on(payload);
    if (header.kind == 'G') return get(header.id, payload);
    if (header.kind == 'W') return put(header.id, payload, O_TRUNC);
    if (header.kind == 'w') return put(header.id, payload, O_APPEND);
    Command* command = find(header.id);
    if (command == nullptr) return;
    if (header.kind == 'I') {
        command->pending += payload;
        command->input_ended |= payload.empty();
        feed(*command);
    } else if (header.kind == 'K' && !command->ended) {
        kill(-command->pid, std::atoi(payload.c_str()));
    }
}

void reap() {
    int status = 0;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        for (Command& command : commands) {
            if (command.pid != pid || command.ended) continue;
            drain(command);
            command.ended = true;
            const std::string text =
                std::to_string(WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
            send('X', command.id, text.data(), text.size());
            if (command.input >= 0) close(std::exchange(command.input, -1));
        }
    }
    std::erase_if(commands, [](const Command& c) { return c.ended && c.output < 0 && c.errors < 0; });
}

void serve(int signals) {
    for (;;) {
        std::vector<pollfd> waiting{{port, POLLIN, 0}, {signals, POLLIN, 0}};
        for (const Command& command : commands) {
            waiting.push_back({command.output, POLLIN, 0});
            waiting.push_back({command.errors, POLLIN, 0});
            waiting.push_back({command.pending.empty() ? -1 : command.input, POLLOUT, 0});
        }
        if (poll(waiting.data(), waiting.size(), -1) < 0 && errno != EINTR) die("poll");
        for (Command& command : commands) {
            forward(command, command.output, 'O');
            forward(command, command.errors, 'E');
            feed(command);
        }
        if (waiting[1].revents != 0) {
            signalfd_siginfo info;
            if (read(signals, &info, sizeof info) < 0) die("read a signal");
        }
        reap();
        if (waiting[0].revents != 0) receive();
    }
}

} // namespace

int main(int argc, char** argv) {
    if (argc == 5 && std::strcmp(argv[1], "window") == 0) return show_window(argv[2], argv[3], argv[4]);
    open_port(argc > 1 ? argv[1] : "/dev/ttyS1");
    signal(SIGPIPE, SIG_IGN);
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, nullptr);
    const int signals = signalfd(-1, &child, SFD_CLOEXEC);
    if (signals < 0) die("signalfd");
    send('H', 0);
    serve(signals);
}
