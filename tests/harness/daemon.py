"""The invalidator daemon, and a client of its API."""

import json
import os
import subprocess
from pathlib import Path

from harness import artifacts, events, ports
from harness.client import Connection, Response
from harness.proc import Process, wait_until

SECRET = "an-end-to-end-test-secret"


def toml(tables: dict) -> str:
    """Nested dicts of strings, numbers, booleans: JSON's scalars are TOML's too."""
    lines = []
    for name, table in tables.items():
        plain = {k: v for k, v in table.items() if not isinstance(v, dict)}
        nested = {f"{name}.{k}": v for k, v in table.items() if isinstance(v, dict)}
        if plain or not nested:
            lines += [f"[{name}]", *(f"{k} = {json.dumps(v)}" for k, v in plain.items()), ""]
        lines.append(toml(nested) if nested else "")
    return "\n".join(lines)


class Daemon:
    def __init__(
        self,
        directory: Path,
        redis_url: str | None = None,
        settings: dict | None = None,
        port: int | None = None,
        *,
        env: dict[str, str] | None = None,
        start: bool = True,
    ):
        """`settings` is laid over the usual configuration, table by table; `env` over ours."""
        self._directory = directory
        self._env = {**os.environ, **(env or {})}
        self.port = port or ports.free()
        self.poll_socket = directory / "poll.sock"
        tables = {
            "api": {"listen": f"127.0.0.1:{self.port}", "ack_timeout": "2s"},
            "poll": {"listen": f"unix:{self.poll_socket}", "secret": SECRET},
            "sources": {"redis": {"url": redis_url}} if redis_url else {},
            "store": {"directory": str(directory / "store")},
            "log": {"format": "json", "level": "info"},
        }
        for name, table in (settings or {}).items():
            tables[name] = {**tables.get(name, {}), **table}
        self.poll_address = tables["poll"]["listen"]
        self.config = directory / "portcullis.toml"
        self.config.write_text(toml({k: v for k, v in tables.items() if v}))
        self.process: Process | None = None
        if start:
            self.start()

    def start(self, wait: bool = True) -> None:
        argv = [str(artifacts.daemon()), "run", "--config", str(self.config)]
        self.process = Process("portcullis", argv, self._directory, self._env)
        if wait:
            wait_until(self._answers, "the daemon to answer")

    def _answers(self) -> bool:
        self.process.ensure_alive()
        return self.get("/healthz").status == 200

    def get(self, path: str) -> Response:
        with Connection(self.port) as api:
            return api.get(path)

    def post(self, body: dict | bytes, content_type: str | None = "application/json") -> Response:
        """Any body, any answer."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        with Connection(self.port) as api:
            return api.request("POST", "/v1/invalidations", raw, content_type=content_type)

    def publish(self, event: dict) -> dict:
        """A good event. Returns the receipt after every node has acknowledged."""
        answer = self.post(event)
        assert answer.status == 200, (answer.status, answer.body)
        receipt = answer.json()
        assert receipt["enforced"] is True, receipt
        return receipt

    def block(self, user: str | None = None, **options) -> dict:
        return self.publish(events.event("block", user, **options))

    def unblock(self, user: str | None = None, **options) -> dict:
        return self.publish(events.event("unblock", user, **options))

    def zero(self, user: str | None = None, **options) -> dict:
        return self.publish(events.event("zero", user, **options))

    def override(self, user: str | None = None, **limit) -> dict:
        return self.publish(events.event("override", user, limit=limit))

    def status(self) -> dict:
        return self.get("/v1/status").json()

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics: `name{labels}` -> value."""
        return samples(self.get("/metrics").body.decode())

    def cli(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess:
        """The command line client, pointed at this daemon."""
        env = {**os.environ, "PORTCULLIS_API": f"http://127.0.0.1:{self.port}"}
        argv = [str(artifacts.daemon()), *arguments]
        return subprocess.run(
            argv, input=stdin, env=env, capture_output=True, text=True, timeout=30, check=False
        )

    def close(self) -> None:
        self.process.stop()


def samples(exposition: str) -> dict[str, float]:
    """Parses Prometheus text: `name{labels}` -> value."""
    lines = (line for line in exposition.splitlines() if line and not line.startswith("#"))
    pairs = (line.rpartition(" ") for line in lines)
    return {name: float(value) for name, _, value in pairs}
