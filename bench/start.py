"""What a gate adds to the start of an Envoy: CPU until it is live, and memory."""

import statistics
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from bench import machine, report, rows
from bench.edge import Edge
from bench.parts import Parts
from harness import artifacts
from harness.hosts import NATIVE, WASM

_ROUNDS, _QUICK_ROUNDS = 9, 3
_NONE = "no filter"
_GATES = {rows.named("gate", host): host for host in (WASM, NATIVE)}
# Of the native gate, in milliseconds.
_CPU_MS_MAX = 10.0

_TEXT = """\
An Envoy with one worker, started and stopped once for each case in each of {rounds} rounds: CPU of all of its
threads, and resident memory, when it first says that it is live. *Added* is the median difference to no filter in the
same round.
"""


@dataclass
class _Starts:
    """One for each round."""

    cpu_ms: list[float] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)


def section(directory: Path, quick: bool, say: Callable[[str], None]) -> report.Section:
    rounds = _QUICK_ROUNDS if quick else _ROUNDS
    with Parts(directory / "parts") as parts:
        daemon = parts.daemon(None)
        cases = {_NONE: rows.Row(_NONE, [], rows.uniform())}
        cases |= {name: rows.gate(name, daemon, rows.uniform(), host) for name, host in _GATES.items()}
        found = {name: _Starts() for name in cases}
        for number in range(rounds):
            for name, row in cases.items():
                _start(directory / f"{number}-{name.replace(' ', '-')}", row, found[name])
        say(f"start: {rounds} rounds")
    added = {name: _added(found[name], found[_NONE]) for name in cases}
    lines = [[name, *_line(starts, added[name])] for name, starts in found.items()]
    table = report.table(["what", "CPU, ms", "added, ms", "resident, MB", "added, MB"], lines)
    native = added[rows.named("gate", NATIVE)]["cpu_ms"]
    aims = report.bounds([("native: CPU added to the start of Envoy, ms", native, _CPU_MS_MAX)])
    text = f"{_TEXT.format(rounds=rounds)}\n{table}\n\n{aims}"
    return report.Section("Start of Envoy", text, {name: vars(starts) for name, starts in found.items()})


def _start(directory: Path, row: rows.Row, starts: _Starts) -> None:
    binary = artifacts.envoy()
    with closing(Edge(directory, binary, row.filters, row.clusters, row.extensions)) as edge:
        starts.cpu_ms.append(machine.process_cpu_ns(edge.process.pid) / 1e6)
        starts.resident_mb.append(machine.resident_bytes(edge.process.pid) / 1e6)


def _added(starts: _Starts, none: _Starts) -> dict[str, float]:
    def difference(one: list[float], other: list[float]) -> float:
        return statistics.median(a - b for a, b in zip(one, other, strict=True))

    return {name: difference(values, vars(none)[name]) for name, values in vars(starts).items()}


def _line(starts: _Starts, added: dict[str, float]) -> list[str]:
    cells = []
    for name, values in vars(starts).items():
        cells += [f"{statistics.median(values):.0f}", f"{added[name]:+.1f}" if any(added.values()) else ""]
    return cells
