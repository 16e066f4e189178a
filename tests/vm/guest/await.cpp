// SPDX-License-Identifier: AGPL-3.0-only
//
// await FILE TEXT: ends when the file FILE has TEXT in it. It sleeps until the file is written to: a shell
// that looks again and again would take the processor from those whom it waits for.
#include <sys/inotify.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

int main(int count, char** arguments) {
    if (count != 3) return 2;
    const std::filesystem::path file = arguments[1];
    const int changes = inotify_init1(IN_CLOEXEC);
    // The folder tells of the file's writes too, and of one that is made later.
    if (changes < 0
        || inotify_add_watch(changes, file.parent_path().c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO) < 0) {
        perror(file.parent_path().c_str());
        return 2;
    }
    while (true) {
        std::ifstream stream(file);
        const std::string text{std::istreambuf_iterator<char>(stream), {}};
        if (text.find(arguments[2]) != std::string::npos) return 0;
        char buffer[4096];
        if (read(changes, buffer, sizeof buffer) <= 0) return 1;
    }
}
