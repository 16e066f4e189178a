// SPDX-License-Identifier: AGPL-3.0-only
//
// A log for tests that look at one event after the other.
#pragma once

#include "events/recorder.hpp"

namespace kmodguard::test {

class EventSink : public events::Sink {
  public:
    void write(Events events) final {
        for (const events::Event& event : events)
            take(event);
    }

  protected:
    virtual void take(const events::Event& event) = 0;
};

} // namespace kmodguard::test
