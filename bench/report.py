"""Results as tables for people and as JSON for programs."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.rounds import Result, Sample


def cpu(sample: Sample) -> float:
    return sample.cpu_us


def added(results: dict[str, Result], name: str) -> float:
    """What a row adds to its baseline, in us of worker CPU per request: the median over rounds of
    the difference within each round, since the machine changes between rounds."""
    result = results[name]
    baseline = results[result.row.baseline]
    pairs = zip(result.samples, baseline.samples, strict=True)
    differences = sorted(one.cpu_us - other.cpu_us for one, other in pairs)
    return differences[len(differences) // 2]


def request_cost(results: list[Result]) -> str:
    """The request-cost table in Markdown."""
    by_name = {result.row.name: result for result in results}
    lines = [
        "| what | CPU/request, us | added, us | beside, us | requests/s | p50, us | p99, us | p99.9, us |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        low, high = result.spread(cpu)
        is_baseline = result.row.baseline == result.row.name or result.row.baseline not in by_name
        more = "" if is_baseline else f"{added(by_name, result.row.name):+.1f}"
        lines.append(
            f"| {result.row.name} | {result.median(cpu):.1f} ({low:.1f} to {high:.1f}) | {more}"
            f" | {_or_nothing(result, lambda s: s.beside_us)}"
            f" | {result.median(lambda s: s.per_second):,.0f}"
            f" | {result.median(lambda s: s.p50_us):,.0f}"
            f" | {result.median(lambda s: s.p99_us):,.0f}"
            f" | {result.median(lambda s: s.p999_us):,.0f} |"
        )
    return "\n".join(lines)


def _or_nothing(result: Result, of: Callable[[Sample], float]) -> str:
    value = result.median(of)
    return f"{value:.1f}" if value else ""


def as_json(results: list[Result]) -> dict:
    """Every sample, by row."""
    return {result.row.name: [vars(sample) for sample in result.samples] for result in results}


@dataclass
class Section:
    """One part of the report."""

    title: str
    text: str  # Markdown
    figures: dict  # what `--json` writes, by name


def bounds(aims: list[tuple[str, float, float]]) -> str:
    """A table of figures that have a bound: what each is, how much, and how much at most."""
    lines = [
        [says, f"{value:.2f}", f"<= {most:g}", "yes" if value <= most else "**no**"]
        for says, value, most in aims
    ]
    return table(["what", "measured", "goal", "met"], lines)


def table(heads: list[str], lines: list[list[str]]) -> str:
    """A table in Markdown."""
    rows = [heads, ["---"] * len(heads), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
