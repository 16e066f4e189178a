// SPDX-License-Identifier: AGPL-3.0-only
//
// mover FROM TO: moves a mount by the system call that takes descriptors, which mount(8) uses in newer
// versions only.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>

int main(int count, char** arguments) {
    if (count != 3) return 2;
    if (::syscall(SYS_move_mount, AT_FDCWD, arguments[1], AT_FDCWD, arguments[2], 0) == 0) return 0;
    std::perror("move_mount");
    return 1;
}
