"""The limits that are compared: what stands in each node's Envoy, and what it needs beside it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from bench import edge, rows
from bench.fleet_limits import patterns
from bench.fleet_limits.limits import Case, Limit
from harness import envoy as envoys
from harness.daemon import SECRET, Daemon

FLEET, ALONE = "gate, fleet", "gate, each node alone"
LOCAL, CLUSTER = "local_ratelimit", "local_ratelimit, local_cluster_rate_limit"
REMOTE = "envoyproxy/ratelimit with Redis"

# By which it is measured how long word is under way: a bucket of its own, see `word`.
WORD = Limit(40, 1)
WORD_HEADER = "x-word"
# Of limits that are not looked at while a node is cut off.
ON_LOSS = {"on_loss": "local"}
_LOCAL_CLUSTER = "fleet"


@dataclass(frozen=True)
class Site:
    """Where a node is, and what is beside it."""

    number: int
    nodes: int
    answering_port: int
    daemon: Daemon | None = None
    ratelimit_port: int = 0


@dataclass
class Parts:
    """What is in a node's Envoy, as `bench.edge.Edge` takes it."""

    filters: list[dict]
    clusters: list[dict] = field(default_factory=list)
    extensions: list[dict] = field(default_factory=list)
    route: dict = field(default_factory=lambda: dict(rows.ROUTE))
    more: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Contender:
    """A limit in each of many Envoys."""

    name: str
    parts: Callable[[Site, Case], Parts]
    daemons: bool = False  # one beside each Envoy, and a Redis for them
    ratelimit: bool = False
    is_ours: bool = False  # the goals are about this one
    has_word: bool = False  # what `word` measures is there


# ---- ours --------------------------------------------------------------------------------------


def gate(site: Site, limits: list[dict], stale_after: str = "5s") -> Parts:
    """The filter with these limits and nothing else."""
    config = rows.plugin(
        node=f"n{site.number}",
        identity={"user": [{"header": "x-user-id"}], "missing_user": "allow"},
        limits=limits,
        invalidator={"cluster": "portcullis_invalidator", "secret": SECRET, "stale_after": stale_after},
    )
    row = rows.gate("gate", site.daemon, rows.uniform(), config=config)
    return Parts(row.filters, [*row.clusters, _answering(site)], row.extensions)


def per_user(limit: Limit, **more) -> dict:
    return {"name": "per-user", "key": "user", **limit.bucket(), **more}


def word_limit() -> dict:
    """Hardly anything comes back while it is looked at."""
    slow = {**WORD.bucket(), "fill_interval": "60s"}
    return {"name": "word", "key": {"header": WORD_HEADER}, **slow, "fleet": ON_LOSS}


def _fleet(site: Site, case: Case) -> Parts:
    return gate(site, [per_user(case.limit, fleet=ON_LOSS), word_limit()])


def _alone(site: Site, case: Case) -> Parts:
    return gate(site, [per_user(case.limit)])


# ---- Envoy's own -------------------------------------------------------------------------------


def _local(site: Site, case: Case) -> Parts:
    return Parts([rows.local_ratelimit(case.limit.bucket(), 2 * patterns.USERS)], [_answering(site)])


def _cluster(site: Site, case: Case) -> Parts:
    """Each node has its part of bucket and rate, by the number of endpoints of the cluster that Envoy itself is of.
    Here they are always as many as there are nodes; elsewhere a control plane has to say how many there are."""
    limiter = rows.local_ratelimit(case.limit.bucket(), 2 * patterns.USERS, local_cluster_rate_limit={})
    # Only their number counts, so nobody has to listen there.
    members = [{"endpoint": {"address": _tcp(f"127.0.0.{1 + number}")}} for number in range(site.nodes)]
    local = envoys.cluster(_LOCAL_CLUSTER, 1)
    local["load_assignment"]["endpoints"] = [{"lb_endpoints": members}]
    more = {"cluster_manager": {"local_cluster_name": _LOCAL_CLUSTER}}
    return Parts([limiter], [_answering(site), local], more=more)


def _tcp(address: str) -> dict:
    return {"socket_address": {"address": address, "port_value": 1}}


# ---- over the network --------------------------------------------------------------------------


def _remote(site: Site, _: Case) -> Parts:
    clusters = [_answering(site), edge.grpc_cluster("ratelimit", site.ratelimit_port)]
    return Parts([rows.asking_ratelimit()], clusters, route=rows.LIMITED_ROUTE)


def _answering(site: Site) -> dict:
    return envoys.cluster(rows.ROUTE["cluster"], site.answering_port)


EVERY = {
    contender.name: contender
    for contender in (
        Contender(FLEET, _fleet, daemons=True, is_ours=True, has_word=True),
        Contender(ALONE, _alone, daemons=True),
        Contender(LOCAL, _local),
        Contender(CLUSTER, _cluster),
        Contender(REMOTE, _remote, ratelimit=True),
    )
}
