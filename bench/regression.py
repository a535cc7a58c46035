"""Whether the gate has become dearer than it was when `bench/baseline.json` was committed.

Times differ between machines; what is compared are ratios to Envoy's own filter and to no filter, out
of one interleaved run. They still differ from run to run: hence the tolerance.
"""

import json
from pathlib import Path

from bench.report import added
from bench.rounds import Result

BASELINE = Path(__file__).with_name("baseline.json")
# A ratio may be so much greater than the committed one.
TOLERANCE = 0.35
_UNIT = "local_ratelimit"
ROWS = [
    "gate: block check and bucket",
    "gate, RateLimit headers",
    "gate, blocked users",
    "gate, signed, 1 KiB body",
]


def ratios(results: dict[str, Result]) -> dict[str, float]:
    """Each row's cost, in those of a request through Envoy's own limiter."""
    unit = results[_UNIT].median(lambda s: s.cpu_us)
    rows = [row for row in ROWS if row in results]
    return {row: round(added(results, row) / unit, 3) for row in rows}


def check(results: dict[str, Result]) -> list[str]:
    """What is beyond the tolerance, a line each."""
    known = json.loads(BASELINE.read_text())
    found = []
    for row, ratio in ratios(results).items():
        limit = known[row] * (1 + TOLERANCE)
        if ratio > limit:
            found.append(f"{row}: adds {ratio:.2f} of a request; at most {limit:.2f} was expected")
    return found


def accept(results: dict[str, Result]) -> None:
    """Makes this run the one that later ones are compared with."""
    BASELINE.write_text(json.dumps(ratios(results), indent=1) + "\n")
