"""Several hosts, each an Envoy with its daemon, on one Redis: "enforced everywhere" is a fact or is not said."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import plugin as plugins
from harness.client import Connection
from harness.daemon import Daemon
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
def fleet() -> Iterator[Fleet]:
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
            settings = {"fleet": {"name": name, "region": "test"}}
            daemon = start(Daemon(place, redis.url, settings))
            options = Options(
                plugin=plugins.standard(node=f"edge-{name}"),
                upstream_port=upstream.port,
                poll_address=daemon.poll_address,
            )
            hosts.append(Host(name, daemon, start(Envoy(place, options))))
        whole = Fleet(redis, hosts)
        whole.wait_enforcing()
        yield whole


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
