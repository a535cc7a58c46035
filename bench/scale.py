"""A million blocked users, ten times more users than there is room for, and one user from every
worker.
"""

import statistics
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench import blocks, churn, hot, load, machine, report, rounds, rows
from bench.edge import Edge
from bench.parts import Parts, wait_synced
from bench.probe import Probe
from harness import hosts
from harness.daemon import Daemon
from harness.hosts import NATIVE, Host
from harness.proc import wait_until
from harness.redis_server import Redis

USERS = rows.MANY_USERS
_BLOCKED = "b"
# The daemon's default is room for this many subjects and no more.
_DAEMON = {"limits": {"subjects_max": 2 * USERS}}
# About four blocks share a slab, which every request of theirs reads and writes.
_STORAGE = {"slabs": 262_144, "slab_bytes_max": 4096}
_READ_SECONDS_MAX, _SNAPSHOT_SECONDS_MAX = 180, 90
_ROUNDS, _SECONDS = 7, 2.0
_CHECKED = 2_000  # blocked users that are asked for, out of all
# Of the native gate: what so many blocks may add to a request that is let through, and bytes of Envoy's memory each.
_COST_MORE_MAX, _BYTES_EACH_MAX = 0.05, 64

_TEXT = """\
{users:,} users blocked, each by one event with an id of {id_bytes} bytes and an end, written to Redis by the published
script before the daemon starts. Daemon: `limits.subjects_max = {subjects_max}`; filter: `storage.slabs` {slabs},
`slab_bytes_max` {slab_bytes_max}. Each figure is that with {users:,} blocks less that of the same parts with
none, which run beside it. CPU of the snapshot is that of Envoy's main thread, which applies one batch, and of the
daemon, which gathers the next meanwhile: its time lies between the greater of them and their sum.
"""


@dataclass
class Side:
    """A daemon and an Envoy, with or without blocks."""

    daemon: Daemon
    edge: Edge
    started_s: float  # from the start of Envoy until it was live and in step
    main_cpu_s: float  # of Envoy's main thread, and of the daemon, in this time
    daemon_cpu_s: float

    def envoy_bytes(self) -> int:
        return machine.resident_bytes(self.edge.process.pid)

    def allocated_bytes(self) -> int:
        """What Envoy holds, by its own account: without what its allocator keeps for later."""
        return self.edge.counters("server.memory_allocated")["server.memory_allocated"]

    def daemon_bytes(self) -> int:
        return machine.resident_bytes(self.daemon.process.pid)


def section(directory: Path, say: Callable[[str], None]) -> report.Section:
    """A million blocks; churn of keys; a hot user."""
    parts = [
        _million(directory / "million", say),
        churn.section(directory / "churn", say),
        hot.section(directory / "hot", say),
    ]
    text = "\n\n".join(f"### {part.title}\n\n{part.text}" for part in parts)
    return report.Section("Scale", text, {part.title: part.figures for part in parts})


def _million(directory: Path, say: Callable[[str], None]) -> report.Section:
    """On one host after the other, from the same Redis."""
    with Parts(directory / "redis") as parts:
        redis = parts.redis()
        blocks.write(redis, USERS, _BLOCKED, tell=False)
        say(f"scale: {USERS:,} blocks written to Redis")
        found = {name: _on(host, directory / name, redis, say) for name, host in hosts.ALL.items()}
    return report.Section(f"{USERS:,} blocked users", _text(found), found)


def _on(host: Host, directory: Path, redis: Redis, say: Callable[[str], None]) -> dict:
    with Parts(directory) as parts:
        start = time.monotonic()
        knowing = parts.daemon(redis, _DAEMON)
        wait_until(lambda: _has_read(knowing), "the blocks to be read", _READ_SECONDS_MAX, 0.1)
        figures = {"read_s": time.monotonic() - start}
        say(f"scale: {host.name}: read by the daemon in {figures['read_s']:.0f} s")
        none = _side(parts, parts.daemon(parts.redis(), _DAEMON), host)
        all_of_them = _side(parts, knowing, host)
        say(f"scale: {host.name}: snapshot in {all_of_them.started_s - none.started_s:.1f} s")
        figures["snapshot_s"] = all_of_them.started_s - none.started_s
        figures["start_s"] = none.started_s
        figures["main_cpu_s"] = all_of_them.main_cpu_s - none.main_cpu_s
        figures["daemon_cpu_s"] = all_of_them.daemon_cpu_s - none.daemon_cpu_s
        figures |= _cost(none, all_of_them, say)
        figures |= _memory(none, all_of_them)
        figures["let_through"] = _let_through(all_of_them.edge)
        return figures


def _has_read(daemon: Daemon) -> bool:
    status = daemon.status()
    connected = all(source["state"] == "connected" for source in status["sources"])
    return connected and status["subjects"] == USERS and status["store"]["queue"] == 0


def _side(parts: Parts, daemon: Daemon, host: Host) -> Side:
    start, before_ns = time.monotonic(), machine.process_cpu_ns(daemon.process.pid)
    edge = parts.gate(daemon, rows.plugin(storage=_STORAGE), host=host)
    wait_synced(daemon, timeout_s=_SNAPSHOT_SECONDS_MAX)
    started_s = time.monotonic() - start
    (node,) = daemon.status()["nodes"]
    if node["refused"]:
        raise RuntimeError(f"{node['refused']} blocks had no room")
    daemon_cpu_s = (machine.process_cpu_ns(daemon.process.pid) - before_ns) / 1e9
    return Side(daemon, edge, started_s, _main_cpu_s(edge.process.pid), daemon_cpu_s)


def _main_cpu_s(pid: int) -> float:
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def _cost(none: Side, all_of_them: Side, say: Callable[[str], None]) -> dict:
    """Of users who are not blocked, and who share slabs with those who are."""
    sides = {"none": none, "all": all_of_them}
    edges = [(rows.Row(name, [], rows.uniform()), side.edge) for name, side in sides.items()]
    without, having = rounds.measure(edges, _ROUNDS, _SECONDS, say)
    pairs = zip(having.samples, without.samples, strict=True)
    ratios = [one.cpu_us / other.cpu_us for one, other in pairs]
    return {
        "cpu_us_without": without.median(report.cpu),
        "cpu_us_with": having.median(report.cpu),
        "cost_ratio": statistics.median(ratios),
        "cost_ratios": ratios,
    }


def _memory(none: Side, all_of_them: Side) -> dict:
    """After both have served the same requests."""
    held = all_of_them.allocated_bytes() - none.allocated_bytes()
    return {
        "envoy_allocated_bytes_each": held / USERS,
        "envoy_bytes_each": (all_of_them.envoy_bytes() - none.envoy_bytes()) / USERS,
        "daemon_bytes_each": (all_of_them.daemon_bytes() - none.daemon_bytes()) / USERS,
        "envoy_mb": all_of_them.envoy_bytes() / 1e6,
        "envoy_mb_without": none.envoy_bytes() / 1e6,
        "daemon_mb": all_of_them.daemon_bytes() / 1e6,
    }


def _let_through(edge: Edge) -> int:
    """Of the blocked users, evenly out of all, how many are not rejected."""
    users = [load.user_id(number, _BLOCKED) for number in range(0, USERS, USERS // _CHECKED)]
    with closing(Probe(edge.port)) as probe:
        return sum(probe.status_of(user) != 403 for user in users)


def _text(found: dict[str, dict]) -> str:
    intro = _TEXT.format(
        users=USERS,
        id_bytes=36,
        subjects_max=_DAEMON["limits"]["subjects_max"],
        **_STORAGE,
    )
    columns = [_column(figures) for figures in found.values()]
    lines = [list(line) for line in zip(_WHAT, *columns, strict=True)]
    native = found[NATIVE.name]
    aims = [
        (
            "native: added to the cost of a request, of what it is without blocks",
            native["cost_ratio"] - 1,
            _COST_MORE_MAX,
        ),
        (
            "native: Envoy's memory, allocated bytes a block",
            native["envoy_allocated_bytes_each"],
            _BYTES_EACH_MAX,
        ),
    ]
    table = report.table(["what", *found], lines)
    return f"{intro}\n{table}\n\n{report.bounds(aims)}"


_WHAT = [
    "daemon starts with nothing, and reads all from Redis",
    "full snapshot into an Envoy that has just started",
    "Envoy's memory",
    "daemon's memory",
    "CPU of a request that is let through",
    f"of {_CHECKED:,} blocked users asked for, let through",
]


def _column(figures: dict) -> list[str]:
    """What was measured on one host."""
    low, high = min(figures["cost_ratios"]), max(figures["cost_ratios"])
    return [
        f"{figures['read_s']:.1f} s",
        f"{figures['snapshot_s']:.1f} s (CPU: Envoy {figures['main_cpu_s']:.1f} s,"
        f" daemon {figures['daemon_cpu_s']:.1f} s)",
        f"{figures['envoy_allocated_bytes_each']:.0f} bytes per block allocated,"
        f" {figures['envoy_bytes_each']:.0f} resident"
        f" ({figures['envoy_mb_without']:.0f} MB -> {figures['envoy_mb']:.0f} MB)",
        f"{figures['daemon_bytes_each']:.0f} bytes per block",
        f"{figures['cpu_us_without']:.1f} -> {figures['cpu_us_with']:.1f} us,"
        f" {figures['cost_ratio'] - 1:+.1%} ({low - 1:+.1%} to {high - 1:+.1%})",
        f"{figures['let_through']}",
    ]
