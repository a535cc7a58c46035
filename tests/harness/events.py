"""Builds invalidation events."""

import itertools
import time
import uuid
from datetime import UTC, datetime

_last_ms = 0


def now_ms() -> int:
    """Wall clock, but never the same millisecond twice: order between events stays plain."""
    global _last_ms
    _last_ms = max(_last_ms + 1, time.time_ns() // 1_000_000)
    return _last_ms


def timestamp(ms: int) -> str:
    at = datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


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
        "occurred_at": timestamp(at_ms if at_ms is not None else now_ms()),
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
