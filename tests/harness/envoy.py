"""A real Envoy: builds its configuration, starts it, asks its admin port."""

import dataclasses
import json
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from harness import artifacts, hosts, ports
from harness.client import Connection, Response
from harness.daemon import samples
from harness.hosts import Host
from harness.proc import Process, wait_until

_TYPES = hosts.TYPES
_FILTERS = _TYPES + "envoy.extensions.filters.http."
# Some ticks of the filter, with which its counts come.
_SETTLED_S = 0.2


@dataclass
class Options:
    """What a test may choose about an Envoy."""

    plugin: dict
    upstream_port: int
    poll_address: str | None = None  # as in the daemon's configuration
    singleton: bool = True  # polls, where workers would have to
    concurrency: int = 2
    body_callbacks: bool = True  # while headers are held, which signatures need
    struct: bool = False  # plugin configuration as a Struct, not as a JSON string
    module: Path | None = None  # another than the host's
    host: Host = field(default_factory=hosts.chosen)  # of the gate
    filters_before: list[dict] = field(default_factory=list)  # HTTP filters such as jwt_authn
    port: int | None = None  # free ones, if none is given
    admin_port: int | None = None
    normalize: bool = True  # paths, before any filter sees them
    plain_port: int | None = None  # of another listener, the same without the filter
    lds: Path | None = None  # the file that listeners come from, so that they can change
    upstream_http2: bool = False  # which gRPC needs
    upstream_trailers: bool = False  # whether the upstream gets trailers, also over HTTP/1.1
    drain_s: int = 1  # how long connections last that a change of their listener leaves
    memory: str = "portcullis"  # gates that have the same share it
    trusted_hops: int = 0  # proxies before Envoy whose x-forwarded-for is believed
    second_gate: dict | None = None  # the plugin configuration of another gate after the first
    routes: list[dict] | None = None  # instead of one that sends everything upstream
    arguments: list[str] = field(default_factory=list)  # more of them, on the command line
    hot_restart: bool = False  # whether a process may take over from the one before
    aside: dict[int, Host] = field(default_factory=dict)  # ports of more listeners, on these hosts
    upgrades: list[str] = field(default_factory=list)  # such as CONNECT
    early_mutations: list[dict] = field(default_factory=list)  # of headers, before any filter


def _address(address: str | int) -> dict:
    if isinstance(address, str) and address.startswith("unix:"):
        return {"pipe": {"path": address.removeprefix("unix:")}}
    host, _, port = str(address).rpartition(":")
    return {"socket_address": {"address": host or "127.0.0.1", "port_value": int(port)}}


def cluster(name: str, address: str | int) -> dict:
    endpoint = {"endpoint": {"address": _address(address)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _upstream(options: Options) -> dict:
    upstream = cluster("upstream", options.upstream_port)
    protocol = {"http2_protocol_options": {}} if options.upstream_http2 else {}
    if options.upstream_trailers:
        protocol = {"http_protocol_options": {"enable_trailers": True}}
    if protocol:
        name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        settings = {"@type": _TYPES + name, "explicit_http_config": protocol}
        upstream["typed_extension_protocol_options"] = {name: settings}
    return upstream


def _listener(name: str, port: int, access_log: Path, filters: list[dict], options: Options) -> dict:
    normalize = options.normalize
    router = {"name": "router", "typed_config": {"@type": _FILTERS + "router.v3.Router"}}
    line = {
        "user": "%REQ(x-user-id)%",
        "path": "%REQ(:path)%",
        "status": "%RESPONSE_CODE%",
        "details": "%RESPONSE_CODE_DETAILS%",
        "shadow": options.host.shadow,
        "partner": "%REQ(x-portcullis-partner)%",
        "key": "%REQ(x-portcullis-key-id)%",
    }
    log = {
        "name": "file",
        "typed_config": {
            "@type": _TYPES + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(access_log),
            "log_format": {"json_format": line},
        },
    }
    routes = options.routes or [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}]
    manager = {
        "@type": _TYPES + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "use_remote_address": True,
        "xff_num_trusted_hops": options.trusted_hops,
        "early_header_mutation_extensions": options.early_mutations,
        "upgrade_configs": [{"upgrade_type": one} for one in options.upgrades],
        # A partner's X-Request-Id is signed: Envoy must neither replace it nor mark it.
        "preserve_external_request_id": True,
        "http_protocol_options": {"enable_trailers": True},
        "request_id_extension": {
            "typed_config": {
                "@type": _TYPES + "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                "pack_trace_reason": False,
            }
        },
        # Without these `/withdraw/../bet` would be matched as it is written.
        "normalize_path": normalize,
        "merge_slashes": normalize,
        "path_with_escaped_slashes_action": ("UNESCAPE_AND_FORWARD" if normalize else "KEEP_UNCHANGED"),
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "access_log": [log],
        "http_filters": [*filters, router],
    }
    return {
        "name": name,
        "address": _address(port),
        # New connections go to the worker with the fewest: a few reach every worker.
        "connection_balance_config": {"exact_balance": {}},
        "filter_chains": [{"filters": [{"name": "http_connection_manager", "typed_config": manager}]}],
    }


def bootstrap(port: int, admin_port: int, access_log: Path, options: Options) -> dict:
    host, gate = options.host, hosts.gate_of(options)
    filters = [*options.filters_before, host.http_filter(gate)]
    if options.second_gate is not None:
        second = dataclasses.replace(gate, plugin=options.second_gate)
        filters.append(host.http_filter(second, "portcullis-again"))
    listeners = [_listener("edge", port, access_log, filters, options)]
    if options.plain_port:
        before = options.filters_before
        plain = _listener("plain", options.plain_port, access_log, before, options)
        listeners.append(plain)
    for other_port, other in options.aside.items():
        chain = [*options.filters_before, other.http_filter(gate)]
        listeners.append(_listener(f"aside-{other_port}", other_port, access_log, chain, options))
    config = {
        "node": {"id": hosts.NODE, "cluster": "portcullis-tests"},
        "admin": {"address": _address(admin_port)},
        "static_resources": {
            "listeners": listeners,
            "clusters": [_upstream(options)],
        },
    }
    if options.lds:
        del config["static_resources"]["listeners"]
        # Renamed into place, which Envoy watches for.
        draft = options.lds.with_suffix(".new")
        resources = [{"@type": _TYPES + "envoy.config.listener.v3.Listener", **one} for one in listeners]
        draft.write_text(json.dumps({"resources": resources}))
        draft.rename(options.lds)
        config["dynamic_resources"] = {"lds_config": {"path_config_source": {"path": str(options.lds)}}}
    if options.poll_address:
        config["static_resources"]["clusters"].append(cluster("portcullis_invalidator", options.poll_address))
    if options.poll_address and options.singleton:
        config["bootstrap_extensions"] = host.poller(gate)
    return config


def validate(config: Path) -> subprocess.CompletedProcess:
    """`envoy --mode validate`: exit code 0 if Envoy would take this configuration."""
    argv = [str(artifacts.envoy()), "--mode", "validate", "-c", str(config), "-l", "warning"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


class Envoy:
    def __init__(self, directory: Path, options: Options, *, start: bool = True):
        self._directory = directory
        self.options = options
        self.port = options.port or ports.free()
        self.admin_port = options.admin_port or ports.free()
        self.access_log = directory / "access.log"
        self.config = directory / "envoy.json"
        config = bootstrap(self.port, self.admin_port, self.access_log, options)
        self.config.write_text(json.dumps(config, indent=1))
        self.process: Process | None = None
        # What processes that take over from each other have in common, and how often that was.
        self._base_id, self._epoch = self.port, 0
        if start:
            self.start()

    def start(self, wait: bool = True) -> None:
        argv = [str(artifacts.envoy()), "-c", str(self.config)]
        argv += ["--concurrency", str(self.options.concurrency)]
        argv += ["-l", "warning", "--component-log-level", f"{self.options.host.logger}:info"]
        argv += ["--file-flush-interval-msec", "20", "--drain-time-s", str(self.options.drain_s)]
        if self.options.hot_restart:
            argv += ["--base-id", str(self._base_id), "--restart-epoch", str(self._epoch)]
            argv += ["--parent-shutdown-time-s", str(2 * self.options.drain_s)]
        else:
            argv += ["--disable-hot-restart"]
        argv += self.options.arguments
        self.process = Process("envoy", argv, self._directory)
        if wait:
            wait_until(self._ready, "Envoy to be live", timeout_s=30)

    def take_over(self) -> Process:
        """Starts another process that takes over from the one that runs, which is returned."""
        before, self._epoch = self.process, self._epoch + 1
        self.start(wait=False)
        wait_until(
            lambda: (
                int(self.admin("/server_info").json()["command_line_options"]["restart_epoch"]) == self._epoch
            ),
            "the new process to take over",
            timeout_s=30,
        )
        return before

    def move(self, host: Host) -> None:
        """To another host of the gate, from the next start on."""
        self.options = dataclasses.replace(self.options, host=host)
        config = bootstrap(self.port, self.admin_port, self.access_log, self.options)
        self.config.write_text(json.dumps(config, indent=1))

    def change(self, **options) -> None:
        """Changes the listener while Envoy runs: the old one goes on with its connections until they
        are drained."""
        changed = "listener_manager.listener_(in_place_updated|added)"
        before = self._stat(changed)
        self.options = dataclasses.replace(self.options, **options)
        bootstrap(self.port, self.admin_port, self.access_log, self.options)
        wait_until(lambda: self._stat(changed) > before, "Envoy to take the new listener")

    def try_to_change(self, **options) -> None:
        """Offers a listener that Envoy has to refuse."""
        refused = "listener_manager.lds.update_rejected"
        before = self._stat(refused)
        changed = dataclasses.replace(self.options, **options)
        bootstrap(self.port, self.admin_port, self.access_log, changed)
        wait_until(lambda: self._stat(refused) > before, "Envoy to refuse the new listener")

    def _stat(self, name: str) -> int:
        """The sum of the counters with such names."""
        lines = self.admin(f"/stats?filter=^{quote(name)}$").body.decode().splitlines()
        return sum(int(line.rpartition(": ")[2]) for line in lines)

    def _ready(self) -> bool:
        self.process.ensure_alive()
        return self.admin("/ready").status == 200

    def admin(self, path: str) -> Response:
        with Connection(self.admin_port) as admin:
            return admin.get(path)

    def connect(self, source_ip: str = "127.0.0.1") -> Connection:
        return Connection(self.port, source_ip)

    def get(self, path: str = "/", user: str | None = None, **headers) -> Response:
        """One request on a connection of its own."""
        return self.request("GET", path, x_user_id=user, **headers)

    def request(self, method: str, path: str, body: bytes | None = None, **headers) -> Response:
        with self.connect() as connection:
            return connection.request(method, path, body, **headers)

    def every_worker(self) -> list[Connection]:
        """Open connections that together reach every worker, which Envoy's counters prove."""
        before = self._connections_by_worker()
        connections = [self.connect() for _ in range(4 * self.options.concurrency)]
        for connection in connections:
            connection.get("/public/reach")
        after = self._connections_by_worker()
        missed = [name for name, total in after.items() if total == before.get(name, 0)]
        assert len(after) == self.options.concurrency and not missed, (before, after)
        return connections

    def _connections_by_worker(self) -> dict[str, int]:
        text = self.admin("/stats?filter=listener.*worker_.*downstream_cx_total").body.decode()
        pairs = (line.rpartition(": ") for line in text.splitlines())
        return {name: int(value) for name, _, value in pairs}

    def metrics(self) -> dict[str, float]:
        return self.options.host.samples(samples(self.admin("/stats/prometheus").body.decode()))

    def metric(self, name: str) -> float:
        """The sum over all label sets of one counter; 0 while it has never been counted. What
        workers have counted since their last tick is not in it yet."""
        return sum(v for k, v in self.metrics().items() if k.partition("{")[0] == name)

    def settled_metric(self, name: str) -> float:
        """The counter once it has stood still for some ticks."""
        value, since = self.metric(name), time.monotonic()

        def settled() -> bool:
            nonlocal value, since
            now = self.metric(name)
            if now != value:
                value, since = now, time.monotonic()
            return time.monotonic() - since > _SETTLED_S

        wait_until(settled, f"{name} to stand still")
        return value

    def wait_metric(self, name: str, value: float) -> None:
        """Until the counter has this value."""

        def reached() -> bool:
            assert (now := self.metric(name)) == value, now
            return True

        wait_until(reached, f"{name} to be {value}")

    def access_log_of(self, user: str, requests: int = 1) -> list[dict]:
        """The user's access log lines, once there are as many as `requests`."""

        def lines() -> list[dict]:
            entries = [json.loads(line) for line in self.access_log.read_text().splitlines()]
            mine = [entry for entry in entries if entry["user"] == user]
            return mine if len(mine) >= requests else []

        return wait_until(lines, f"{requests} access log lines of {user}")

    def close(self) -> None:
        self.process.stop(timeout_s=3)
