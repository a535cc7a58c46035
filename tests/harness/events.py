"""Builds invalidation events."""

import itertools
import time
import uuid
from datetime import UTC, datetime

_last_us = 0


def _now_us() -> int:
    """Wall clock, but never the same microsecond twice: order between events stays plain, and a
    flood of them does not run ahead of the clock."""
    global _last_us
    _last_us = max(_last_us + 1, time.time_ns() // 1000)
    return _last_us


def now_ms() -> int:
    """Wall clock, after every event that was made before."""
    global _last_us
    ms = _now_us() // 1000 + 1
    _last_us = ms * 1000
    return ms


def timestamp(ms: int) -> str:
    return _timestamp(ms * 1000, "milliseconds")


def _timestamp(us: int, resolution: str) -> str:
    at = datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000)
    return at.isoformat(timespec=resolution).replace("+00:00", "Z")


def event(
    action: str,
    user: str | None = None,
    *,
    session: str | None = None,
    sequence: int | None = None,
    at_ms: int | None = None,
    event_id: str | None = None,
    duration: str | None = None,
    **payload,
) -> dict:
    """`duration` is the payload's `for`; everything else in `payload` goes in as it is."""
    key = {"user_id": user} if session is None else {"session_id": session}
    made = {
        "event_id": event_id or f"evt-{uuid.uuid4().hex[:16]}",
        "event_type": f"risk.{action}",
        "schema_version": "1.0",
        "occurred_at": _timestamp(_now_us(), "microseconds") if at_ms is None else timestamp(at_ms),
        "key": key,
        "payload": {"action": action, **payload},
    }
    if duration is not None:
        made["payload"]["for"] = duration
    if sequence is not None:
        made["sequence"] = sequence
    return made


_users = itertools.count(1)


def new_user(prefix: str = "user") -> str:
    """A user no other test knows."""
    return f"{prefix}-{next(_users)}-{uuid.uuid4().hex[:6]}"
