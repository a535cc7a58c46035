"""A real Redis of our own, without persistence unless it is asked for."""

import json
from pathlib import Path

import redis

from harness import artifacts, ports
from harness.proc import Process, wait_until


class Redis:
    CHANNEL = "portcullis.invalidations"

    def __init__(self, directory: Path, options: list[str] | None = None, *, start: bool = True):
        """`options` are those of redis-server's command line."""
        self._directory = directory
        self._options = options or ["--appendonly", "no"]
        self.port = ports.free()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.client = redis.Redis(port=self.port)
        self.process: Process | None = None
        if start:
            self.start()

    def start(self, wait: bool = True) -> None:
        argv = [str(artifacts.redis()), "--port", str(self.port), "--bind", "127.0.0.1"]
        argv += ["--save", "", *self._options]
        self.process = Process("redis", argv, self._directory)
        if wait:
            wait_until(self._answers, "Redis to answer")

    def _answers(self) -> bool:
        self.process.ensure_alive()
        try:
            return self.client.ping()
        except redis.ConnectionError:
            return False

    def publish(self, event: dict | bytes) -> int:
        """How many subscribers got it."""
        message = event if isinstance(event, bytes) else json.dumps(event).encode()
        return self.client.publish(self.CHANNEL, message)

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        self.process.kill()
