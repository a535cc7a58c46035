"""Several hosts, each an Envoy with its daemon, on one Redis: "enforced everywhere" is a fact or is not said."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import plugin as plugins
from harness.client import Connection
from harness.daemon import Daemon, laid_over
from harness.envoy import Envoy, Options
from harness.events import event, new_user
from harness.proc import kill_all, wait_until
from harness.redis_server import Redis
from harness.upstream import Upstream

HOSTS = ["one", "two", "three"]


@dataclass
class Host:
    name: str
    daemon: Daemon
    edge: Envoy


@dataclass
class Fleet:
    redis: Redis
    hosts: list[Host]

    def ask(self) -> dict:
        answer = self.hosts[0].daemon.get("/v1/fleet")
        assert answer.status == 200, answer.body
        return answer.json()

    def publish(self, body: dict, at: int = 0) -> tuple[int, dict]:
        """Publishes at one of the daemons and waits for all of them."""
        daemon = self.hosts[at].daemon
        headers = {"content_type": "application/json", "authorization": daemon.bearer()}
        with Connection(daemon.port) as api:
            path = "/v1/invalidations?wait=fleet"
            answer = api.request("POST", path, json.dumps(body).encode(), **headers)
        return answer.status, answer.json()

    def wait_enforcing(self) -> None:
        def all_enforce() -> bool:
            fleet = self.ask()
            daemons = fleet["daemons"]
            envoys = [envoy for one in daemons for envoy in one["envoys"]]
            states = [one["state"] for one in daemons] + [envoy["does"] for envoy in envoys]
            return fleet["settled"] and states == ["live"] * len(HOSTS) + ["enforces"] * len(HOSTS)

        wait_until(all_enforce, "all hosts to be there", 20)


@contextmanager
def fleet(
    settings: dict[str, dict] | None = None,
    plugin: dict[str, dict] | None = None,
    env: dict[str, dict] | None = None,
    *,
    wait: bool = True,
) -> Iterator[Fleet]:
    """What is given of a host's name is laid over its daemon's settings, its Envoy's plugin configuration, and its
    daemon's environment."""
    with ExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="pc-")))
        cleanup.callback(kill_all, directory)

        def start(part):
            cleanup.callback(part.close)
            return part

        upstream, redis = start(Upstream()), start(Redis(directory))
        hosts = []
        for name in HOSTS:
            place = directory / name
            place.mkdir()
            named = {"fleet": {"name": name, "region": "test"}}
            if more := (settings or {}).get(name):
                more["sources"]["redis"]["url"] = redis.url
            daemon = Daemon(
                place,
                redis.url,
                laid_over(named, more or {}),
                env=(env or {}).get(name),
                start=False,
            )
            if more:
                admit(redis)
            daemon.start()
            start(daemon)
            options = Options(
                plugin=plugins.standard(node=f"edge-{name}", **(plugin or {}).get(name, {})),
                upstream_port=upstream.port,
                poll_address=daemon.poll_address,
            )
            hosts.append(Host(name, daemon, start(Envoy(place, options))))
        whole = Fleet(redis, hosts)
        if wait:
            whole.wait_enforcing()
        yield whole


# A daemon with a user of its own in Redis can be cut off from there alone.
SEVERABLE = {"sources": {"redis": {"user": "severable", "password": "pass"}}}


def admit(redis: Redis) -> None:
    redis.client.acl_setuser("severable", True, passwords="+pass", keys="*", channels="*", commands=["+@all"])


def cut_off(redis: Redis) -> None:
    redis.client.acl_setuser("severable", False)
    redis.client.execute_command("CLIENT", "KILL", "USER", "severable")


def missing(answer: dict) -> list[tuple]:
    missing = answer["fleet"]["missing"]
    return [(one["daemon"], one["node"], one["reason"]) for one in missing]


def enforcing(answer: dict) -> list[str]:
    return sorted(one["node"] for one in answer["fleet"]["nodes"])


def test_everywhere_is_said_when_it_is_so_and_never_when_it_is_not():
    with fleet() as whole:
        one, two, three = whole.hosts
        all_nodes = sorted(f"edge-{name}" for name in HOSTS)

        user = new_user()
        status, answer = whole.publish(event("block", user))
        assert status == 200 and answer["fleet"]["enforced_everywhere"] is True, answer
        assert enforcing(answer) == all_nodes and missing(answer) == [], answer
        # It is a fact: the next request is rejected on every host.
        assert [host.edge.get("/", user).status for host in whole.hosts] == [403] * 3
        done = one.daemon.cli("unblock", user, "--everywhere")
        assert done.returncode == 0, done
        assert done.stdout.startswith("enforced everywhere: 3 nodes of 3 daemons in "), done
        assert [host.edge.get("/", user).status for host in whole.hosts] == [200] * 3
        assert one.daemon.cli("nodes").stdout.count("enforces") == 3

        # An Envoy that hangs does not enforce what comes now, and its daemon knows that.
        user = new_user()
        two.edge.process.pause()
        status, answer = whole.publish(event("block", user))
        assert status == 202 and answer["enforced"] is True, answer
        ((daemon, node, reason),) = missing(answer)
        assert (daemon, node) == ("two", "edge-two") and reason in ("behind", "gone"), answer
        assert enforcing(answer) == sorted(set(all_nodes) - {"edge-two"}), answer
        two.edge.process.resume()
        wait_until(lambda: whole.publish(event("block", new_user()))[0] == 200, "the Envoy to be back")
        assert two.edge.get("/", user).status == 403

        # A daemon that hangs says nothing: nobody speaks for its Envoy.
        three.daemon.process.pause()
        status, answer = whole.publish(event("block", new_user()), at=1)
        assert status == 202, answer
        assert missing(answer) == [("three", "edge-three", "no_answer")], answer
        three.daemon.process.resume()
        whole.wait_enforcing()
        assert whole.publish(event("block", new_user()), at=2)[0] == 200

        # A daemon that was killed is gone, since when is said, and its Envoy is not counted.
        three.daemon.process.kill()

        def gone() -> list[dict]:
            daemons = whole.ask()["daemons"]
            return [daemon for daemon in daemons if daemon["state"] == "gone"]

        (dead,) = wait_until(gone, "the dead daemon to be missed")
        assert dead["name"] == "three" and dead["gone_since"] and dead["region"] == "test", dead
        status, answer = whole.publish(event("block", new_user()))
        assert status == 202, answer
        assert missing(answer) == [("three", "edge-three", "gone")], answer
        failed = one.daemon.cli("block", new_user(), "--everywhere")
        assert failed.returncode == 1, failed
        assert failed.stderr.startswith("NOT enforced everywhere: only 2 nodes of 2 daemons"), failed
        assert "GONE since" in one.daemon.cli("nodes").stdout

        # It comes back under its name, and there is no word of the life before.
        three.daemon.start()
        whole.wait_enforcing()
        status, answer = whole.publish(event("block", new_user()))
        assert status == 200 and enforcing(answer) == all_nodes, answer


def test_without_redis_only_this_daemons_envoys_are_spoken_of():
    with fleet() as whole:
        whole.redis.kill()
        user = new_user()
        status, answer = whole.publish(event("block", user))
        assert status == 202 and answer["enforced"] is True, answer
        assert answer["fleet"]["enforced_everywhere"] is False, answer
        assert missing(answer) == [("(all)", None, "redis_unreachable")], answer
        assert whole.hosts[0].edge.get("/", user).status == 403


def test_a_host_that_is_cut_off_and_serves_on_is_missing_until_it_is_back():
    allows = {"fail_policy": {**plugins.FAIL_POLICY, "stale": "allow"}}
    with fleet({"three": SEVERABLE}, {"three": allows}) as whole:
        one, _, three = whole.hosts
        before, user = new_user(), new_user()
        assert whole.publish(event("block", before))[0] == 200
        cut_off(whole.redis)
        # At first its daemon still counts as live, and then as gone; its Envoy lets everybody through whom it knows
        # nothing of, also when it is stale.
        answers = {}

        def stale() -> bool:
            status, answer = whole.publish(event("block", user))
            assert status == 202 and not answer["fleet"]["enforced_everywhere"], answer
            ((daemon, node, reason),) = missing(answer)
            assert (daemon, node) == ("three", "edge-three"), answer
            answers.setdefault(reason, three.edge.get("/", user).status)
            return three.daemon.status()["nodes"][0]["does"] == "allows_stale"

        wait_until(stale, "the Envoy to be stale", 20)
        assert answers == {"no_answer": 200, "gone": 200}, (
            "it is said that it does not enforce it, and it does not"
        )
        assert three.edge.get("/", user).status == 200
        assert three.edge.get("/", before).status == 403, "what it knows it enforces, stale or not"
        shown = one.daemon.cli("nodes").stdout
        (line,) = [line for line in shown.splitlines() if line.startswith("three ")]
        assert "GONE since" in line and "enforces" not in line, shown
        admit(whole.redis)
        wait_until(lambda: whole.publish(event("block", user))[0] == 200, "all to enforce it", 20)
        assert three.edge.get("/", user).status == 403


def test_an_envoy_that_is_started_anew_or_only_counts_is_not_counted():
    shadow = {"blocks": {"shadow": True}}
    with fleet(plugin={"three": shadow}) as whole:
        one, two, three = whole.hosts
        user = new_user()
        status, answer = whole.publish(event("block", user))
        assert status == 202 and missing(answer) == [("three", "edge-three", "refused")], answer
        assert three.edge.get("/", user).status == 200, "it is so"
        # An Envoy that ends after it has acknowledged, and one that begins anew under its name.
        two.edge.process.kill()

        def only_two() -> bool:
            status, answer = whole.publish(event("block", user))
            assert status == 202, answer
            return ("two", "edge-two") in [(daemon, node) for daemon, node, _ in missing(answer)]

        wait_until(only_two, "its end to be noticed", 20)
        two.edge.start()

        def back() -> bool:
            _, answer = whole.publish(event("block", user))
            if "edge-two" in enforcing(answer):
                assert two.edge.get("/", user).status == 403, answer
                return missing(answer) == [("three", "edge-three", "refused")]
            return False

        wait_until(back, "it to be back, and the one before to be forgotten", 20)
        assert one.edge.get("/", user).status == 403


def test_a_host_that_is_stopped_says_so_and_its_envoy_is_without_a_daemon():
    with fleet() as whole:
        one, two, three = whole.hosts
        three.daemon.process.stop()
        status, answer = whole.publish(event("block", user := new_user()))
        assert status == 202 and missing(answer) == [("three", "edge-three", "stopped")], answer
        assert three.edge.get("/", user).status == 200, "it serves on, with what it knows"
        shown = one.daemon.cli("nodes").stdout
        (line,) = [line for line in shown.splitlines() if line.startswith("three ")]
        assert "stopped since" in line and "without a daemon" in line, shown
        three.daemon.start()
        wait_until(lambda: whole.publish(event("block", user))[0] == 200, "it to be back", 20)
        # Envoy first, then its daemon: nobody is left behind.
        two.edge.process.kill()
        wait_until(lambda: two.daemon.status()["nodes"][0].get("hung_up"), "its end to be noticed")
        two.daemon.process.stop()
        status, answer = whole.publish(event("block", new_user()))
        assert status == 200 and enforcing(answer) == ["edge-one", "edge-three"], answer
        assert "(none left behind)" in one.daemon.cli("nodes").stdout


LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


@pytest.mark.skipif(not LIBRARY.exists(), reason="libfaketime is not installed")
@pytest.mark.parametrize("wrong", ["-2h", "+2h"])
def test_a_daemon_whose_clock_is_wrong_by_hours_makes_no_answer_untrue(wrong):
    lies = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": wrong, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with fleet(env={"three": lies}) as whole:
        three = whole.hosts[2]
        for at, options in enumerate(({}, {"duration": "1h"})):
            for asked in (0, 2):
                user = new_user()
                status, answer = whole.publish(event("block", user, **options), at=asked)
                said = answer["fleet"]["enforced_everywhere"]
                served = [host.edge.get("/", user).status for host in whole.hosts]
                assert not said or served == [403] * 3, (wrong, at, answer)
                # Without an end no clock matters; one that is ahead believes that the block has ended.
                assert said == (not options or wrong == "-2h"), (wrong, options, answer)
                assert status == (200 if said or not answer["in_effect"] else 202)
        assert "enforces" in three.daemon.cli("nodes").stdout
