"""The rows of the request-cost table: what stands between client and answer, and what is sent."""

from collections.abc import Callable
from dataclasses import dataclass, field

from bench import edge, load, peers, signed
from harness import envoy as envoys
from harness import hosts
from harness.daemon import SECRET, Daemon
from harness.hosts import Host

USERS = 10_000
MANY_USERS = 1_000_000
# Never empty: a row of rejections has its own name.
ENDLESS = {"max_tokens": 1_000_000, "tokens_per_fill": 1_000_000, "fill_interval": "1s"}
LARGE_BODY = 64 * 1024
SMALL_BODY = 1024
BODY_MAX = 128 * 1024
ROUTE = {"cluster": "answering"}
# What makes a descriptor of the user, for Envoy's own limiters.
USER_ACTION = {"request_headers": {"header_name": "x-user-id", "descriptor_key": "user"}}


@dataclass
class Row:
    """One line of the table."""

    name: str
    filters: list[dict]
    load: Callable[[], load.Load]  # made anew for each round
    rejected: bool = False  # every request is rejected, as it should be
    clusters: list[dict] = field(default_factory=list)
    extensions: list[dict] = field(default_factory=list)
    route: dict = field(default_factory=dict)
    beside: list = field(default_factory=list)  # processes that work for each request, too
    is_gate: bool = False  # ours, which polls
    baseline: str = "no filter"  # whose cost is taken off to tell the added one


def uniform(users: int = USERS, **options) -> Callable[[], load.Load]:
    return lambda: load.users(users, **options)


def buffer() -> dict:
    """Envoy's own way to wait for a whole body."""
    return edge.http_filter("buffer", "buffer.v3.Buffer", max_request_bytes=BODY_MAX)


def no_filter() -> list[Row]:
    return [
        Row("no filter", [], uniform()),
        # The same requests as those that are verified: their headers are not the gate's cost.
        Row("buffer, 1 KiB body", [buffer()], signed.requests(SMALL_BODY)),
        Row("buffer, 64 KiB body", [buffer()], signed.requests(LARGE_BODY)),
    ]


# ---- Envoy's own local rate limit --------------------------------------------------------------


def _local_ratelimit(max_tokens: int, fill: str, dynamic_max: int) -> dict:
    bucket = {"max_tokens": max_tokens, "tokens_per_fill": max_tokens, "fill_interval": fill}
    return local_ratelimit(bucket, dynamic_max)


def local_ratelimit(bucket: dict, dynamic_max: int, **more) -> dict:
    """Such a bucket for each user, of whom there are so many at most; `more` are further settings."""
    # A descriptor without a value stands for every value: a bucket for each user.
    descriptor = {"entries": [{"key": "user"}], "token_bucket": bucket}
    everything = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return edge.http_filter(
        "local_ratelimit",
        "local_ratelimit.v3.LocalRateLimit",
        stat_prefix="local",
        token_bucket={"max_tokens": 4_000_000_000, "tokens_per_fill": 1, "fill_interval": "1s"},
        filter_enabled=everything,
        filter_enforced=everything,
        descriptors=[descriptor],
        max_dynamic_descriptors=dynamic_max,
        rate_limits=[{"actions": [USER_ACTION]}],
        **more,
    )


def envoys_own() -> list[Row]:
    few = _local_ratelimit(4_000_000_000, "1s", 2 * USERS)
    many = _local_ratelimit(4_000_000_000, "1s", 2 * MANY_USERS)
    empty = _local_ratelimit(1, "86400s", 2 * USERS)
    return [
        Row("local_ratelimit", [few], uniform()),
        Row("local_ratelimit, rejects", [empty], uniform(), rejected=True),
        Row("local_ratelimit, 1,000,000 users", [many], uniform(MANY_USERS)),
    ]


# ---- ours --------------------------------------------------------------------------------------


# A node reports each user who asks again after a quarter of the time in which the bucket fills.
FLEET_LIMIT = {
    "name": "fleet-wide",
    "key": "user",
    **ENDLESS,
    "fill_interval": "60s",
    "fleet": {"on_loss": "local"},
}


def _limit(name: str, key: str | dict = "user") -> dict:
    return {"name": name, "key": key, **ENDLESS}


def plugin(**changes) -> dict:
    """A block check and a bucket for each user."""
    return {
        "identity": {"user": [{"header": "x-user-id"}], "missing_user": "deny"},
        "limits": [_limit("per-user")],
        "responses": {"ratelimit_headers": "on_reject"},
        "invalidator": {
            "cluster": "portcullis_invalidator",
            "secret": SECRET,
            "stale_after": "5s",
        },
        "fail_policy": {
            "never_synced": "deny",
            "stale": "deny",
            "slab_full": "deny",
            "contention": "deny",
        },
        "storage": {"slab_bytes_max": 4096},
        # What it costs to know of them has a row of its own.
        "blocks": {"open_streams": "keep"},
        **changes,
    }


def gate(name: str, daemon: Daemon, what: Callable, host: Host | None = None, **options) -> Row:
    """A row with our filter, on the host that was chosen if none is given; `options` are `config`, and those of
    `Row`."""
    host, ours = host or hosts.chosen(), hosts.Gate(options.pop("config", None) or plugin())
    poll = envoys.cluster("portcullis_invalidator", daemon.poll_address)
    clusters = [poll, *options.pop("clusters", [])]
    filters, extensions = [host.http_filter(ours)], host.poller(ours)
    return Row(name, filters, what, clusters=clusters, extensions=extensions, is_gate=True, **options)


def named(name: str, host: Host) -> str:
    """A row of a gate, on this host: on that which is the default it has the name alone."""
    return name if host.name == hosts.DEFAULT else f"{host.name} {name}"


def both(name: str, daemon: Daemon, what: Callable, **options) -> list[Row]:
    """The row on each host, one beside the other."""
    return [gate(named(name, host), daemon, what, host, **options) for host in hosts.ALL.values()]


def ours(daemon: Daemon) -> list[Row]:
    headers = plugin(responses={"ratelimit_headers": "always"})
    fleet = plugin(limits=[FLEET_LIMIT])
    three = plugin(limits=[_limit("per-user"), _limit("per-minute"), _limit("per-address", "client_ip")])
    signatures = plugin(**signed.CONFIG)
    many = uniform(MANY_USERS)
    zipf = uniform(MANY_USERS, distribution="zipf")
    small, large = signed.requests(SMALL_BODY), signed.requests(LARGE_BODY)
    pairs = [
        both("gate: block check and bucket", daemon, uniform()),
        both("gate, RateLimit headers", daemon, uniform(), config=headers),
        both("gate, ends open streams", daemon, uniform(), config=plugin(blocks={"open_streams": "end"})),
        both("gate, fleet limit", daemon, uniform(), config=fleet, beside=[daemon.process]),
        both("gate, three limits", daemon, uniform(), config=three),
        both("gate, blocked users", daemon, uniform(prefix="b"), rejected=True),
        both("gate, 1,000,000 users", daemon, many),
        both("gate, 1,000,000 users, Zipf", daemon, zipf),
        both("gate, signed, 1 KiB body", daemon, small, config=signatures, baseline="buffer, 1 KiB body"),
        both("gate, signed, 64 KiB body", daemon, large, config=signatures, baseline="buffer, 64 KiB body"),
    ]
    return [row for pair in pairs for row in pair]


# ---- over the network --------------------------------------------------------------------------


LIMITED_ROUTE = {**ROUTE, "rate_limits": [{"actions": [USER_ACTION]}]}


def asking_ratelimit() -> dict:
    """Envoy's filter that asks envoyproxy/ratelimit, in the cluster `ratelimit`."""
    return edge.http_filter(
        "ratelimit",
        "ratelimit.v3.RateLimit",
        domain=peers.DOMAIN,
        timeout="1s",
        failure_mode_deny=True,
        rate_limit_service={
            "transport_api_version": "V3",
            "grpc_service": {"envoy_grpc": {"cluster_name": "ratelimit"}},
        },
    )


def remote(daemon: Daemon, services: peers.Peers, answering_port: int) -> list[Row]:
    # The rate limit filter looks at routes to clusters only, so these rows have an upstream.
    authz = edge.http_filter(
        "ext_authz",
        "ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        grpc_service={"envoy_grpc": {"cluster_name": "authz"}, "timeout": "1s"},
    )
    answering = envoys.cluster("answering", answering_port)
    common = {"baseline": "no filter, upstream"}
    return [
        Row("no filter, upstream", [], uniform(), clusters=[answering], route=ROUTE, **common),
        *both("gate, upstream", daemon, uniform(), clusters=[answering], route=ROUTE, **common),
        Row(
            "ext_authz (gRPC) asking Redis",
            [authz],
            uniform(),
            clusters=[answering, edge.grpc_cluster("authz", services.authz_port)],
            route=ROUTE,
            beside=services.authz_processes,
            **common,
        ),
        Row(
            "envoyproxy/ratelimit with Redis",
            [asking_ratelimit()],
            uniform(),
            clusters=[answering, edge.grpc_cluster("ratelimit", services.ratelimit_port)],
            route=LIMITED_ROUTE,
            beside=services.ratelimit_processes,
            **common,
        ),
    ]
