"""Load from wrk: bounded in time and in connections, to loopback only."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = Path(__file__).with_name("requests.lua")
_SPARE_S = 30  # for wrk to prepare its requests and to end


@dataclass(frozen=True)
class Load:
    """What one wrk run sends."""

    arguments: tuple[str, ...]
    connections: int = 16


@dataclass(frozen=True)
class Run:
    """What came of it."""

    requests: int
    duration_s: float
    rejected: int  # answers that are not 2xx
    failed: int  # no answer at all
    p50_us: int
    p99_us: int
    p999_us: int

    @property
    def per_second(self) -> float:
        return self.requests / self.duration_s


def users(count: int, distribution: str = "uniform", prefix: str = "u", **options) -> Load:
    """GETs of one user out of `count` each."""
    return Load(("users", distribution, str(count), prefix), **options)


def user_id(number: int, prefix: str = "u") -> str:
    """As the script writes it."""
    return f"{prefix}{number:07d}"


def run(port: int, load: Load, seconds: float) -> Run:
    argv = ["wrk", "--threads", "1", "--connections", str(load.connections)]
    argv += ["--duration", f"{max(1, round(seconds))}s", "--timeout", "10s"]
    argv += ["--script", str(_SCRIPT), f"http://127.0.0.1:{port}/", "--", *load.arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + _SPARE_S, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"requests"')]
    if done.returncode != 0 or not lines:
        raise RuntimeError(f"wrk failed: {done.stdout}{done.stderr}")
    figures = json.loads(lines[-1])
    return Run(
        requests=figures["requests"],
        duration_s=figures["duration_us"] / 1e6,
        rejected=figures["not_2xx"],
        failed=figures["failed"],
        p50_us=figures["p50_us"],
        p99_us=figures["p99_us"],
        p999_us=figures["p999_us"],
    )
