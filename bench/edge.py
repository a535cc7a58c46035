"""An Envoy to be measured: usually one worker, an answer of its own, and one row's HTTP filters.

Nothing else costs anything here: no access log, no upstream, no tracing.
"""

import json
from pathlib import Path

from harness import ports
from harness.client import Connection
from harness.envoy import cluster
from harness.proc import Process, wait_until

TYPES = "type.googleapis.com/"
FILTERS = TYPES + "envoy.extensions.filters.http."


def http_filter(name: str, kind: str, **settings) -> dict:
    """One entry of `http_filters`."""
    return {"name": name, "typed_config": {"@type": FILTERS + kind, **settings}}


class Edge:
    def __init__(
        self,
        directory: Path,
        binary: Path,
        filters: list[dict],
        clusters: list[dict] = (),
        extensions: list[dict] = (),
        route: dict | None = None,
        workers: int = 1,
        *,
        more: dict | None = None,
        start: bool = True,
    ):
        """Answers 200 by itself, unless there is a `route` to a cluster. `more` are further members of Envoy's
        configuration."""
        self.port, self.admin_port = ports.free(), ports.free()
        self._directory = directory
        directory.mkdir(parents=True)
        config = self._bootstrap(filters, list(clusters), list(extensions), route or {}) | (more or {})
        path = directory / "envoy.json"
        path.write_text(json.dumps(config, indent=1))
        self._argv = [str(binary), "-c", str(path), "--concurrency", str(workers)]
        self._argv += ["--disable-hot-restart", "-l", "warning", "--drain-time-s", "1"]
        self.process: Process | None = None
        if start:
            self.start()
            self.wait_ready()

    def start(self) -> None:
        """Also once more, on the same ports, after it has been killed."""
        self.process = Process("envoy", self._argv, self._directory)

    def wait_ready(self) -> None:
        wait_until(self._ready, "Envoy to be live", timeout_s=60)

    def _bootstrap(
        self, filters: list[dict], clusters: list[dict], extensions: list[dict], route: dict
    ) -> dict:
        action = {"route": route} if route else {"direct_response": {"status": 200}}
        answer = {"match": {"prefix": "/"}, **action}
        manager = {
            "@type": TYPES + "envoy.extensions.filters.network.http_connection_manager.v3"
            ".HttpConnectionManager",
            "stat_prefix": "edge",
            "preserve_external_request_id": True,
            "generate_request_id": False,
            "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
            "http_filters": [*filters, http_filter("router", "router.v3.Router")],
        }
        chain = {"filters": [{"name": "http_connection_manager", "typed_config": manager}]}
        listener = {
            "name": "edge",
            "address": _tcp(self.port),
            # Every worker gets as many connections as every other.
            "connection_balance_config": {"exact_balance": {}},
            "filter_chains": [chain],
        }
        return {
            "node": {"id": f"bench-{self.port}", "cluster": "bench"},
            "admin": {"address": _tcp(self.admin_port)},
            "stats_flush_interval": "1s",
            "static_resources": {"listeners": [listener], "clusters": clusters},
            "bootstrap_extensions": extensions,
        }

    def _ready(self) -> bool:
        self.process.ensure_alive()
        with Connection(self.admin_port) as admin:
            return admin.get("/ready").status == 200

    def status_of(self, user: str) -> int:
        with Connection(self.port) as client:
            return client.get("/", user=user).status

    def counters(self, pattern: str) -> dict[str, int]:
        """Envoy's own counters with such names, as its admin port writes them."""
        with Connection(self.admin_port) as admin:
            text = admin.get(f"/stats?filter={pattern}").body.decode()
        pairs = (line.rpartition(": ") for line in text.splitlines())
        return {name: int(value) for name, _, value in pairs if value.isdigit()}

    def close(self) -> None:
        if self.process:
            self.process.stop(timeout_s=3)


def _tcp(port: int) -> dict:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def grpc_cluster(name: str, port: int) -> dict:
    """A cluster that speaks HTTP/2."""
    protocol = {
        "@type": TYPES + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {**cluster(name, port), "typed_extension_protocol_options": {kind: protocol}}


class Answering(Edge):
    """An upstream that costs as little as one can: an Envoy that answers by itself."""

    def __init__(self, directory: Path, binary: Path):
        super().__init__(directory, binary, [])
