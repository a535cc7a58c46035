"""The command line of `scripts/bench`."""

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench import (
    blocks,
    document,
    fleet,
    inline,
    peers,
    propagation,
    regression,
    report,
    rounds,
    rows,
    scale,
    start,
    versions,
)
from bench.edge import Answering
from harness import artifacts
from harness.daemon import Daemon
from harness.proc import kill_all
from harness.redis_server import Redis

ROUNDS = 5
SECONDS = 2.0
QUICK_ROWS = {
    "no filter",
    "local_ratelimit",
    "local_ratelimit, rejects",
    "gate: block check and bucket",
    "gate, RateLimit headers",
    "gate, fleet limit",
    "gate, blocked users",
    "native gate: block check and bucket",
    "native gate, blocked users",
    "native gate, signed, 1 KiB body",
    "buffer, 1 KiB body",
    "gate, signed, 1 KiB body",
}
SECTIONS = ["requests", "propagation", "start", "scale", "fleet", "versions"]
# What `--quick` leaves out is left out there, and these two take long.
_DEFAULT_SECTIONS = SECTIONS[:-2]


def main() -> int:
    arguments = _parser().parse_args()
    started = time.monotonic()
    results, sections = [], []
    with tempfile.TemporaryDirectory(prefix="pc-bench-") as name, ExitStack() as cleanup:
        cleanup.callback(kill_all)
        for part in arguments.sections:
            directory = Path(name) / part
            directory.mkdir()
            _say(f"{part} ...")
            if part == "requests":
                results, found = _requests(arguments, directory)
                sections += found
            elif part == "propagation":
                sections.append(propagation.section(directory, arguments.quick, _say))
            elif part == "start":
                sections.append(start.section(directory, arguments.quick, _say))
            elif part == "fleet":
                sections.append(fleet.section(directory, arguments.quick, _say))
            elif part == "versions":
                sections.append(versions.section(directory, _say, e2e=arguments.e2e))
            elif not arguments.quick:
                sections.append(scale.section(directory, _say))
    text = document.text(sections, arguments)
    print(f"\n{text}\nbench: {time.monotonic() - started:.0f} s")
    if arguments.json:
        figures = {section.title: section.figures for section in sections}
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")
    if arguments.write:
        document.FILE.write_text(text)
        _say(f"written: {document.FILE}")
    return _verdict(arguments, {result.row.name: result for result in results})


def _verdict(arguments: argparse.Namespace, results: dict[str, rounds.Result]) -> int:
    if arguments.accept:
        regression.accept(results)
    if not arguments.check:
        return 0
    found = regression.check(results)
    for line in found:
        _say(f"slower: {line}")
    _say("check: " + ("FAILED" if found else f"within {regression.TOLERANCE:.0%} of the baseline"))
    return 1 if found else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the main rows only; about 3 minutes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    parser.add_argument("--check", action="store_true", help="fail if the gate has become slower")
    parser.add_argument("--accept", action="store_true", help="make this run the baseline of --check")
    parser.add_argument("--write", action="store_true", help="write docs/explanation/benchmarks.md")
    parser.add_argument("--only", metavar="A|B", help="rows whose name has A or B, and no others")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="per row and round")
    parser.add_argument(
        "--sections",
        nargs="+",
        choices=SECTIONS,
        default=_DEFAULT_SECTIONS,
        metavar="SECTION",
        help=f"out of {', '.join(SECTIONS)} (the last two take long, and are left out without a word)",
    )
    parser.add_argument(
        "--e2e",
        action="store_true",
        help="with the section versions: the end-to-end tests on each and each host as well, 6 minutes each",
    )
    return parser


def _requests(
    arguments: argparse.Namespace, directory: Path
) -> tuple[list[rounds.Result], list[report.Section]]:
    with ExitStack() as cleanup:
        redis = Redis(directory)
        cleanup.callback(redis.close)
        daemon = Daemon(directory, redis.url)
        cleanup.callback(daemon.close)
        notes = []
        every = _rows(arguments, daemon, directory, cleanup, notes)
        edges = cleanup.enter_context(rounds.running(every, directory, artifacts.envoy()))
        blocks.write(redis, rows.USERS, "b")
        gates = [row for row in every if row.is_gate]
        blocks.wait_everywhere(daemon, rows.USERS, len(gates))
        results = rounds.measure(edges, arguments.rounds, arguments.seconds, _say)
        text = "\n\n".join([report.request_cost(results), *notes])
        cost = report.Section("Cost of a request", text, report.as_json(results))
        return results, [cost, document.goals(results), inline.section(edges)]


def _rows(
    arguments: argparse.Namespace,
    daemon: Daemon,
    directory: Path,
    cleanup: ExitStack,
    notes: list[str],
) -> list[rows.Row]:
    every = rows.no_filter() + rows.envoys_own() + rows.ours(daemon)
    if arguments.only:
        parts = arguments.only.split("|")
        return [row for row in every if any(part in row.name for part in parts)]
    if arguments.quick:
        return [row for row in every if row.name in QUICK_ROWS]
    return every + _remote(daemon, directory, cleanup, notes)


def _remote(daemon: Daemon, directory: Path, cleanup: ExitStack, notes: list[str]) -> list[rows.Row]:
    cause = peers.why_not()
    if cause:
        notes.append(f"No ext_authz and no envoyproxy/ratelimit: {cause}.")
        return []
    services = peers.start(directory, rows.USERS)
    cleanup.callback(services.close)
    answering = Answering(directory / "answering", artifacts.envoy())
    cleanup.callback(answering.close)
    return rows.remote(daemon, services, answering.port)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
