"""Limits across the fleet, on real Envoys with a daemon each and one Redis: one bucket for all of them."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import plugin as plugins
from harness.daemon import Daemon
from harness.envoy import Envoy, Options
from harness.events import event, new_user
from harness.proc import kill_all, wait_until
from harness.redis_server import Redis
from harness.upstream import Upstream
from selection import COUNTS_WITHOUT_REQUESTS

# No token comes back while a test looks, unless it waits for one.
TOKENS = 40
SLOW = {"max_tokens": TOKENS, "tokens_per_fill": TOKENS, "fill_interval": "600s"}
# Longer than a report and its answer take on a machine that is busy.
TOLD_S = 10


def limit(name: str, on_loss: str, **more) -> dict:
    fleet = {"on_loss": on_loss, "debt_max_percent": 0}
    matching = {"match": [{"path": {"prefix": f"/{name}"}}]}
    return {"name": name, "key": "user", **SLOW, "fleet": fleet, **matching, **more}


LIMITS = [
    limit("local", "local"),
    limit("divide", "divide"),
    limit("deny", "deny"),
    {"name": "alone", "key": "user", **SLOW, "match": [{"path": {"prefix": "/alone"}}]},
]


@dataclass
class Host:
    daemon: Daemon
    edge: Envoy

    def statuses(self, path: str, user: str, tries: int = 2 * TOKENS) -> list[int]:
        return [self.edge.get(path, user).status for _ in range(tries)]

    def allowed(self, path: str, user: str, tries: int = 2 * TOKENS) -> int:
        statuses = self.statuses(path, user, tries)
        assert set(statuses) <= {200, 429}, statuses
        return statuses.count(200)

    def node(self) -> dict:
        (node,) = [node for node in self.daemon.status()["nodes"] if node["connected"]]
        return node

    def is_empty(self, path: str, user: str) -> bool:
        return self.edge.get(path, user).status == 429


@dataclass
class Fleet:
    redis: Redis
    hosts: list[Host]

    def wait_joined(self) -> None:
        """Until each node takes part: with the fleet's key, and without a report that waits."""
        for number, host in enumerate(self.hosts):

            def joined(host: Host = host) -> bool:
                return host.edge.get("/deny", new_user()).status == 200

            wait_until(joined, f"host {number} to hear of the fleet", 30)

    def wait_counted(self) -> None:
        """Until each daemon knows how many Envoys the fleet has, and has told them with an answer."""
        for host in self.hosts:

            def counted(host: Host = host) -> bool:
                host.edge.get("/deny", new_user())
                return host.daemon.status()["fleet_limits"]["nodes"] == len(self.hosts)

            wait_until(counted, "the Envoys to be counted", 30)
            host.edge.get("/deny", new_user())


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with running() as whole:
        yield whole


@contextmanager
def running(count: int = 2, *, workers: int = 2) -> Iterator[Fleet]:
    with ExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="pc-")))
        cleanup.callback(kill_all, directory)

        def start(part):
            cleanup.callback(part.close)
            return part

        upstream, redis = start(Upstream()), start(Redis(directory))
        hosts = []
        for number in range(count):
            place = directory / f"h{number}"
            place.mkdir()
            daemon = start(Daemon(place, redis.url, {"fleet": {"name": place.name}}))
            options = Options(
                plugin=plugins.standard(node=f"edge-{number}", limits=LIMITS),
                upstream_port=upstream.port,
                poll_address=daemon.poll_address,
            )
            hosts.append(Host(daemon, start(Envoy(place, options))))
        whole = Fleet(redis, hosts)
        whole.wait_joined()
        yield whole


def test_a_user_gets_one_bucket_and_not_one_on_each_host(fleet):
    user = new_user()
    one, two = fleet.hosts
    assert one.allowed("/local", user) == TOKENS
    # The empty bucket is told to everybody, also to who has never seen the user.
    wait_until(lambda: two.is_empty("/local", user), "the news", TOLD_S)
    assert two.allowed("/local", user) == 0
    # Without `fleet` each has its own, as ever.
    assert (one.allowed("/alone", user), two.allowed("/alone", user)) == (TOKENS, TOKENS)


def test_a_user_who_goes_back_and_forth_gets_one_bucket(fleet):
    user = new_user()
    allowed = 0
    for request in range(3 * TOKENS):
        host = fleet.hosts[request % 2]
        allowed += host.allowed("/local", user, 1)
        time.sleep(0.004)  # the pace of the requests, and no wait for anything
    # Each node may have one token more in its hand than the other knows of, and takes 5 % before it says so.
    assert TOKENS <= allowed <= TOKENS + 4 * 2, allowed


def test_a_rejection_tells_what_the_fleet_has_left(fleet):
    user = new_user()
    one, two = fleet.hosts
    assert one.allowed("/local", user, TOKENS) == TOKENS
    wait_until(lambda: two.is_empty("/local", user), "the news", TOLD_S)
    answer = two.edge.get("/local", user)
    assert answer.status == 429
    assert answer.headers["ratelimit"].startswith('"local";r=0;t='), answer.headers
    # A token comes back every 15 s.
    assert 10 <= int(answer.headers["retry-after"]) <= 15, answer.headers


def test_a_zero_empties_the_bucket_and_an_unblock_fills_it_once(fleet):
    user = new_user()
    one, two = fleet.hosts
    assert one.allowed("/local", user, 3) == 3
    one.daemon.zero(user)
    for host in fleet.hosts:
        wait_until(lambda host=host: host.is_empty("/local", user), "the zero", TOLD_S)
    two.daemon.unblock(user)
    wait_until(lambda: not one.is_empty("/local", user), "the unblock", TOLD_S)
    wait_until(lambda: not two.is_empty("/local", user), "the unblock", TOLD_S)
    # Two tokens have gone for finding out.
    rest = one.allowed("/local", user)
    wait_until(lambda: two.is_empty("/local", user), "the news", TOLD_S)
    rest += two.allowed("/local", user)
    assert TOKENS - 4 <= rest <= TOKENS + 2, rest


def test_an_override_is_one_bucket_for_all(fleet):
    user = new_user()
    one, two = fleet.hosts
    assert one.allowed("/local", user) == TOKENS
    changed = {"name": "local", "max_tokens": 5, "tokens_per_fill": 5, "fill_interval": "600s"}
    one.daemon.override(user, **changed)
    wait_until(lambda: not one.is_empty("/local", user), "the override", TOLD_S)
    assert one.allowed("/local", user) == 4
    wait_until(lambda: two.is_empty("/local", user), "the news", TOLD_S)
    assert two.allowed("/local", user) == 0


@COUNTS_WITHOUT_REQUESTS
def test_what_is_counted_can_be_seen(fleet):
    one, two = fleet.hosts
    user = new_user()
    before = two.edge.settled_metric("portcullis_fleet_news")
    assert one.allowed("/local", user) == TOKENS
    wait_until(lambda: two.edge.metric("portcullis_fleet_news") > before, "the news", TOLD_S)
    reports, answers = (one.edge.metric(f"portcullis_fleet_{name}") for name in ("reports", "answers"))
    assert reports >= answers > 0
    assert one.edge.metric("portcullis_fleet_behind") == 0
    assert one.node()["fleet_limits"]["cut_off_ms"] is None
    keys = [key.decode() for key in fleet.redis.client.keys("*fleet*")]
    assert keys and not any(user in key for key in keys), keys


def test_a_host_that_is_cut_off_does_what_each_limit_says_and_pays_when_it_is_back():
    with running() as fleet:
        one, two = fleet.hosts
        fleet.wait_counted()
        shared, user = new_user(), new_user()
        assert one.allowed("/local", shared, 10) == 10
        fleet.redis.process.pause()
        # One request that has to be reported, so that the silence is noticed.
        for host in fleet.hosts:
            host.edge.get("/local", new_user())
            wait_until(
                lambda host=host: host.edge.get("/deny", new_user()).status == 503,
                "the host to notice",
                TOLD_S,
            )
        assert one.edge.get("/deny", user).status == 503
        assert one.allowed("/divide", user) == TOKENS // 2, "two hosts, a half for each"
        assert one.allowed("/local", user) == TOKENS
        assert two.allowed("/local", user) == TOKENS, "each by itself"
        assert one.edge.settled_metric("portcullis_fleet_cut_off") > 0
        # Blocks are a matter of their own: a block through the host's own daemon is in force.
        answer = one.daemon.post(event("block", user))
        assert answer.status == 202 and answer.json()["enforced"] is True, answer.body
        assert one.edge.get("/local", user).status == 403
        fleet.redis.process.resume()
        fleet.wait_joined()
        # What each host has taken meanwhile is reported now: of the bucket that both knew nothing is left.
        assert one.allowed("/local", shared, 20) == 20
        wait_until(lambda: two.allowed("/local", shared, 5) < 5, "the other host to know", TOLD_S)
        rest = sum(host.allowed("/local", shared, TOKENS) for host in fleet.hosts)
        assert rest <= 12, rest


def test_redis_that_loses_its_data_gives_away_no_more_than_what_nobody_knows():
    with running() as fleet:
        one, two = fleet.hosts
        user = new_user()
        assert one.allowed("/local", user) == TOKENS
        wait_until(lambda: two.is_empty("/local", user), "the news", TOLD_S)
        fleet.redis.client.flushall()
        # Both know that the bucket is empty, and go by that.
        time_to_agree = time.monotonic() + 6
        while time.monotonic() < time_to_agree:
            assert one.is_empty("/local", user) and two.is_empty("/local", user)
        other = new_user()
        assert one.allowed("/local", other) == TOKENS
        wait_until(lambda: two.is_empty("/local", other), "the fleet to work again", TOLD_S)


def test_an_envoy_that_restarts_begins_with_what_the_fleet_knows():
    with running() as fleet:
        one, two = fleet.hosts
        user = new_user()
        assert one.allowed("/local", user) == TOKENS
        wait_until(lambda: two.is_empty("/local", user), "the news", TOLD_S)
        one.edge.process.kill()
        one.edge.start()
        fleet.wait_joined()
        wait_until(lambda: one.is_empty("/local", user), "the first answer", TOLD_S)
        assert one.allowed("/local", user) == 0
