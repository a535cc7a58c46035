"""The invalidator daemon, and a client of its API."""

import hashlib
import json
import os
import secrets
import subprocess
from collections.abc import Sequence
from pathlib import Path

import tomli_w

from harness import artifacts, events, ports
from harness.client import Connection, Response
from harness.proc import Process, wait_until

SECRET = "an-end-to-end-test-secret"
ROLES = ["operator", "publisher", "auditor"]


def laid_over(tables: dict, more: dict) -> dict:
    """Tables within tables, too; everything else is replaced."""
    both = {
        name: laid_over(tables[name], value)
        for name, value in more.items()
        if isinstance(value, dict) and isinstance(tables.get(name), dict)
    }
    return {**tables, **more, **both}


def new_token() -> str:
    """A token for the API, as `portcullis token new` makes them."""
    return f"pct_{secrets.token_urlsafe(32)}"


def token_entry(name: str, role: str, token: str, **more) -> dict:
    """An entry of `api.tokens`: the daemon knows only the hash."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    return {"name": name, "role": role, "hash": f"sha256:{digest}", **more}


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
        self.store = directory / "store"
        self.poll_socket = directory / "poll.sock"
        self.tokens = {role: new_token() for role in ROLES}
        # For command lines, whoever starts them.
        self.token_file = directory / "operator.token"
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(self.tokens["operator"])
        callers = [token_entry(role, role, token) for role, token in self.tokens.items()]
        tables = {
            "api": {"listen": f"127.0.0.1:{self.port}", "ack_timeout": "2s", "tokens": callers},
            "poll": {"listen": f"unix:{self.poll_socket}", "secret": SECRET},
            "sources": {"redis": {"url": redis_url}} if redis_url else {},
            "store": {"directory": str(self.store)},
            "log": {"format": "json", "level": "info"},
        }
        tables = laid_over(tables, settings or {})
        self.poll_address = tables["poll"]["listen"]
        self.config = directory / "portcullis.toml"
        self.config.write_text(tomli_w.dumps({k: v for k, v in tables.items() if v}))
        self.process: Process | None = None
        if start:
            self.start()

    def start(self, wait: bool = True, more: Sequence[str] = ()) -> None:
        argv = [str(artifacts.daemon()), "run", "--config", str(self.config), *more]
        self.process = Process("portcullis", argv, self._directory, self._env)
        if wait:
            wait_until(self._answers, "the daemon to answer")

    def _answers(self) -> bool:
        self.process.ensure_alive()
        return self.get("/healthz").status == 200

    def bearer(self, role: str = "operator") -> str:
        """What a caller of this role sends as `Authorization`."""
        return f"Bearer {self.tokens[role]}"

    def get(self, path: str, role: str = "operator") -> Response:
        with Connection(self.port) as api:
            return api.get(path, authorization=self.bearer(role))

    def post(
        self,
        body: dict | bytes,
        content_type: str | None = "application/json",
        role: str = "operator",
    ) -> Response:
        """Any body, any answer."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content_type": content_type, "authorization": self.bearer(role)}
        with Connection(self.port) as api:
            return api.request("POST", "/v1/invalidations", raw, **headers)

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
        env = {
            **os.environ,
            "PORTCULLIS_API": f"http://127.0.0.1:{self.port}",
            "PORTCULLIS_TOKEN_FILE": str(self.token_file),
        }
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
