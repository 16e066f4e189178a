# SPDX-License-Identifier: AGPL-3.0-only
"""What events tell of: the attempts that have one, and those that one counts."""

from collections.abc import Iterable, Mapping


def told(events: Iterable[Mapping]) -> int:
    """How many attempts: an event has its own, and those of its kind since the one before."""
    return sum(1 + event.get("repeated", 0) for event in events)
