// SPDX-License-Identifier: AGPL-3.0-only
//
// kmodguard-reader: reads what others wrote, for the daemon that starts it with a socket as descriptor 3, and
// answers until that is closed. One thread. It gives up every right but that to read before it reads the
// first byte, so that whatever a hostile file makes of it can do no more than give a wrong answer.
#include "modules/kmod_context.hpp"
#include "reader/local/local_reader.hpp"
#include "reader/messages.hpp"
#include "reader/program/confine.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <string_view>
#include <utility>

namespace kmodguard::reader {
namespace {

constexpr int channel_number = 3;

std::unexpected<sys::Error> malformed() {
    return sys::failure(sys::ErrorKind::invalid, "the question is malformed");
}

struct Answered {
    std::string bytes;
    sys::UniqueFd image{}; ///< that follows
};

/// A malformed question is an error.
sys::Result<Answered> answer(LocalReader& reader, Question question, std::string_view about) {
    switch (question) {
    case Question::index: {
        std::string release;
        if (!decode(about, release)) return malformed();
        return Answered{TRY(reader.index_bytes(release))};
    }
    case Question::policy: return Answered{encoded(TRY(reader.policy()))};
    case Question::image: {
        std::filesystem::path image;
        compiled::ImageReader::Wanted wanted;
        if (!decode(about, image, wanted)) return malformed();
        auto read = TRY(reader.read(image, wanted));
        return Answered{encoded(read, static_cast<bool>(read.unpacked)), std::move(read.unpacked)};
    }
    case Question::edits: {
        core::RuntimeChanges changes;
        if (!decode(about, changes)) return malformed();
        return Answered{encoded(TRY(reader.edited(changes)))};
    }
    }
    return malformed();
}

sys::Result<void> serve(LocalReader& reader, const sys::UniqueFd& channel) {
    while (true) {
        const Message question = TRY(receive_message(channel));
        if (question.kind == 0) return {};
        const std::string about = TRY(content_of(question));
        const auto answered = answer(reader, static_cast<Question>(question.kind), about);
        if (answered) {
            TRY(send_message(channel, static_cast<char>(Answer::value), answered->bytes));
            if (answered->image) TRY(send_file(channel, static_cast<char>(Answer::image), answered->image));
        } else
            TRY(send_message(channel, static_cast<char>(Answer::error), encoded(answered.error())));
    }
}

} // namespace
} // namespace kmodguard::reader

int main(int count, char** arguments) {
    using namespace kmodguard;
    if (count != 3 || std::string_view(arguments[1]) != "--root") {
        std::fputs("kmodguard-reader is started by kmodguard, to read files for it.\n", stderr);
        return 2;
    }
    try {
        modules::keep_kmod_silent();
        const sys::UniqueFd channel(reader::channel_number);
        reader::LocalReader reader{sys::Paths(arguments[2])};
        auto served = reader::confine();
        if (served) served = reader::serve(reader, channel);
        if (served) return 0;
        fmt::print(stderr, "kmodguard-reader: {}\n", served.error().what);
    } catch (const std::exception& error) { // memory is out
        std::fprintf(stderr, "kmodguard-reader: %s\n", error.what());
    }
    return 1;
}
