"""A real Redis of our own, without persistence."""

import json
from pathlib import Path

import redis

from harness import artifacts, ports
from harness.proc import Process, wait_until


class Redis:
    CHANNEL = "portcullis.invalidations"

    def __init__(self, directory: Path):
        self._directory = directory
        self.port = ports.free()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        argv = [str(artifacts.redis()), "--port", str(self.port), "--bind", "127.0.0.1"]
        argv += ["--save", "", "--appendonly", "no"]
        self.process = Process("redis", argv, self._directory)
        self.client = redis.Redis(port=self.port)
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
