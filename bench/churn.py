"""Ten times more users than there is room for: memory stays flat, nobody gets a fresh bucket."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from bench import machine, report, rows
from bench.edge import Edge
from bench.parts import Parts, wait_synced
from bench.probe import Probe

_SLABS, _SLAB_BYTES, _BUCKET_BYTES = 1024, 1024, 35
_ROOM = _SLABS * (_SLAB_BYTES // _BUCKET_BYTES)
_TIMES = 10
_HELD = 200
_CONNECTIONS = 32
_PASS_SECONDS_MAX = 90
_SLOW, _QUICK = "3600s", "200ms"

_TEXT = """\
`storage.slabs` {slabs}, `slab_bytes_max` {slab_bytes}: room for {room:,} buckets of one limit (35 bytes each; fewer
in the end, since slabs fill unevenly). {held} users use up their one token; then {churned:,} others ask, once each.
`slab_full` is `deny`. *In vain*: no token comes back meanwhile ({slow}), so every bucket has to be kept, and whoever
finds no room is answered 503. *Refilling*: a token comes back after {quick}, so that room is made all the time.
Memory is what is more resident than after the first tenth.
"""


def section(directory: Path, say: Callable[[str], None]) -> report.Section:
    cases = {"in vain": _SLOW, "refilling": _QUICK}
    found = {name: _churn(directory / name[:2], interval) for name, interval in cases.items()}
    say(f"scale: {2 * _TIMES * _ROOM:,} users have come and gone")
    lines = [[name, *_line(figures)] for name, figures in found.items()]
    heads = ["buckets", "200", "503", "503 in the last tenth", "memory", "held, let through again"]
    text = _TEXT.format(
        slabs=_SLABS,
        slab_bytes=_SLAB_BYTES,
        room=_ROOM,
        held=_HELD,
        churned=_TIMES * _ROOM,
        slow=_SLOW,
        quick=_QUICK,
    )
    return report.Section("Ten times more users than room", f"{text}\n{report.table(heads, lines)}", found)


def _line(figures: dict) -> list[str]:
    grown = (figures["resident_bytes"][-1] - figures["resident_bytes"][0]) / 1e6
    amnesty = figures["amnesty"]
    return [
        f"{figures['allowed']:,}",
        f"{figures['refused']:,}",
        f"{figures['refused_last']:,}",
        f"{grown:+.1f} MB",
        "refilled, as they should" if amnesty is None else f"{amnesty}",
    ]


def _churn(directory: Path, interval: str) -> dict:
    limit = {
        "name": "per-user",
        "key": "user",
        "max_tokens": 1,
        "tokens_per_fill": 1,
        "fill_interval": interval,
    }
    storage = {"slabs": _SLABS, "slab_bytes_max": _SLAB_BYTES}
    with Parts(directory) as parts:
        daemon = parts.daemon(None)
        edge = parts.gate(daemon, rows.plugin(limits=[limit], storage=storage))
        wait_synced(daemon)
        probes = [Probe(edge.port) for _ in range(_CONNECTIONS)]
        for probe in probes:
            parts.stop(probe)
        return _pass(edge, probes, interval)


def _pass(edge: Edge, probes: list[Probe], interval: str) -> dict:
    held = [f"held-{number}" for number in range(_HELD)]
    if set(_statuses(probes, held)) != {200}:
        raise RuntimeError("there is no room to begin with")
    end = time.monotonic() + _PASS_SECONDS_MAX
    counts, resident, amnesty = [], [], 0
    for tenth in range(_TIMES):
        users = [f"u{number:07d}" for number in range(tenth * _ROOM, (tenth + 1) * _ROOM)]
        counts.append(Counter(_statuses(probes, users)))
        resident.append(machine.resident_bytes(edge.process.pid))
        if interval == _SLOW:
            amnesty += sum(status != 429 for status in _statuses(probes, held))
        if time.monotonic() > end:
            raise RuntimeError(f"only {tenth + 1} of {_TIMES} tenths in {_PASS_SECONDS_MAX} s")
    total = sum(counts, Counter())
    if set(total) - {200, 503}:
        raise RuntimeError(f"new users were answered {dict(total)}")
    return {
        "allowed": total[200],
        "refused": total[503],
        "refused_last": counts[-1][503],
        "resident_bytes": resident,
        "amnesty": amnesty if interval == _SLOW else None,
    }


def _statuses(probes: list[Probe], users: list[str]) -> list[int]:
    """Each connection has one request under way at a time."""
    statuses = []
    for at in range(0, len(users), len(probes)):
        asking = list(zip(probes, users[at : at + len(probes)], strict=False))
        for probe, user in asking:
            probe.ask(user)
        statuses += [probe.status() for probe, _ in asking]
    return statuses
