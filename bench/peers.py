"""What users would pick instead, over the network: an authorization service that asks Redis, and
envoyproxy/ratelimit. Both are Go programs, built here from pinned versions with Go's own tool.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.load import user_id
from harness import artifacts, ports
from harness.proc import Process, wait_until
from harness.redis_server import Redis

DOMAIN = "bench"
_SOURCES = artifacts.REPOSITORY / "bench/peers_go"
_BUILT = artifacts.REPOSITORY / "target/bench"
_BUILD_SECONDS_MAX = 900

# A limit that never rejects.
_ENDLESS = 1_000_000_000


@dataclass
class Peers:
    """The services, running."""

    authz_port: int
    authz_processes: list[Process]
    ratelimit_port: int
    ratelimit_processes: list[Process]
    _parts: list

    def close(self) -> None:
        for part in reversed(self._parts):
            part.close() if hasattr(part, "close") else part.kill()


def why_not() -> str | None:
    """Why the peers cannot run here; none if they can."""
    if not shutil.which("go"):
        return "Go is not installed"
    build = ["go", "build", "-o", f"{_BUILT}/", "./authz", "github.com/envoyproxy/ratelimit/src/service_cmd"]
    _BUILT.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        build, cwd=_SOURCES, capture_output=True, text=True, timeout=_BUILD_SECONDS_MAX, check=False
    )
    if done.returncode != 0:
        return "Go could not build them: " + done.stderr.strip().splitlines()[-1]
    return None


def start(directory: Path, blocked_users: int) -> Peers:
    """A Redis for each service, so that each row's cost is its own."""
    redis = _redis(directory / "authz")
    blocks = {f"blocked:{user_id(number, 'b')}": 1 for number in range(blocked_users)}
    redis.client.mset(blocks)
    port = ports.free()
    argv = [str(_BUILT / "authz"), f"127.0.0.1:{port}", f"127.0.0.1:{redis.port}"]
    authz = Process("authz", argv, directory)
    wait_until(lambda: ports.connect(port) is None, "a peer to listen", 30)
    limiter = start_ratelimit(directory, _ENDLESS)
    return Peers(
        port,
        [authz, redis.process],
        limiter.port,
        limiter.processes,
        [redis, authz, limiter],
    )


@dataclass
class Ratelimit:
    """envoyproxy/ratelimit and its Redis, running."""

    port: int
    processes: list[Process]
    _redis: Redis

    def close(self) -> None:
        self.processes[0].kill()
        self._redis.close()


def start_ratelimit(directory: Path, per_second: int) -> Ratelimit:
    """With so many requests a second for each user: it counts in whole seconds, and knows no bucket."""
    redis, port = _redis(directory / "ratelimit"), ports.free()
    config = directory / "runtime/ratelimit/config"
    config.mkdir(parents=True)
    (config / "bench.yaml").write_text(_limits(per_second))
    settings = {
        "REDIS_SOCKET_TYPE": "tcp",
        "REDIS_URL": f"127.0.0.1:{redis.port}",
        "USE_STATSD": "false",
        "LOG_LEVEL": "error",
        "RUNTIME_ROOT": str(directory / "runtime"),
        "RUNTIME_SUBDIRECTORY": "ratelimit",
        "RUNTIME_WATCH_ROOT": "false",
        "HOST": "127.0.0.1",
        "GRPC_HOST": "127.0.0.1",
        "DEBUG_HOST": "127.0.0.1",
        "GRPC_PORT": str(port),
        "PORT": str(ports.free()),
        "DEBUG_PORT": str(ports.free()),
    }
    argv, env = [str(_BUILT / "service_cmd")], {**os.environ, **settings}
    limiter = Process("ratelimit", argv, directory, env=env)
    wait_until(lambda: ports.connect(port) is None, "a peer to listen", 30)
    return Ratelimit(port, [limiter, redis.process], redis)


def _limits(per_second: int) -> str:
    """For each value of the descriptor."""
    return f"""\
domain: {DOMAIN}
descriptors:
  - key: user
    rate_limit:
      unit: second
      requests_per_unit: {per_second}
"""


def _redis(directory: Path) -> Redis:
    directory.mkdir(parents=True)
    return Redis(directory)
