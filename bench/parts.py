"""What a section starts for itself, and what stops with it."""

from contextlib import ExitStack
from pathlib import Path

from bench import rows
from bench.edge import Edge
from harness import artifacts
from harness.daemon import Daemon
from harness.hosts import Host
from harness.proc import wait_until
from harness.redis_server import Redis


class Parts:
    """Everything that was started here stops when the `with` ends, the last first."""

    def __init__(self, directory: Path):
        # Short names on purpose: a Unix socket's path has 107 bytes at most.
        self._directory, self._count = directory, 0
        self._cleanup = ExitStack()

    def _new(self) -> Path:
        self._count += 1
        return self._directory / f"{self._count}"

    def stop(self, part) -> None:
        """Lets `part` be closed at the end, too."""
        self._cleanup.callback(part.close)

    def redis(self) -> Redis:
        directory = self._new()
        directory.mkdir(parents=True)
        redis = Redis(directory)
        self.stop(redis)
        return redis

    def daemon(self, redis: Redis | None, settings: dict | None = None) -> Daemon:
        directory = self._new()
        directory.mkdir(parents=True)
        daemon = Daemon(directory, redis.url if redis else None, settings)
        self.stop(daemon)
        return daemon

    def gate(
        self, daemon: Daemon, config: dict | None = None, workers: int = 1, host: Host | None = None
    ) -> Edge:
        """An Envoy with our filter that polls this daemon, on the host that was chosen if none is given."""
        row = rows.gate("gate", daemon, rows.uniform(), host, config=config)
        binary = artifacts.envoy()
        edge = Edge(self._new(), binary, row.filters, row.clusters, row.extensions, workers=workers)
        self.stop(edge)
        return edge

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *_) -> None:
        self._cleanup.close()


def wait_synced(daemon: Daemon, envoys: int = 1, timeout_s: float = 60) -> None:
    """Until so many Envoys enforce everything that the daemon knows."""

    def synced() -> bool:
        nodes = daemon.status()["nodes"]
        return sum(node["synced"] and not node["lag"] for node in nodes) >= envoys

    wait_until(synced, f"{envoys} Envoys to be in step", timeout_s, 0.02)
