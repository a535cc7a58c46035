"""Floods on the channel: an operator's block meanwhile, and how long until all is in order again.

The longer ones run with PORTCULLIS_LONG=1; docs/explanation/performance.md has their figures.
"""

import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.events import event, new_user
from harness.flood import Flood, Plan
from harness.proc import wait_until
from harness.stack import Stack, running

QUIET = {"log": {"level": "warn"}}
BLOCKS_EVERY_S = 0.1


@dataclass
class Watched:
    """What an operator's blocks got while something went on, and how large the daemon became."""

    elapsed_ms: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    without_redis: int = 0
    longest_without_redis_s: float = 0.0
    rss_mib: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.elapsed_ms:
            return "no block by the API"
        p50 = statistics.median(self.elapsed_ms)
        enough = self.elapsed_ms * 2 if len(self.elapsed_ms) == 1 else self.elapsed_ms
        p99 = statistics.quantiles(enough, n=100, method="inclusive")[98]
        good = self.statuses.count(200)
        return (
            f"{len(self.statuses)} blocks by the API: {good} times 200, p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
            f"max {max(self.elapsed_ms):.1f} ms, redis: false {self.without_redis} times, for "
            f"{self.longest_without_redis_s:.1f} s in a row; daemon {max(self.rss_mib):.0f} MiB at most"
        )


def rss_mib(pid: int) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line]
    return int(line.split()[1]) / 1024


class Operator(threading.Thread):
    """Blocks new users, one after the other, until it is stopped."""

    def __init__(self, stack: Stack):
        super().__init__()
        self.watched, self._stack, self._halt = Watched(), stack, threading.Event()

    def run(self) -> None:
        watched, since = self.watched, None
        while not self._halt.wait(BLOCKS_EVERY_S):
            user, started = new_user("vip"), time.monotonic()
            answer = self._stack.daemon.post(event("block", user))
            watched.elapsed_ms.append((time.monotonic() - started) * 1000)
            watched.statuses.append(answer.status)
            watched.rss_mib.append(rss_mib(self._stack.daemon.process.pid))
            assert answer.status in (200, 202), (answer.status, answer.body)
            receipt = answer.json()
            assert answer.status == 202 or receipt["pending"] == [], "every node enforces it"
            if receipt["redis"]:
                since = None
            else:
                watched.without_redis += 1
                since = since or started
                lasted = time.monotonic() - since
                watched.longest_without_redis_s = max(watched.longest_without_redis_s, lasted)

    def done(self) -> Watched:
        self._halt.set()
        self.join()
        return self.watched


def counts(stack: Stack) -> tuple[int, int]:
    """The events that the daemon knows, and those that Redis counts."""
    there = stack.redis.client.hget("{portcullis}:digest", "count")
    return stack.daemon.status()["digest"]["count"], int(there or 0)


def sizes(store: Path) -> dict[str, int]:
    """Bytes of the store, the dead letters and the audit log with its pseudonyms."""
    found = dict.fromkeys(("store", "letters", "audit"), 0)
    for file in store.rglob("*"):
        if file.is_file():
            name = str(file.relative_to(store))
            kind = "store" if name.startswith("state") else "letters" if "letters" in name else "audit"
            found[kind] += file.stat().st_size
    return found


def taken_in(metrics: dict[str, float]) -> float:
    """Events that were heard, each once: a bare one comes once more when it is written."""
    counted = [name for name in metrics if name.startswith("portcullis_events_total")]
    return sum(metrics[name] for name in counted if "duplicate" not in name)


def flooded(stack: Stack, plan: Plan, seconds_max: float) -> list[str]:
    """Floods, and tells what it was like."""
    before, had = sizes(stack.daemon.store), taken_in(stack.daemon.metrics())
    operator, flood = Operator(stack), Flood(stack.redis, plan)
    operator.start()
    try:
        wait_until(lambda: flood.is_over, "the flood to end", seconds_max, every_s=0.1)
    finally:
        flood.close()
        ended = time.monotonic()
        watched = operator.done()
    reached = f"{flood.published:,} {plan.way} events at {flood.per_second:,.0f}/s"
    assert flood.published == plan.count, watched

    waiting: list[tuple[float, int]] = []

    def agree() -> bool:
        here, there = counts(stack)
        waiting.append((time.monotonic() - ended, there - here))
        state = stack.daemon.status()["redis"]
        return here == there and bool(state) and state["state"] == "same"

    wait_until(agree, "the daemon and Redis to agree", 300, every_s=0.25)
    stack.wait_synced(60)
    most = max(waiting, key=lambda entry: entry[1])
    metrics, after = stack.daemon.metrics(), sizes(stack.daemon.store)
    grew = ", ".join(f"{name} {(after[name] - before[name]) / 2**20:.1f} MiB" for name in before)
    of_redis = {
        name.removeprefix("portcullis_"): int(value)
        for name, value in metrics.items()
        if value and name.startswith(("portcullis_redis_outbox_left", "portcullis_source_rec"))
    }
    return [
        f"{reached}; {watched}",
        f"agreed after {waiting[-1][0]:.1f} s; Redis held {most[1]:,} more at most, {most[0]:.1f} s after; "
        f"taken in {taken_in(metrics) - had:,.0f}; grew: {grew}; "
        f"daemon {rss_mib(stack.daemon.process.pid):.0f} MiB then {of_redis or ''}",
    ]


def test_a_short_flood_of_bare_blocks(summary):
    """Operators' blocks are in Redis meanwhile, and overtaken events leave it soon after."""
    with running(redis=True, daemon_settings=QUIET) as stack:
        for line in flooded(stack, Plan("bare", count=20_000, users=5_000), 60):
            summary(f"a short flood: {line}")


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["bare", "script"])
def test_twenty_thousand_events_a_second_for_a_minute(way, summary):
    plan = Plan(way, 1_200_000, 50_000, (b"block", b"unblock"), per_second=20_000)
    with running(redis=True, daemon_settings=QUIET) as stack:
        for line in flooded(stack, plan, 240):
            summary(f"a minute's flood: {line}")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_hundred_thousand_bare_events_leave_nothing_behind(summary):
    """Four of each user, of which three are overtaken."""
    with running(redis=True, daemon_settings=QUIET) as stack:
        for line in flooded(stack, Plan("bare", 200_000, 50_000), 120):
            summary(f"200,000 at once: {line}")
