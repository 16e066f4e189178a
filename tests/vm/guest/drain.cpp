// SPDX-License-Identifier: AGPL-3.0-only
//
// drain PIN: takes all records out of the BPF ring buffer that is pinned there, as if it had read them.
#include <linux/bpf.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>

int main(int count, char** words) {
    if (count != 2) return 2;
    bpf_attr get{};
    get.pathname = reinterpret_cast<std::uint64_t>(words[1]);
    const long ring = syscall(SYS_bpf, BPF_OBJ_GET, &get, sizeof get);
    const long page = sysconf(_SC_PAGESIZE);
    const auto map = [&](int protection, long offset) {
        return static_cast<unsigned long*>(
            mmap(nullptr, static_cast<size_t>(page), protection, MAP_SHARED, static_cast<int>(ring), offset));
    };
    unsigned long* read_to = map(PROT_READ | PROT_WRITE, 0);
    const unsigned long* written_to = map(PROT_READ, page);
    if (ring < 0 || read_to == MAP_FAILED || written_to == MAP_FAILED) {
        std::perror("drain");
        return 1;
    }
    *read_to = *written_to;
    return 0;
}
