"""The audit log of a daemon with a real Envoy: what was enforced where, who asked for it, and that
nobody can change it unseen; and what a full disk does to it, and does not do."""

import json
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness import artifacts, dead_letters, events
from harness.client import Connection
from harness.events import event, new_user
from harness.proc import wait_until
from harness.stack import Stack, running

KEY = "a-key-of-the-audit-log"
SETTINGS = {"audit": {"key": KEY, "fsync": "always"}}
DOCUMENT = (artifacts.REPOSITORY / "docs/reference/audit-log.md").read_text()
TOO_OLD_MS = 7 * 24 * 3_600_000 + 60_000


def directory(stack: Stack) -> Path:
    return stack.daemon.store / "audit"


def every_line(place: Path) -> list[dict]:
    written = "".join(file.read_text() for file in sorted(place.glob("audit-*.jsonl")))
    # What stands behind the last line break is being written.
    return [json.loads(line) for line in written.split("\n")[:-1]]


def lines(stack: Stack, kind: str, place: Path | None = None, **members) -> list[dict]:
    """Lines of a kind that have these members."""
    has = {"kind": kind, **members}.items()
    return [line for line in every_line(place or directory(stack)) if has <= line.items()]


def assert_documented(written: list[dict]) -> None:
    """The document has the kind and the members of each line."""
    chapter = DOCUMENT.split("\n## Lines\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.*?`) \|", chapter, re.MULTILINE)
    kinds = {kind for row in rows for kind in re.findall(r"`(\w+)`", row)}
    members = set(re.findall(r"`(\w+)`", chapter))
    for line in written:
        assert line["kind"] in kinds and set(line) <= members, line


def verify(*place: str | Path) -> subprocess.CompletedProcess:
    command = [artifacts.daemon(), "audit", "verify", *place]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def assert_intact(stack: Stack) -> None:
    checked = verify("--config", stack.daemon.config)
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.startswith("intact: ")
    assert_documented(every_line(directory(stack)))


# --- what stands in it --------------------------------------------------------------------------


def test_what_envoy_enforces_is_noted_with_its_time_and_without_the_user():
    users = [new_user() for _ in range(20)]
    with running(daemon_settings=SETTINGS) as stack:
        for user in users:
            stack.daemon.block(user)
            assert stack.edge.get("/", user).status == 403
        pushes = lines(stack, "push")
        assert [push["result"] for push in pushes] == ["enforced"] * len(users)
        assert all(0 < push["ms"] < 2000 for push in pushes)
        noted = {event["event_id"]: event["user"] for event in lines(stack, "event")}
        assert {push["event_id"]: push["user"] for push in pushes} == noted
        assert len(set(noted.values())) == len(users)
        (node,) = {(push["node"], push["boot_id"]) for push in pushes}
        states = [(line["node"], line["boot_id"], line["state"]) for line in lines(stack, "node")]
        assert states[0] == (*node, "started")
        assert states[-1] == (*node, "synchronized")
        stack.edge.process.kill()
        wait_until(lambda: lines(stack, "node")[-1]["state"] == "gone", "the loss to be noted")
        for file in directory(stack).iterdir():
            text = file.read_text()
            assert not any(user in text for user in users)
        assert_intact(stack)


@pytest.fixture(scope="module")
def stack():
    with running(redis=True, daemon_settings=SETTINGS) as started:
        yield started


@pytest.mark.parametrize("source", ["embedded", "redis"])
def test_every_outcome_of_an_event_is_noted(stack, user, source):
    publish = {"embedded": stack.daemon.post, "redis": stack.redis.publish}[source]
    newest = event("block", user, reason="fraud")
    # An hour late: so it counts from when the newest had not been heard of yet.
    older = event("block", user, reason="fraud", at_ms=events.now_ms() - 3_600_000)
    wrong = {**event("block", user), "schema_version": "2.0"}
    for made in newest, newest, older, wrong:
        publish(made)
    of = lambda made: lines(stack, "event", event_id=made["event_id"], source=source)  # noqa: E731
    wait_until(lambda: of(wrong), "the last of them to be noted")
    applied, duplicate = of(newest)
    (stale,), (refused,) = of(older), of(wrong)
    noted = [line["result"] for line in (applied, duplicate, stale, refused)]
    assert noted == ["applied", "duplicate", "stale", "refused"]
    assert (applied["action"], applied["reason"]) == ("block", "fraud")
    assert applied["user"] == duplicate["user"] == stale["user"]
    assert refused["cause"] == "unknown_version" and "user" not in refused
    pushed = lambda: lines(stack, "push", event_id=newest["event_id"])  # noqa: E731
    (push,) = wait_until(pushed, "Envoy to enforce it")
    assert (push["result"], push["user"]) == ("enforced", applied["user"])
    assert push["sequence"] == applied["sequence"] and push["seq"] > applied["seq"]
    assert stack.edge.get("/", user).status == 403
    assert_intact(stack)


def test_what_the_daemon_writes_to_redis_comes_back_as_a_duplicate(stack, user):
    made = event("block", user)
    stack.daemon.publish(made)
    noted = lambda: lines(stack, "event", event_id=made["event_id"])[1:]  # noqa: E731
    (again,) = wait_until(noted, "Redis to tell us as well")
    assert (again["source"], again["result"]) == ("redis", "duplicate")


def test_calls_are_noted_with_who_made_them_and_as_what(stack, user):
    made = event("block", user)
    assert stack.daemon.post(made, role="publisher").status == 200
    assert stack.daemon.get(f"/v1/users/{user}", role="auditor").status == 200
    assert stack.daemon.cli("unblock", user).returncode == 0
    assert stack.daemon.post(event("block", user), role="auditor").status == 403
    with Connection(stack.daemon.port) as api:
        assert api.get(f"/v1/users/{user}", authorization="Bearer x").status == 401

    (seen,) = lines(stack, "event", event_id=made["event_id"], source="embedded")
    (published,) = lines(stack, "call", event_id=made["event_id"])
    is_new = lambda line: line["seq"] > seen["seq"]  # noqa: E731
    calls = filter(is_new, lines(stack, "call"))
    who = [(c["caller"], c["role"], c["method"], c["resource"], c["status"]) for c in calls]
    assert who == [
        ("publisher", "publisher", "POST", "/v1/invalidations", 200),
        ("auditor", "auditor", "GET", "/v1/users/{id}", 200),
        ("operator", "operator", "POST", "/v1/invalidations", 200),
    ]
    assert published["status"] == 200
    (read,) = lines(stack, "call", resource="/v1/users/{id}", user=seen["user"])
    assert read["caller"] == "auditor"
    # Nobody who is not let in waits for the disk.
    denied = lambda: list(filter(is_new, lines(stack, "denied")))  # noqa: E731
    wait_until(lambda: len(denied()) == 2, "who was not let in to be noted")
    forbidden, unknown = denied()
    assert (forbidden["caller"], forbidden["role"]) == ("auditor", "auditor")
    assert (forbidden["resource"], forbidden["status"]) == ("/v1/invalidations", 403)
    assert (unknown["resource"], unknown["status"]) == ("/v1/users/{id}", 401)
    assert "caller" not in unknown and unknown["user"] == seen["user"]
    assert not any(user in file.read_text() for file in directory(stack).iterdir())
    assert_intact(stack)


def test_a_replay_of_a_dead_letter_is_noted_with_its_caller(stack, user):
    made = event("block", user, at_ms=events.now_ms() - TOO_OLD_MS)
    stack.redis.publish(made)
    dead_letters.wait_for(stack.daemon, made["event_id"])
    words = ("--operator", "jane", "--reason", "ticket 4711")
    done = stack.daemon.cli("dlq", "replay", "--event-id", made["event_id"], *words)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: stack.edge.get("/", user).status == 403, "the replayed block", 3)
    refused, applied = lines(stack, "event", event_id=made["event_id"])[:2]
    assert (refused["result"], refused["cause"]) == ("refused", "too_old")
    assert (applied["result"], applied["replayed"]) == ("applied", True)
    call = lines(stack, "call", resource="/v1/dead-letters/replay")[-1]
    # The credentials say who it was; the name of the operator is what they say about it.
    assert (call["caller"], call["role"], call["status"]) == ("operator", "operator", 200)
    assert call["note"] == "operator jane: ticket 4711"
    assert call["seq"] > applied["seq"]
    assert_intact(stack)


def test_the_head_of_the_status_is_one_that_verify_wants_to_see(stack, user):
    stack.daemon.block(user)
    audit = stack.daemon.status()["audit"]
    assert audit["failing"] is None
    seen = re.search(r"^audit +head (\d+:[0-9a-f]{64})$", stack.daemon.cli("status").stdout, re.M)
    place = ("--config", stack.daemon.config, "--expect-head")
    for head in audit["head"], seen[1]:
        assert verify(*place, head).returncode == 0
    seq, _, end = seen[1].partition(":")
    changed = verify(*place, f"{seq}:{end[::-1]}")
    assert changed.returncode == 1 and f": seq {seq}: changed: " in changed.stdout


# --- what is done to it -------------------------------------------------------------------------


def test_the_log_goes_on_over_restarts():
    with running(daemon_settings=SETTINGS) as stack:
        for _ in range(3):
            stack.daemon.block(new_user())
            stack.daemon.process.kill()
            stack.daemon.start()
            stack.wait_synced()
        assert len(lines(stack, "start")) == 4
        assert_intact(stack)


@pytest.fixture(scope="module")
def copy(stack, tmp_path_factory) -> Path:
    """A log that a daemon has written, with its key beside it."""
    for _ in range(5):
        stack.daemon.block(new_user())
    head = directory(stack) / "head"
    wait_until(lambda: json.loads(head.read_text())["seq"] > 10, "a head that names a line")
    place = tmp_path_factory.mktemp("log")
    shutil.copytree(directory(stack), place / "audit")
    (place / "key").write_text(f"{KEY}\n")
    return place


# What somebody does to the lines from the sixth on -> what that is called.
DONE = {
    "changed": lambda rest: [rest[0].replace('"kind":"', '"kind":"x'), *rest[1:]],
    "missing": lambda rest: rest[1:],
    "duplicated": lambda rest: [rest[0], *rest],
    "re-ordered": lambda rest: [rest[1], rest[0], *rest[2:]],
}


@pytest.mark.parametrize("fault", DONE)
def test_what_was_done_to_a_line_is_named_by_us_and_found_with_the_documents_code(copy, tmp_path, fault):
    place = tmp_path / "audit"
    shutil.copytree(copy / "audit", place)
    (code,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)

    def ours() -> subprocess.CompletedProcess:
        return verify("--directory", place, "--key-file", copy / "key")

    def documents() -> subprocess.CompletedProcess:
        argv = [sys.executable, "-c", code, place, KEY]
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)

    whole = ours(), documents()
    assert [ran.returncode for ran in whole] == [0, 0], whole
    assert re.search(r"\d+:[0-9a-f]{64}", whole[0].stdout)[0] in whole[1].stdout
    file, *_ = sorted(place.glob("audit-*.jsonl"))
    written = file.read_text().splitlines(keepends=True)
    file.write_text("".join(written[:5] + DONE[fault](written[5:])))
    found, found_too = ours(), documents()
    assert (found.returncode, found_too.returncode) == (1, 1)
    # The second of two that are the same is the wrong one, and of two in the wrong order the first.
    number, seq = {"duplicated": (7, 6), "re-ordered": (6, 7)}.get(fault, (6, 6))
    assert found.stdout.startswith(f"{file.name}:{number}: seq {seq}: {fault}: "), found.stdout
    assert f"{file.name}:{number}: not what was written" in found_too.stderr


# --- a full disk --------------------------------------------------------------------------------


@contextmanager
def no_room_for_anything(stack: Stack) -> Iterator[None]:
    """No file of the daemon grows any more; the next line of the audit log gets there in part."""
    (file,) = directory(stack).glob("audit-*.jsonl")
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    limit = (file.stat().st_size + 100, resource.RLIM_INFINITY)
    resource.prlimit(stack.daemon.process.pid, resource.RLIMIT_FSIZE, limit)
    yield
    resource.prlimit(stack.daemon.process.pid, resource.RLIMIT_FSIZE, unlimited)


def assert_failing(stack: Stack) -> None:
    wait_until(lambda: stack.daemon.status()["audit"]["failing"], "the alarm")
    not_ready = stack.daemon.get("/readyz")
    assert not_ready.status == 503 and "audit: " in not_ready.body.decode()
    assert "NOT WRITABLE: " in stack.daemon.cli("status").stdout
    assert stack.daemon.metrics()["portcullis_audit_failing"] == 1


def assert_recovers(stack: Stack) -> None:
    wait_until(lambda: stack.daemon.status()["audit"]["failing"] is None, "the end of the alarm")
    wait_until(lambda: stack.daemon.status()["audit"]["queue"] == 0, "everything to be written")
    wait_until(lambda: stack.daemon.get("/readyz").status == 200, "the daemon to be ready")
    metrics = stack.daemon.metrics()
    assert metrics["portcullis_audit_failing"] == metrics["portcullis_audit_lost_total"] == 0


def test_with_no_room_for_anything_blocks_are_enforced_and_noted_once_there_is():
    made = [event("block", new_user()) for _ in range(3)]
    with running(daemon_settings=SETTINGS) as stack:
        stack.daemon.publish(made[0])
        with no_room_for_anything(stack):
            for one in made[1:]:
                # Not durable, and says so; in force all the same.
                receipt = stack.daemon.post(one).json()
                assert (receipt["enforced"], receipt["durable"]) == (True, False)
                assert stack.edge.get("/", one["key"]["user_id"]).status == 403
            assert_failing(stack)
            assert len(lines(stack, "event")) == 1
        assert_recovers(stack)
        ids = [one["event_id"] for one in made]
        assert [line["event_id"] for line in lines(stack, "event")] == ids
        assert {line["event_id"] for line in lines(stack, "push")} == set(ids)
        assert not lines(stack, "torn") and not lines(stack, "gap")
        assert_intact(stack)


def test_a_daemon_killed_with_no_room_goes_on_with_a_whole_log():
    with running(daemon_settings=SETTINGS) as stack:
        stack.daemon.block(new_user())
        with no_room_for_anything(stack):
            stack.daemon.post(event("block", new_user()))
            assert_failing(stack)
            stack.daemon.process.kill()
            stack.daemon.start()
        stack.wait_synced()
        stack.daemon.block(new_user())
        assert len(lines(stack, "event")) == 2 and len(lines(stack, "start")) == 2
        assert_intact(stack)


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A file system of its own, 256 KiB large."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "portcullis-test", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        pytest.skip(f"nobody may mount a file system here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True, timeout=30)


def test_a_full_disk_of_the_audit_log_alone_holds_up_nothing(small_disk):
    place = small_disk / "audit"
    settings = {"audit": {**SETTINGS["audit"], "directory": str(place)}}
    made = [event("block", new_user()) for _ in range(10)]
    with running(daemon_settings=settings) as stack:
        stack.daemon.publish(made[0])
        ballast = small_disk / "ballast"
        with pytest.raises(OSError, match="No space left"), ballast.open("wb", 0) as file:  # noqa: PT012
            while True:
                file.write(bytes(4096))
        # Each call fills what is left of the last page that the log has.
        wait_until(lambda: stack.daemon.status()["audit"]["failing"], "the log to be full", 10, 0)
        for one in made[1:]:
            receipt = stack.daemon.publish(one)
            assert receipt["durable"] is True and receipt["elapsed_ms"] < 1000
            assert stack.edge.get("/", one["key"]["user_id"]).status == 403
        assert "No space left" in stack.daemon.status()["audit"]["failing"]
        assert_failing(stack)
        ballast.unlink()
        assert_recovers(stack)
        noted = [line["event_id"] for line in lines(stack, "event", place)]
        assert noted == [one["event_id"] for one in made]
        assert not lines(stack, "torn", place) and not lines(stack, "gap", place)
        assert_intact(stack)
