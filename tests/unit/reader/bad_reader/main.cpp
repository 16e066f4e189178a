// SPDX-License-Identifier: AGPL-3.0-only
//
// A reader that fails in the way that the file `way` below its root names.
#include "reader/messages.hpp"
#include "sys/file.hpp"
#include "sys/unix_socket.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <string>

int main(int /*count*/, char** arguments) {
    using namespace kmodguard;
    const std::string way = *sys::read_file(std::string(arguments[2]) + "/way", 100);
    const sys::UniqueFd channel(3);
    if (way == "crashes") std::raise(SIGKILL);
    if (way == "hangs") ::pause();
    if (way == "ends") return 0;
    if (!reader::receive_message(channel)) return 1;
    if (way == "sends no file") return ::send(channel.get(), "v", 1, 0) == 1 ? 0 : 1;
    if (way == "sends nonsense") return reader::send_message(channel, 'v', "nonsense") ? 0 : 1;
    const sys::UniqueFd file = sys::memory_file("open");
    if (way.ends_with("image")) { // which follows, it says
        if (!reader::send_message(channel, 'v', reader::encoded(compiled::ImageReader::Read(), true)))
            return 1;
        return way == "sends no image" || sys::send_descriptor(channel.get(), "m", file.get()) ? 0 : 1;
    }
    return sys::send_descriptor(channel.get(), "v", file.get()) ? 0 : 1;
}
