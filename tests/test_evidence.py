"""What an auditor is given: which Envoy enforced a block when, the first request that each rejected, what lifted it,
and what is not proven. Two hosts, each an Envoy with its daemon, on one Redis."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from harness import artifacts
from harness import plugin as plugins
from harness.daemon import Daemon
from harness.envoy import Envoy, Options
from harness.events import event, new_user
from harness.proc import kill_all, wait_until
from harness.redis_server import Redis
from harness.upstream import Upstream

HOSTS = ["one", "two"]
SEALED = {"key": "a-key-of-the-audit-log", "fsync": "always"}
KEYS = [{"begins": "2026-01-01T00:00:00Z", "secret": "what-all-daemons-share-and-nobody-else"}]


@dataclass
class Host:
    name: str
    daemon: Daemon
    edge: Envoy

    def lines(self, kind: str, **members) -> list[dict]:
        """Lines of the audit log, of a kind, that have these members."""
        files = sorted((self.daemon.store / "audit").glob("audit-*.jsonl"))
        written = "".join(file.read_text() for file in files)
        has = {"kind": kind, **members}.items()
        return [line for line in map(json.loads, written.split("\n")[:-1]) if has <= line.items()]


@dataclass
class Pair:
    directory: Path
    redis: Redis
    one: Host
    two: Host
    made: int = 0

    def ask(self, *arguments: str, code: int, host: Host | None = None) -> dict:
        """The document that the command line writes, which has to end with this exit code."""
        self.made += 1
        out = self.directory / f"evidence-{self.made}.json"
        run = (host or self.one).daemon.cli("evidence", *arguments, "--out", str(out))
        assert run.returncode == code, (run.returncode, run.stderr)
        assert out.stat().st_mode & 0o777 == 0o600
        return json.loads(out.read_text())

    def settled(self) -> bool:
        fleet = self.one.daemon.get("/v1/fleet").json()
        daemons = fleet["daemons"]
        does = [envoy["does"] for daemon in daemons for envoy in daemon["envoys"]]
        return fleet["settled"] and len(daemons) == 2 and does == ["enforces"] * 2


@contextmanager
def pair() -> Iterator[Pair]:
    with ExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="pc-")))
        cleanup.callback(kill_all, directory)

        def start(part):
            cleanup.callback(part.close)
            return part

        keys = directory / "pseudonyms.toml"
        keys.touch(mode=0o600)
        keys.write_text(tomli_w.dumps({"keys": KEYS}))
        upstream, redis = start(Upstream()), start(Redis(directory))
        hosts = []
        for name in HOSTS:
            place = directory / name
            place.mkdir()
            called = {"name": name, "pseudonym_key_file": str(keys)}
            settings = {"fleet": called, "audit": SEALED}
            daemon = start(Daemon(place, redis.url, settings))
            options = Options(
                plugin=plugins.standard(node=f"edge-{name}"),
                upstream_port=upstream.port,
                poll_address=daemon.poll_address,
            )
            hosts.append(Host(name, daemon, start(Envoy(place, options))))
        both = Pair(directory, redis, *hosts)
        wait_until(both.settled, "both hosts to be there", 20)
        yield both


def nodes(document: dict, event_id: str) -> dict[str, dict]:
    """What each Envoy did with an event, by its daemon."""
    (trace,) = [event for event in document["events"] if event["event_id"] == event_id]
    return {on["daemon"]: node for on in trace["daemons"] for node in on["nodes"]}


def not_proven(document: dict) -> str:
    return "\n".join(document["statement"]["not_proven"])


def lifted_story(both: Pair, user: str) -> tuple[str, str]:
    """A block, rejected requests at both hosts, and its lift: the ids of both events."""
    one, two = both.one, both.two
    block = event("block", user, reason="fraud")
    one.daemon.publish(block)
    for host in both.one, both.two:
        wait_until(lambda host=host: host.edge.get("/", user).status == 403, "the block")
        for _ in range(3):
            assert host.edge.get("/", user).status == 403
        first = wait_until(
            lambda host=host: host.lines("rejection", event_id=block["event_id"]), "the first rejection"
        )
        assert [line["node"] for line in first] == [f"edge-{host.name}"], first
    lift = event("unblock", user, reason="fraud")
    two.daemon.publish(lift)
    for host in both.one, both.two:
        wait_until(lambda host=host: host.edge.get("/", user).status == 200, "the lift")
        wait_until(lambda host=host: host.lines("push", event_id=lift["event_id"]), "its line")
    return block["event_id"], lift["event_id"]


def test_an_auditor_gets_what_is_proven_and_what_is_not():
    with pair() as both:
        one, two = both.one, both.two
        user = new_user()
        block, lift = lifted_story(both, user)

        # One daemon, by its files: also which requests of its Envoy were rejected first.
        document = both.ask(user, "--config", str(one.daemon.config), code=0)
        assert [trace["event_id"] for trace in document["events"]] == [block, lift]
        (edge,) = nodes(document, block).values()
        assert (edge["node"], edge["state"]) == ("edge-one", "enforced"), edge
        (received,) = one.lines("event", event_id=block, result="applied")
        (rejection,) = one.lines("rejection", event_id=block)
        assert received["time"] < edge["first_rejection"] == rejection["at"] < rejection["time"]
        assert rejection["user"] == received["user"]
        ended = document["events"][0]["daemons"][0]["ended"]
        assert (ended["how"], ended["event_id"]) == ("lifted", lift)
        assert all(line["in_chain"] for line in document["lines"])
        assert not_proven(document) == ""
        (log,) = document["logs"]
        assert log["verdict"]["intact"] and log["vouched"] == "files"

        # Both daemons, by user and by event. They call the user the same.
        for arguments in [user], ["--event-id", block]:
            document = both.ask(*arguments, "--fleet", code=0)
            assert {log["daemon"]: log["vouched"] for log in document["logs"]} == {
                "one": "files",
                "two": "shared_key",
            }
            assert document["silent"] == [] and not_proven(document) == ""
            by = nodes(document, block)
            assert {name: node["node"] for name, node in by.items()} == {"one": "edge-one", "two": "edge-two"}
            assert all(node["state"] == "enforced" and node["first_rejection"] for node in by.values())
            pseudonyms = [name for log in document["logs"] for name in log["pseudonyms"]]
            assert set(pseudonyms) == {received["user"]}
            # Who has lifted it is known where that was asked for.
            (trace,) = [trace for trace in document["events"] if trace["event_id"] == block]
            by_whom = {on["daemon"]: on["ended"]["by"] for on in trace["daemons"]}
            assert by_whom == {"one": [], "two": ["caller operator (operator)"]}, by_whom
        assert {line["daemon"] for line in document["lines"]} == {"one", "two"}
        others = one.lines("call", resource="/v1/evidence")
        assert [line["status"] for line in others] == [200, 200]

        # What nobody knows is not known, and said so.
        document = both.ask("--event-id", "unheard-of", "--fleet", code=2)
        assert document["events"] == [] and "No line names the event" in not_proven(document)
        document = both.ask(new_user(), "--config", str(one.daemon.config), code=2)
        assert "No line is about this id" in not_proven(document)

        # A daemon that is down says nothing of its Envoy, and without any the files speak.
        two.daemon.process.kill()
        document = both.ask("--event-id", block, "--fleet", "--within", "2", code=1)
        (silent,) = document["silent"]
        assert (silent["daemon"], silent["envoys"]) == ("two", ["edge-two"]), silent
        assert "What daemon two and its Envoys (edge-two) did" in not_proven(document)
        document = both.ask(user, "--config", str(two.daemon.config), code=0, host=two)
        assert [node["node"] for node in nodes(document, block).values()] == ["edge-two"]

        # Who is erased is found no more; the lines of an event say that they are about nobody.
        assert one.daemon.cli("erase", user).returncode == 0
        wait_until(lambda: one.lines("erase", pseudonym=received["user"]), "the erasure's line")
        document = both.ask(user, "--config", str(one.daemon.config), code=2)
        assert "or it was erased" in not_proven(document)
        document = both.ask("--event-id", block, "--config", str(one.daemon.config), code=1)
        assert f"Whom {received['user']} stands for: it belongs to nobody" in not_proven(document)
        assert user not in json.dumps(document)

        # What stands behind a line that was changed is not proven.
        (file,) = sorted((two.daemon.store / "audit").glob("audit-*.jsonl"))
        (pushed,) = two.lines("push", event_id=block)
        text = file.read_text()
        file.write_text(text.replace('"result":"enforced"', '"result":"enforces"', 1))
        place = ["--directory", str(two.daemon.store / "audit")]
        key = both.directory / "audit.key"
        key.write_text(SEALED["key"])
        document = both.ask("--event-id", block, *place, "--audit-key-file", str(key), code=1)
        (log,) = document["logs"]
        assert not log["verdict"]["intact"] and log["verdict"]["last"] < pushed["seq"], log
        assert "is whole:" in not_proven(document)
        assert not [said for said in document["statement"]["proven"] if "acknowledged" in said]


def test_a_request_that_was_rejected_while_the_daemon_was_away_is_told_afterwards():
    with pair() as both:
        host, user = both.one, new_user()
        block = event("block", user)
        host.daemon.publish(block)
        host.daemon.process.kill()
        assert host.edge.get("/", user).status == 403
        host.daemon.start()
        told = lambda: host.lines("rejection", event_id=block["event_id"])  # noqa: E731
        (line,) = wait_until(told, "the first rejection to be told", 20)
        (start,) = host.lines("start")[-1:]
        assert line["at"] < start["time"], "when it was, and not when it was told"
        for _ in range(3):
            assert host.edge.get("/", user).status == 403
        assert len(told()) == 1


def test_the_command_line_says_what_is_wrong_with_it():
    with tempfile.TemporaryDirectory(prefix="pc-") as place:
        out = Path(place, "out.json")

        def run(*arguments: str) -> subprocess.CompletedProcess:
            argv = [artifacts.daemon(), "evidence", *arguments]
            return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)

        missing = ["--directory", f"{place}/nothing", "--out", str(out)]
        for arguments in (
            [],
            ["alice", "--out", str(out)],
            ["alice", "--event-id", "e", *missing],
            ["--event-id", "not an id", *missing],
            ["--event-id", "e", *missing],
        ):
            assert run(*arguments).returncode == 64, arguments
        assert not out.exists()
        out.write_text("what somebody has kept")
        Path(place, "log").mkdir()
        failed = run("--event-id", "e", "--directory", f"{place}/log", "--out", str(out))
        assert failed.returncode == 64 and "exists already" in failed.stderr, failed
        assert out.read_text() == "what somebody has kept"
        assert run("--event-id", "e", "--fleet", "--out", f"{place}/new").returncode in (64, 69)
