"""What "enforced everywhere" takes: a block published with `?wait=fleet`, until its publisher is told that every Envoy
of the fleet enforces it. Once with real hosts, and once with a thousand daemons that are simulated.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import machine, report
from bench.parts import Parts, wait_synced
from harness import events
from harness.client import Connection
from harness.daemon import Daemon
from harness.proc import wait_until
from harness.redis_server import Redis

# The goals are for the last.
_HOSTS, _FENCES = (4, 32), 200
_SIMULATED, _PROCESSES = 1_000, 2
_REST_S = 10.0
# Files: three connections of each simulated daemon.
_FILES = 16_384
_GOALS = {"32 hosts": (10.0, 50.0), "4 hosts": (None, None), "simulated": (None, 250.0)}

_TEXT = """\
A block is published at one daemon with `?wait=fleet`, {fences} times, one after the other; each time is that of the
client, in milliseconds, until it is told that every Envoy enforces it. Everything is on one machine: hosts are
as many Envoys and daemons that share its cores. Of the {simulated:,} daemons one is real and has an Envoy; the others
are connections to the same Redis that register and answer as daemons do, from two processes in Python.
"""
_CPU = """\
With {hosts} hosts each block took {daemon:.2f} ms of CPU in each daemon and {envoy:.2f} ms in each Envoy, with all that
they do beside. {cores} cores need {least:.1f} ms for that; hosts of a real fleet do not share cores.
"""
_REST = """\
At rest, that is without events and questions, Redis counted for {daemons:,} daemons {client:,.0f} commands a second,
of which {register:,.0f} renew registrations; commands within scripts included, {total:,.0f}. The daemons look and ping
every {ping:g} s (`sources.redis.ping_interval`); their number makes them register every {every:g} s.
"""


def section(directory: Path, quick: bool, say: Callable[[str], None]) -> report.Section:
    """Fences of real hosts, and of simulated daemons; and what Redis does while nobody asks."""
    fences = _FENCES // 4 if quick else _FENCES
    found, rests, spent = {}, [], []
    for count in _HOSTS:
        times, cpu = _hosts(directory / f"hosts-{count}", fences, count)
        found[f"{count} hosts"] = times
        spent.append(cpu)
        say(f"fleet: {count} hosts: {_words(times)}; {cpu}")
    for ping_s in (1.0, 4.0):
        times, rest = _simulated(directory / f"ping-{ping_s:g}", fences, ping_s)
        found[f"simulated, ping {ping_s:g} s"] = times
        rests.append(rest)
        say(f"fleet: {_SIMULATED} daemons, ping {ping_s:g} s: {_words(times)}; {rest}")
    lines = [[name, *_row(name, times)] for name, times in found.items()]
    heads = ["fleet", "fences", "p50", "p99", "max", "goals p50, p99", "met"]
    text = _TEXT.format(fences=fences, simulated=_SIMULATED)
    text += "\n" + report.table(heads, lines)
    text += "".join("\n\n" + _CPU.format(**cpu) for cpu in spent)
    text += "".join("\n\n" + _REST.format(**rest) for rest in rests)
    figures = {name: {"samples_ms": times} for name, times in found.items()}
    return report.Section("Enforced everywhere", text, {**figures, "rest": rests, "cpu_ms": spent})


def _words(times: list[float]) -> str:
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100, method="inclusive")[98]
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {max(times):.1f} ms"


def _row(name: str, times: list[float]) -> list[str]:
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100, method="inclusive")[98]
    goals = _GOALS[name.split(",")[0]]
    met = all(goal is None or value <= goal for value, goal in zip((p50, p99), goals, strict=True))
    said = ", ".join("-" if goal is None else f"{goal:g}" for goal in goals)
    return [
        str(len(times)),
        f"{p50:.2f}",
        f"{p99:.2f}",
        f"{max(times):.2f}",
        said,
        "yes" if met else "**no**",
    ]


def _fences(daemon: Daemon, count: int, nodes: int) -> list[float]:
    """Blocks so many users, each everywhere. Fails if that is not said."""
    times = []
    headers = {"content_type": "application/json", "authorization": daemon.bearer()}
    with Connection(daemon.port) as api:
        for _ in range(count):
            body = json.dumps(events.event("block", events.new_user())).encode()
            start = time.perf_counter()
            answer = api.request("POST", "/v1/invalidations?wait=fleet", body, **headers)
            times.append((time.perf_counter() - start) * 1e3)
            said = answer.json()["fleet"]
            if answer.status != 200 or len(said["nodes"]) != nodes:
                raise RuntimeError(f"not enforced everywhere: {said['missing'][:3]}")
    return times


def _wait_registered(daemon: Daemon, daemons: int) -> None:
    def registered() -> bool:
        fleet = daemon.get("/v1/fleet").json()
        live = [one for one in fleet["daemons"] if one["state"] == "live"]
        return fleet["settled"] and len(live) == daemons and all(one["envoys"] for one in live)

    wait_until(registered, f"{daemons} daemons to be registered", 120, 0.5)


def _named(name: str) -> dict:
    return {"fleet": {"name": name}, "api": {"ack_timeout": "9s"}}


def _hosts(directory: Path, fences: int, count: int) -> tuple[list[float], dict]:
    with Parts(directory) as parts:
        redis = parts.redis()
        daemons = [parts.daemon(redis, _named(f"host-{number}")) for number in range(count)]
        edges = [parts.gate(daemon) for daemon in daemons]
        for daemon in daemons:
            wait_synced(daemon)
        _wait_registered(daemons[0], count)
        _fences(daemons[0], 10, count)

        def spent(processes: list) -> float:
            return sum(machine.process_cpu_ns(one.process.pid) for one in processes)

        before = spent(daemons), spent(edges)
        times = _fences(daemons[0], fences, count)
        each = count * fences * 1e6
        daemon, envoy = (spent(daemons) - before[0]) / each, (spent(edges) - before[1]) / each
        cores = os.cpu_count() or 1
        least = (daemon + envoy) * count / cores
        return times, {"hosts": count, "daemon": daemon, "envoy": envoy, "cores": cores, "least": least}


def _simulated(directory: Path, fences: int, ping_s: float) -> tuple[list[float], dict]:
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (_FILES, max(_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    )
    with Parts(directory) as parts:
        redis = parts.redis()
        daemon = parts.daemon(redis, _named("real"))
        parts.gate(daemon)
        wait_synced(daemon)
        with _running(redis.port, ping_s):
            _wait_registered(daemon, _SIMULATED)
            _fences(daemon, 10, _SIMULATED)
            times = _fences(daemon, fences, _SIMULATED)
            return times, _rest(redis, ping_s)


@contextmanager
def _running(port: int, ping_s: float) -> Iterator[None]:
    """One less than there are: the real one counts as well."""
    share = (_SIMULATED - 1) // _PROCESSES
    shares = [share] * (_PROCESSES - 1) + [_SIMULATED - 1 - share * (_PROCESSES - 1)]
    processes, first = [], 1
    try:
        for count in shares:
            words = map(str, (port, first, count, ping_s, _SIMULATED))
            argv = [sys.executable, "-m", "bench.daemons", *words]
            pipe = subprocess.PIPE
            processes.append(subprocess.Popen(argv, stdin=pipe, stdout=pipe))
            first += count
        for process in processes:
            if process.stdout.readline() != b"ready\n":
                raise RuntimeError("the simulated daemons do not start")
        yield
    finally:
        for process in processes:
            process.stdin.close()
            process.wait(10)


def _counts(redis: Redis) -> dict[str, float]:
    stats = redis.client.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): value["calls"] for name, value in stats.items()}
    client = sum(calls.get(name, 0) for name in ("evalsha", "xread", "ping", "blpop"))
    total = redis.client.info("stats")["total_commands_processed"]
    # Only the script of registrations asks for several fields of one hash and sets some while nothing happens.
    return {"client": client, "total": max(total, sum(calls.values())), "register": calls.get("hset", 0) / 2}


def _rest(redis: Redis, ping_s: float) -> dict:
    before, start = _counts(redis), time.monotonic()
    time.sleep(_REST_S)
    after, passed = _counts(redis), time.monotonic() - start
    rates = {name: (after[name] - before[name]) / passed for name in before}
    return {**rates, "daemons": _SIMULATED, "ping": ping_s, "every": max(1.0, _SIMULATED / 250)}
