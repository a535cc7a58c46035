"""Many nodes on this machine: an Envoy each, with a daemon of its own, on one Redis, before one upstream."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import peers
from bench.edge import Answering, Edge
from bench.fleet_limits.contenders import Contender, Parts, Site
from bench.fleet_limits.limits import Case
from harness import artifacts
from harness.daemon import Daemon
from harness.proc import wait_until
from harness.redis_server import Redis

# All start at once, and each Envoy compiles the module.
_START_TIMEOUT_S = 180.0
_REPORTS = "portcullis_fleet_reports_total"
_COUNTER = "http.edge.downstream_rq_2xx"


@dataclass(frozen=True)
class Setup:
    """What each node is made of."""

    parts: Callable[[Site], Parts]
    daemons: bool = False  # one for each node, and a Redis
    ratelimit_per_second: int = 0  # envoyproxy/ratelimit with such a limit, if there is one
    workers: int = 2  # of each Envoy


@dataclass
class Node:
    """An Envoy, and the daemon beside it if there is one."""

    number: int
    edge: Edge
    daemon: Daemon | None

    def decides(self) -> bool:
        """Whether it answers by its limit, and not since it lacks something."""
        for part in (self.edge, self.daemon):
            if part:
                part.process.ensure_alive()
        return self.edge.status_of("ready") == 200

    def close(self) -> None:
        for part in (self.edge, self.daemon):
            if part and part.process:
                part.process.kill()


@dataclass
class Fleet:
    """All nodes, and what they share."""

    nodes: list[Node]
    upstream: Edge
    redis: Redis | None

    @property
    def ports(self) -> list[int]:
        return [node.edge.port for node in self.nodes]

    def let_through(self) -> int:
        """How many requests have reached the upstream, by its own count."""
        return self.upstream.counters(_COUNTER).get(_COUNTER, 0)

    def reports(self) -> float:
        """How many the daemons have taken in of what was taken from the fleet's buckets; 0 where there are none."""
        daemons = [node.daemon for node in self.nodes if node.daemon]
        return sum(daemon.metrics().get(_REPORTS, 0) for daemon in daemons)

    def wait(self) -> None:
        """Until each node answers by its limit."""
        for node in self.nodes:
            wait_until(node.decides, f"node {node.number} to decide", _START_TIMEOUT_S, every_s=0.05)


def setup(contender: Contender, case: Case) -> Setup:
    per_second = case.limit.per_second if contender.ratelimit else 0
    return Setup(lambda site: contender.parts(site, case), contender.daemons, per_second)


@contextmanager
def running(what: Setup, count: int, directory: Path) -> Iterator[Fleet]:
    """Starts so many nodes, and stops everything again, by the ids of what was started."""
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as cleanup:
        upstream = Answering(directory / "up", artifacts.envoy())
        cleanup.callback(upstream.close)
        redis = None
        if what.daemons:
            redis = Redis(directory)
            cleanup.callback(redis.close)
        port = 0
        if what.ratelimit_per_second:
            service = peers.start_ratelimit(directory / "service", what.ratelimit_per_second)
            cleanup.callback(service.close)
            port = service.port
        nodes = []
        for number in range(count):
            daemon = _daemon(directory / f"d{number}", redis) if redis else None
            site = Site(number, count, upstream.port, daemon, port)
            nodes.append(_node(site, what, directory))
            cleanup.callback(nodes[-1].close)
        fleet = Fleet(nodes, upstream, redis)
        for node in nodes:
            if node.daemon:
                node.daemon.start(wait=False)
            node.edge.start()
        fleet.wait()
        yield fleet


def _daemon(directory: Path, redis: Redis) -> Daemon:
    directory.mkdir()
    settings = {"fleet": {"name": directory.name}}
    return Daemon(directory, redis.url, settings, start=False)


def _node(site: Site, what: Setup, directory: Path) -> Node:
    parts = what.parts(site)
    edge = Edge(
        directory / f"n{site.number}",
        artifacts.envoy(),
        parts.filters,
        parts.clusters,
        parts.extensions,
        parts.route,
        what.workers,
        more=parts.more,
        start=False,
    )
    return Node(site.number, edge, site.daemon)
