"""The whole loop: client -> Envoy -> upstream, and risk engine -> (Redis) -> daemon -> Envoy."""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import plugin as plugins
from harness.daemon import Daemon
from harness.envoy import Envoy, Options
from harness.proc import kill_all, wait_until
from harness.redis_server import Redis
from harness.upstream import Upstream


@dataclass
class Stack:
    upstream: Upstream
    edge: Envoy
    daemon: Daemon | None
    redis: Redis | None

    def node(self) -> dict:
        """What the daemon says of our one Envoy process; fails while it knows none."""
        connected = [node for node in self.daemon.status()["nodes"] if node["connected"]]
        assert len(connected) == 1, connected
        return connected[0]

    def wait_synced(self, timeout_s: float = 15.0) -> None:
        """Until the filter enforces everything that the daemon knows."""

        def synced() -> bool:
            status = self.daemon.status()
            return self.node()["applied"] == status["sequence"] and self._decides()

        wait_until(synced, "the filter to be in step with the daemon", timeout_s)

    def _decides(self) -> bool:
        return self.edge.get("/public/ready").status != 503


@contextmanager
def running(
    plugin: dict | None = None,
    *,
    daemon: bool = True,
    redis: bool = False,
    daemon_settings: dict | None = None,
    daemon_env: dict[str, str] | None = None,
    wait: bool = True,
    **envoy_options,
) -> Iterator[Stack]:
    """Starts a stack and stops it again. `envoy_options` are those of `envoy.Options`."""
    with ExitStack() as cleanup:
        # Short on purpose: a Unix socket's path has 107 bytes at most.
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="pc-")))
        # Also for what has been started but never became ready.
        cleanup.callback(kill_all, directory)

        def start(part):
            cleanup.callback(part.close)
            return part

        upstream = start(Upstream())
        redis_server = start(Redis(directory)) if redis else None
        url = redis_server.url if redis_server else None
        invalidator = None
        if daemon:
            invalidator = start(Daemon(directory, url, daemon_settings, env=daemon_env))
        options = Options(
            plugin=plugin or plugins.standard(),
            upstream_port=upstream.port,
            poll_address=invalidator.poll_address if invalidator else None,
            **envoy_options,
        )
        edge = start(Envoy(directory, options))
        stack = Stack(upstream, edge, invalidator, redis_server)
        if invalidator and wait:
            stack.wait_synced()
        yield stack
