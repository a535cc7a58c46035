"""One user from every worker at once: the bucket gives exactly what it should."""

import time
from collections.abc import Callable
from pathlib import Path

from bench import load, report, rows
from bench.edge import Edge
from bench.parts import Parts, wait_synced

_WORKERS, _CONNECTIONS, _SECONDS = 2, 64, 5
_BURST, _PER_SECOND = 500, 100
_UNSURE_S = 0.02

_TEXT = """\
One user over {connections} connections, spread over {workers} workers ({spread}), for {seconds} s; a limit of {burst}
at once and {rate} a second. Counted by Envoy itself. So many may be let through: the burst, and what refills between
the first request and the last; the bounds are the time that wrk asks, and the time that it runs.
"""


def section(directory: Path, say: Callable[[str], None]) -> report.Section:
    with Parts(directory) as parts:
        limit = {
            "name": "per-user",
            "key": "user",
            "max_tokens": _BURST,
            "tokens_per_fill": _PER_SECOND,
            "fill_interval": "1s",
        }
        daemon = parts.daemon(None)
        edge = parts.gate(daemon, rows.plugin(limits=[limit]), _WORKERS)
        wait_synced(daemon)
        figures = _run(edge)
    say(f"scale: a hot user was let through {figures['allowed']:,} times")
    spread = "and ".join(f"{count} " for count in figures["connections"]).strip()
    text = _TEXT.format(
        connections=_CONNECTIONS,
        workers=_WORKERS,
        seconds=_SECONDS,
        burst=_BURST,
        rate=_PER_SECOND,
        spread=spread,
    )
    low, high = figures["allowed_least"], figures["allowed_most"]
    is_exact = "yes" if low <= figures["allowed"] <= high else "**no**"
    line = [
        f"{figures['requests']:,}",
        f"{figures['allowed']:,}",
        f"{low:,.0f} to {high:,.0f}",
        is_exact,
        f"{figures['failed']}",
    ]
    heads = ["requests", "let through", "may be", "exact", "neither 200 nor 429"]
    return report.Section("One hot user", f"{text}\n{report.table(heads, [line])}", figures)


def _run(edge: Edge) -> dict:
    before, start = _answers(edge), time.monotonic()
    load.run(edge.port, load.users(1, connections=_CONNECTIONS), _SECONDS)
    elapsed_s = time.monotonic() - start
    counted = {name: total - before[name] for name, total in _answers(edge).items()}
    workers = edge.counters("listener.*worker_.*downstream_cx_total")
    return {
        "requests": sum(counted.values()),
        "allowed": counted["2xx"],
        "failed": counted["5xx"],
        # wrk takes some milliseconds until all connections ask, and to stop.
        "allowed_least": _BURST + _PER_SECOND * (_SECONDS - _UNSURE_S),
        "allowed_most": _BURST + _PER_SECOND * elapsed_s,
        "connections": sorted(workers.values()),
    }


def _answers(edge: Edge) -> dict[str, int]:
    prefix = "http.edge.downstream_rq_"
    found = edge.counters("http.edge.downstream_rq_[245]xx")
    return {name: found.get(prefix + name, 0) for name in ("2xx", "4xx", "5xx")}
