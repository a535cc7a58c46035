"""Where the things under test are. Each can be replaced by an environment variable."""

import functools
import os
import re
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def _artifact(variable: str, default: Path | str | None) -> Path:
    chosen = os.environ.get(variable) or default
    if chosen is None or not Path(chosen).exists():
        missing = chosen or f"what {variable} names"
        raise FileNotFoundError(f"{missing} is missing: run scripts/build, or set {variable}")
    return Path(chosen)


def wasm() -> Path:
    return _artifact("PORTCULLIS_WASM", REPOSITORY / "target/portcullis.wasm")


def native() -> Path:
    """The dynamic module."""
    return _artifact("PORTCULLIS_NATIVE", REPOSITORY / "target/libportcullis.so")


def trap_native() -> Path:
    """The same of the dynamic module; a request with the header `x-test-panic` panics besides."""
    return _artifact("PORTCULLIS_TRAP_NATIVE", REPOSITORY / "target/libportcullis-trap.so")


def trap_wasm() -> Path:
    """The test-only build: a change with the reason `test-trap` panics the VM that applies it."""
    return _artifact("PORTCULLIS_TRAP_WASM", REPOSITORY / "target/portcullis-trap.wasm")


def daemon() -> Path:
    return _artifact("PORTCULLIS_BIN", REPOSITORY / "target/release/portcullis")


def _installed(variable: str, program: str) -> Path:
    in_project = REPOSITORY / ".venv/bin" / program
    return _artifact(variable, in_project if in_project.exists() else shutil.which(program))


def envoy() -> Path:
    return _installed("ENVOY_BIN", "envoy")


@functools.cache
def envoy_version() -> tuple[int, int]:
    """Major and minor number of the Envoy under test."""
    told = subprocess.run([str(envoy()), "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = re.search(r"/(\d+)\.(\d+)\.\d+", told).groups()
    return int(major), int(minor)


def k6() -> Path:
    return _installed("K6_BIN", "k6")


def promtool() -> Path:
    return _installed("PROMTOOL_BIN", "promtool")


def redis() -> Path:
    return _artifact("REDIS_SERVER_BIN", shutil.which("redis-server"))


def faketime() -> Path:
    """The library that, loaded before a program, shows it another time of day."""
    found = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
    return _artifact("FAKETIME_LIB", found)
