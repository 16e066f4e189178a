// SPDX-License-Identifier: AGPL-3.0-only
// Loads a module while another thread changes what is loaded: the bytes in memory, the descriptor, the bytes
// of the file. A guard that looks at these and then lets the kernel look again has judged one image and
// loaded another.
//
//   racer [--naive] ROUNDS init|dup|write UNLISTED ALLOWED
//
// UNLISTED and ALLOWED are files of one length, the same module under two names, so that they differ in a few
// bytes and whoever copies while they are changed mostly gets one of the two. The one of ALLOWED's name had
// better be loaded already: then the kernel refuses it late, and there is nothing to take away again between
// rounds.
//
// With --naive it is such a guard itself: it looks, and when it has seen ALLOWED it has the kernel load,
// until the kernel has loaded UNLISTED. That shows that the race can be lost, without which a guard's winning
// it proves nothing.
//
// It prints a line for each result, "init EEXIST 412", and exits with 0 unless it could not even try.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

[[noreturn]] void die(const std::string& what, const char* why = strerrorname_np(errno)) {
    std::fprintf(stderr, "racer: %s: %s\n", what.c_str(), why);
    std::exit(2);
}

int open_or_die(const std::string& path, int flags) {
    const int fd = open(path.c_str(), flags | O_CLOEXEC, 0600);
    if (fd < 0) die(path);
    return fd;
}

std::string content(int fd) {
    std::string bytes(static_cast<std::size_t>(lseek(fd, 0, SEEK_END)), '\0');
    if (pread(fd, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) die("read");
    return bytes;
}

// The places in which the two images differ.
struct Change {
    std::size_t at;
    std::string unlisted;
    std::string allowed;
};
using Changes = std::vector<Change>;

Changes changes_between(const std::string& unlisted, const std::string& allowed) {
    if (unlisted.size() != allowed.size()) die("the files", "must be of one length");
    Changes changes;
    for (std::size_t at = 0; at < unlisted.size(); ++at) {
        std::size_t end = at;
        while (end < unlisted.size() && unlisted[end] != allowed[end])
            ++end;
        if (end == at) continue;
        changes.push_back(
            {.at = at, .unlisted = unlisted.substr(at, end - at), .allowed = allowed.substr(at, end - at)});
        at = end;
    }
    if (changes.empty()) die("the files", "are the same");
    return changes;
}

struct Race {
    std::string allowed; // the image
    std::string allowed_path;
    std::string unlisted_path;
    Changes changes;
    bool naive = false;
    int rounds = 0;
    std::atomic<int> turns = 0; // of the other thread
    std::atomic<bool> over = false;
    std::map<std::string, int> results;

    // In the naive guard's eyes; it reads the whole image, as one that knows its business does for the hash.
    bool looks_allowed(std::string_view image) const {
        const Change& name = changes.back();
        const bool allowed = image.substr(name.at, name.allowed.size()) == name.allowed;
        volatile unsigned sum = 0;
        for (const char byte : image)
            sum = sum + static_cast<unsigned char>(byte);
        return allowed;
    }

    template <typename Call>
    void run(const Call& call) {
        while (turns < 2) { // both threads must be at it
        }
        for (int i = 0; i < rounds && !(naive && results.contains("ok")); ++i) {
            const int error = call();
            ++results[error == 0 ? "ok" : strerrorname_np(error)];
        }
        over = true;
    }
};

// Long enough in each state for most looks at it to see that state whole, and never in step with the looks.
void dwell(Race& race) {
    ++race.turns;
    const int pause = rand() % 20'000;
    for (int i = 0; i < pause; ++i)
        asm volatile("" ::: "memory");
}

int error_of(long result) {
    return result == 0 ? 0 : errno;
}

// Bytes in memory, changed in place.
void by_init(Race& race) {
    std::string image = race.allowed;
    std::jthread writer([&] {
        for (bool allowed = false; !race.over; allowed = !allowed) {
            for (const Change& change : race.changes)
                std::memcpy(image.data() + change.at, (allowed ? change.allowed : change.unlisted).data(),
                            change.allowed.size());
            dwell(race);
        }
    });
    race.run([&] {
        while (race.naive && !race.looks_allowed(image)) {
        }
        return error_of(syscall(SYS_init_module, image.data(), image.size(), ""));
    });
}

// One number, now this file and now that one.
void by_dup(Race& race) {
    const std::array files{open_or_die(race.unlisted_path, O_RDONLY),
                           open_or_die(race.allowed_path, O_RDONLY)};
    const int fd = open_or_die(race.allowed_path, O_RDONLY);
    std::jthread swapper([&] {
        for (std::size_t turn = 0; !race.over; turn ^= 1) {
            dup3(files[turn], fd, O_CLOEXEC);
            dwell(race);
        }
    });
    race.run([&] {
        while (race.naive && !race.looks_allowed(content(fd))) {
        }
        return error_of(syscall(SYS_finit_module, fd, "", 0));
    });
}

// One file, whose bytes are changed in place. It is closed in between, for the kernel loads none that is open
// for writing; a round that comes upon that is tried again.
void by_write(Race& race) {
    const std::string path = race.allowed_path + ".race";
    const int made = open_or_die(path, O_WRONLY | O_CREAT | O_TRUNC);
    if (write(made, race.allowed.data(), race.allowed.size()) < 0) die(path);
    close(made);
    const int fd = open_or_die(path, O_RDONLY);
    std::jthread writer([&] {
        for (bool allowed = false; !race.over; allowed = !allowed) {
            const int mine = open(path.c_str(), O_WRONLY | O_CLOEXEC);
            if (mine < 0) continue; // ETXTBSY: just being loaded
            for (const Change& change : race.changes)
                if (pwrite(mine, (allowed ? change.allowed : change.unlisted).data(), change.allowed.size(),
                           static_cast<off_t>(change.at))
                    < 0)
                    die(path);
            close(mine);
            dwell(race);
        }
    });
    race.run([&] {
        while (race.naive && !race.looks_allowed(content(fd))) {
        }
        return error_of(syscall(SYS_finit_module, fd, "", 0));
    });
    unlink(path.c_str());
}

struct Way {
    const char* name;
    void (*race)(Race&);
};
constexpr Way ways[] = {{"init", by_init}, {"dup", by_dup}, {"write", by_write}};

} // namespace

int main(int argc, char** argv) {
    const bool naive = argc > 1 && std::strcmp(argv[1], "--naive") == 0;
    char** words = argv + (naive ? 2 : 1);
    if (argc - (naive ? 2 : 1) != 4) die("usage", "racer [--naive] ROUNDS init|dup|write UNLISTED ALLOWED");
    Race race;
    race.naive = naive;
    race.rounds = std::atoi(words[0]);
    race.unlisted_path = words[2];
    race.allowed_path = words[3];
    race.allowed = content(open_or_die(race.allowed_path, O_RDONLY));
    race.changes = changes_between(content(open_or_die(race.unlisted_path, O_RDONLY)), race.allowed);
    for (const Way& way : ways) {
        if (std::strcmp(way.name, words[1]) != 0) continue;
        way.race(race);
        for (const auto& [result, count] : race.results)
            std::printf("%s %s %d\n", way.name, result.c_str(), count);
        return 0;
    }
    die(words[1], "unknown way");
}
