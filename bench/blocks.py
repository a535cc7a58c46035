"""Blocks in bulk: written to Redis by the published script, many at a time."""

import json
import uuid
from pathlib import Path

from bench import load
from harness import events
from harness.daemon import Daemon
from harness.proc import wait_until
from harness.redis_server import Redis

_SCRIPT = Path(__file__).parent.parent / "invalidator/redis/publish.lua"
_AT_ONCE = 2_000
_STREAM_ENTRIES_MAX, _SUBJECT_EVENTS_MAX = 100_000, 256
_DURATION = "6d"


def write(redis: Redis, count: int, prefix: str, *, tell: bool = True) -> None:
    """Blocks users 0 to `count`; `tell` also says so to whoever listens."""
    sha = redis.client.script_load(_SCRIPT.read_text())
    at_ms = events.now_ms()
    for first in range(0, count, _AT_ONCE):
        pipeline = redis.client.pipeline(transaction=False)
        for number in range(first, min(first + _AT_ONCE, count)):
            user = load.user_id(number, prefix)
            # As long as those of most publishers, and the same whenever it is written.
            event_id = str(uuid.uuid5(uuid.NAMESPACE_OID, user))
            event = events.event("block", user, event_id=event_id, at_ms=at_ms, duration=_DURATION)
            names = [f"state:user:{user}", "subjects", "stream", "digest"]
            arguments = [Redis.CHANNEL if tell else "", f"user:{user}", event_id, json.dumps(event)]
            arguments += [_STREAM_ENTRIES_MAX, _SUBJECT_EVENTS_MAX]
            keys = [f"{{portcullis}}:{name}" for name in names]
            pipeline.evalsha(sha, len(keys), *keys, *arguments)
        pipeline.execute()


def wait_everywhere(daemon: Daemon, subjects: int, nodes: int, timeout_s: float = 60) -> None:
    """Until the daemon knows so many subjects, and so many nodes enforce all of it."""

    def everywhere() -> bool:
        status = daemon.status()
        connected = [node for node in status["nodes"] if node["connected"]]
        applied = [node for node in connected if node["applied"] == status["sequence"]]
        return status["subjects"] >= subjects and len(applied) >= nodes

    wait_until(everywhere, f"{subjects} blocks on {nodes} nodes", timeout_s)
