"""Rows measured in turn, round after round, so that what disturbs the machine disturbs all alike."""

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import load, machine
from bench.edge import Edge
from bench.rows import Row

_WARM_UP_S = 1


@dataclass
class Sample:
    """One row in one round."""

    cpu_us: float  # of Envoy's workers, per request
    beside_us: float  # of the processes that work for each request too, per request
    per_second: float
    p50_us: int
    p99_us: int
    p999_us: int


@dataclass
class Result:
    """One row in all rounds."""

    row: Row
    samples: list[Sample] = field(default_factory=list)

    def median(self, of: Callable[[Sample], float]) -> float:
        return statistics.median(of(sample) for sample in self.samples)

    def spread(self, of: Callable[[Sample], float]) -> tuple[float, float]:
        values = [of(sample) for sample in self.samples]
        return min(values), max(values)


class Unfit(RuntimeError):
    """The row did not do what it is measured for."""


@contextmanager
def running(rows: list[Row], directory: Path, binary: Path) -> Iterator[list[tuple[Row, Edge]]]:
    """An Envoy for each row, all at the same time."""
    with ExitStack() as cleanup:
        edges = []
        for number, row in enumerate(rows):
            edge = Edge(
                directory / f"edge-{number}",
                binary,
                row.filters,
                row.clusters,
                row.extensions,
                row.route,
            )
            cleanup.callback(edge.close)
            edges.append((row, edge))
        yield edges


def measure(
    edges: list[tuple[Row, Edge]], rounds: int, seconds: float, say: Callable[[str], None]
) -> list[Result]:
    """Every row once a round; the order turns, so that nobody always follows the same neighbour."""
    results = {row.name: Result(row) for row, _ in edges}
    for row, edge in edges:
        load.run(edge.port, row.load(), _WARM_UP_S)
    for number in range(rounds):
        turned = edges[number % len(edges) :] + edges[: number % len(edges)]
        for row, edge in turned:
            results[row.name].samples.append(_sample(row, edge, seconds))
        say(f"round {number + 1} of {rounds}")
    return list(results.values())


def _sample(row: Row, edge: Edge, seconds: float) -> Sample:
    what = row.load()
    cpu, beside = machine.worker_cpu_ns(edge.process.pid), _beside(row)
    run = load.run(edge.port, what, seconds)
    cpu, beside = machine.worker_cpu_ns(edge.process.pid) - cpu, _beside(row) - beside
    check(row, run)
    return Sample(
        cpu_us=cpu / 1e3 / run.requests,
        beside_us=beside / 1e3 / run.requests,
        per_second=run.per_second,
        p50_us=run.p50_us,
        p99_us=run.p99_us,
        p999_us=run.p999_us,
    )


def _beside(row: Row) -> int:
    return sum(machine.process_cpu_ns(process.pid) for process in row.beside)


def check(row: Row, run: load.Run) -> None:
    """A figure of something else than it says is worse than none."""
    expected = run.requests if row.rejected else 0
    # The first request of each user fits into an empty-to-be bucket.
    if abs(run.rejected - expected) > 0.02 * run.requests or run.failed:
        raise Unfit(
            f"{row.name}: of {run.requests} requests {run.rejected} were rejected"
            f" ({'all' if row.rejected else 'none'} should be), {run.failed} failed"
        )
