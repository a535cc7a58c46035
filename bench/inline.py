"""The time inside the filter, by its own histogram: what Envoy waits for on each request."""

import re

from bench import load, report
from bench.edge import Edge
from bench.rows import Row
from harness.client import Connection
from harness.proc import wait_until

_HISTOGRAM = "decision_ns"
_QUANTILES = ["P50", "P99", "P99.9"]
_SAMPLES_MIN = 1_000  # else the last of them is one sample; rows that are too slow have fewer
_TIMED_EVERY = 64  # the filter's own number
_RUNS_MAX = 3


def section(edges: list[tuple[Row, Edge]]) -> report.Section:
    """Of edges that have been under load already."""
    ours = [(row, edge) for row, edge in edges if row.is_gate]
    figures = {row.name: _of(row, edge) for row, edge in ours}
    lines = [
        [name, *(f"{values[quantile]:.1f}" for quantile in _QUANTILES)] for name, values in figures.items()
    ]
    text = report.table(["what", "p50, us", "p99, us", "p99.9, us"], lines)
    note = (
        "From the entry of the headers' callback to its end, host calls included, of one request in"
        f" {_TIMED_EVERY}, on a worker that is saturated and shares its cores with the client: the"
        " tail is the scheduler's. A body's hashing is not in it."
    )
    return report.Section("Time inside the filter", f"{text}\n\n{note}", figures)


def _of(row: Row, edge: Edge) -> dict[str, float]:
    for _ in range(_RUNS_MAX):
        if load.run(edge.port, row.load(), 1).requests > _SAMPLES_MIN * _TIMED_EVERY:
            break
    # Merged when statistics are flushed.
    return wait_until(lambda: _quantiles(edge), "the histogram")


def _quantiles(edge: Edge) -> dict[str, float]:
    with Connection(edge.admin_port) as admin:
        text = admin.get(f"/stats?filter={_HISTOGRAM}").body.decode()
    # P50(of the last interval,of all)
    found = dict(re.findall(r"(P[\d.]+)\([^,]+,([\d.]+)\)", text))
    return {quantile: float(found[quantile]) / 1e3 for quantile in _QUANTILES}
