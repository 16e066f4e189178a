// SPDX-License-Identifier: AGPL-3.0-only
#include "ctl/decide.hpp"

#include "core/admission.hpp"
#include "sys/kernel.hpp"

namespace kmodguard::ctl {

bool has_no_daemon(const sys::Error& error) {
    return error.kind == sys::ErrorKind::unreachable || error.kind == sys::ErrorKind::denied;
}

std::string chosen_kernel(const std::optional<Release>& kernel) {
    return kernel ? kernel->name : sys::kernel_release();
}

sys::Result<config::LoadedPolicy> read_policy(const sys::Paths& paths, const File& file) {
    auto loaded = file ? config::load_policy({*file}) : config::load_policy(paths);
    if (!loaded) return std::unexpected(config::to_error(loaded.error()));
    return std::move(*loaded);
}

sys::Result<LocalJudge> LocalJudge::create(const sys::Paths& paths, const PolicyOptions& options) {
    auto loaded = TRY(read_policy(paths, options.policy));
    LocalJudge judge;
    judge.index_ = TRY(modules::KmodIndex::open(paths, chosen_kernel(options.kernel)));
    judge.policy_ = core::Policy(std::move(loaded.source)).for_modules_of(*judge.index_);
    return judge;
}

core::Decision LocalJudge::decide(const std::string& token) {
    core::Decision decision = core::decide(policy_, *index_, token);
    core::note_images(decision, admissions());
    return decision;
}

std::vector<core::ModuleDecision> LocalJudge::not_admitted(const std::vector<std::string>& loaded) {
    return core::not_admitted(policy_, *index_, admissions(), loaded);
}

const core::Admissions& LocalJudge::admissions() {
    if (!admissions_) admissions_.emplace(policy_, *index_);
    return *admissions_;
}

} // namespace kmodguard::ctl
