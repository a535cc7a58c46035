"""What is on the disk is what is said to be: files that vanish, first starts that are none, floods."""

import json
import shutil
import time
from pathlib import Path

import pytest

from harness import dead_letters, events
from harness.events import event, new_user
from harness.proc import wait_until
from harness.stack import running
from harness.store import forget_everything

FLOOD = 100_000
LARGE = 15_000
LARGE_BYTES = 16_384


def blocked(stack, user: str) -> bool:
    return stack.edge.get("/", user).status == 403


def publish(stack, user: str) -> dict:
    """A block, whatever the answer says of the disk."""
    answer = stack.daemon.post(event("block", user))
    assert answer.status in (200, 202), answer.body
    return answer.json()


def bytes_in(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def ready(stack) -> bool:
    return stack.daemon.get("/readyz").status == 200


def restarted(stack, *, kill: bool = True) -> None:
    if kill:
        stack.daemon.process.kill()
    stack.daemon.start()
    stack.wait_synced()


def refused_start(stack, *more: str) -> str:
    """The daemon does not start: exit code 65, and what it says."""
    stack.daemon.start(wait=False, more=more)
    wait_until(lambda: not stack.daemon.process.alive(), "the daemon to end")
    assert stack.daemon.process.stop() == 65
    return stack.daemon.process.tail()


REMOVALS = {
    "file": lambda store: (store / "state.redb").unlink(),
    "file moved": lambda store: (store / "state.redb").rename(store / "elsewhere"),
    # What the daemon has written anew by the time that it is removed may be in the way.
    "directory": lambda store: shutil.rmtree(store, ignore_errors=True),
    "directory moved": lambda store: store.rename(store.with_name("moved")),
}


@pytest.mark.parametrize("remove", REMOVALS.values(), ids=REMOVALS.keys())
def test_a_store_that_is_taken_away_is_put_back_and_never_durable_without_being_there(remove):
    with running() as stack:
        users = [new_user() for _ in range(20)]
        for user in users:
            assert stack.daemon.block(user)["durable"] is True
        remove(stack.daemon.store)
        users.append(new_user())
        receipt = publish(stack, users[-1])
        # Either it says that it is not, or it is there.
        assert receipt["enforced"] is True
        assert receipt["durable"] is False or (stack.daemon.store / "state.redb").exists()
        wait_until(lambda: stack.daemon.status()["store"]["rewrites"] >= 1, "the store to be back")
        wait_until(lambda: ready(stack), "the daemon to be ready")
        assert stack.daemon.metrics()["portcullis_store_rewrites_total"] >= 1
        assert "the store's file is gone" in stack.daemon.process.log.read_text()
        assert all(blocked(stack, user) for user in users)
        restarted(stack)
        assert stack.daemon.status()["store"]["events"] == len(users)
        stack.edge.process.kill()
        stack.edge.start()
        stack.wait_synced()
        assert all(blocked(stack, user) for user in users)
        verify = stack.daemon.cli("audit", "verify", "--config", str(stack.daemon.config))
        assert verify.returncode == 0, verify.stdout


def test_a_store_that_cannot_be_put_back_is_an_alarm_and_enforcement_goes_on():
    with running(daemon_settings={"api": {"ack_timeout": "500ms"}}) as stack:
        old = event("block", new_user())
        assert stack.daemon.publish(old)["durable"] is True
        moved = stack.daemon.store.with_name("moved")
        stack.daemon.store.rename(moved)
        stack.daemon.store.write_text("a file where the directory was")
        user = new_user()
        receipt = publish(stack, user)
        assert (receipt["enforced"], receipt["durable"]) == (True, False)
        assert blocked(stack, user)
        # What was durable before is not any more either.
        again = stack.daemon.post(old).json()
        assert (again["result"], again["durable"]) == ("duplicate", False)
        answer = stack.daemon.get("/readyz")
        assert answer.status == 503 and "store is failing" in answer.body.decode()
        assert stack.daemon.metrics()["portcullis_store_failing"] == 1
        assert "NOT WRITABLE" in stack.daemon.cli("status").stdout
        stack.daemon.store.unlink()
        wait_until(lambda: ready(stack), "the store to be back")
        assert stack.daemon.post(old).json()["durable"] is True
        restarted(stack)
        assert stack.daemon.status()["store"]["events"] == 2


def test_another_store_in_its_place_is_left_alone_until_somebody_decides():
    with running() as stack:
        users = [new_user() for _ in range(3)]
        stack.daemon.block(users[0])
        file = stack.daemon.store / "state.redb"
        backup = file.with_name("backup")
        shutil.copy(file, backup)
        stack.daemon.block(users[1])
        backup.rename(file)
        wait_until(lambda: not ready(stack), "the alarm")
        assert "another file has been put in its place" in stack.daemon.status()["store"]["cause"]
        assert publish(stack, users[2])["durable"] is False
        assert all(blocked(stack, user) for user in users)
        file.unlink()
        wait_until(lambda: ready(stack), "the store to be back")
        restarted(stack)
        assert stack.daemon.status()["store"]["events"] == 3


def test_dead_letters_pseudonyms_and_the_audit_log_are_put_back_as_well(user):
    with running(redis=True) as stack:
        stack.daemon.block(user)
        letter = {**event("block", new_user()), "schema_version": "2.0"}
        stack.redis.publish(letter)
        dead_letters.wait_for(stack.daemon, letter["event_id"])
        config = str(stack.daemon.config)
        verify = lambda: stack.daemon.cli("audit", "verify", "--config", config)  # noqa: E731
        show = lambda: stack.daemon.cli("audit", "show", "--config", config, "--user", user)  # noqa: E731
        wait_until(lambda: "action=block" in show().stdout, "the line about the block")
        REMOVALS["directory"](stack.daemon.store)
        names = ["state.redb", "dead-letters.redb", "pseudonyms.redb", "audit/head"]
        wait_until(lambda: all((stack.daemon.store / name).exists() for name in names), "all files")
        assert dead_letters.of_event(stack.daemon, letter["event_id"])
        assert "action=block" in show().stdout
        wait_until(lambda: ready(stack), "the daemon to be ready")
        wait_until(lambda: "kind=damaged" in _all_lines(stack), "the line that says so")
        assert verify().returncode == 0, verify().stdout
        stack.daemon.process.stop()
        restarted(stack, kill=False)
        assert dead_letters.of_event(stack.daemon, letter["event_id"])
        assert verify().returncode == 0, verify().stdout


def _all_lines(stack) -> str:
    shown = stack.daemon.cli("audit", "show", "--config", str(stack.daemon.config)).stdout
    return shown.replace(" damaged ", " kind=damaged ")


def test_an_emptied_store_is_no_first_start_and_lets_nobody_in():
    with running(redis=True) as stack:
        wait_until(lambda: ready(stack), "Redis to be connected")
        user = new_user()
        assert stack.daemon.block(user)["durable"] is True
        stack.daemon.process.kill()
        stack.edge.process.kill()
        stack.redis.process.pause()
        shutil.rmtree(stack.daemon.store)
        said = refused_start(stack)
        assert "state.redb: missing, though" in said and "store.witness says" in said
        assert "--rebuild-store" in said
        assert not (stack.daemon.store / "state.redb").exists()
        # An operator says that it is lost: then Redis has to say what is in force.
        stack.daemon.start(more=["--rebuild-store"])
        stack.edge.start()
        wait_until(stack.node, "the first poll")
        assert stack.edge.get("/", user).status == 503
        assert stack.edge.get("/", new_user()).status == 503
        assert not ready(stack)
        stack.redis.process.resume()
        wait_until(lambda: blocked(stack, user), "the block to be back", 20)
        assert stack.edge.get("/", new_user()).status == 200


def test_an_audit_log_elsewhere_is_a_witness_too():
    with running() as stack:
        directory = stack.daemon.config.parent / "log"
        text = stack.daemon.config.read_text()
        stack.daemon.process.stop()
        stack.daemon.config.write_text(text + f'\n[audit]\ndirectory = "{directory}"\n')
        stack.daemon.start()
        stack.daemon.process.stop()
        forget_everything(stack.daemon)
        assert "audit-000000000001.jsonl says" in refused_start(stack)


def test_never_synced_means_nothing_is_known_while_redis_has_not_been_read(user):
    """Three ways to know nothing: each is told to Envoy as such, and as such to operators."""
    with running(redis=True) as stack:
        stack.daemon.process.kill()
        stack.edge.process.kill()
        stack.redis.kill()
        for again in range(3):
            if again == 0:
                forget_everything(stack.daemon)  # The very first start of all.
            stack.daemon.start()
            stack.edge.start()
            wait_until(stack.node, "the first poll")
            time.sleep(1.2)  # A poll is held for a second: two have been answered.
            assert stack.edge.get("/", user).status == 503
            assert stack.daemon.get("/readyz").status == 503
            [source] = [s for s in stack.daemon.status()["sources"] if s["name"] == "redis"]
            assert (source["state"], source["age_ms"]) == ("connecting", None)
            stack.edge.wait_metric("portcullis_denied_never_synced", 1)
            stack.daemon.process.kill()
            stack.edge.process.kill()
            if again == 1:
                shutil.rmtree(stack.daemon.store)
                stack.daemon.start(more=["--rebuild-store"])
                stack.daemon.process.kill()


def test_without_redis_a_node_that_was_served_before_is_an_alarm(user):
    with running() as stack:
        stack.daemon.block(user)
        stack.daemon.process.kill()
        forget_everything(stack.daemon)
        stack.daemon.start()
        wait_until(lambda: not ready(stack), "the alarm")
        assert "was served by a daemon that had another store" in stack.daemon.status()["store"]["doubt"]
        assert stack.daemon.metrics()["portcullis_store_doubtful"] == 1
        # What the node knows it goes on to enforce.
        assert blocked(stack, user)


def test_a_flood_of_garbage_fills_no_disk_and_pushes_out_nothing_good(summary):
    with running(redis=True) as stack:
        good = [event("block", new_user(), at_ms=events.now_ms() - 8 * 24 * 3_600_000) for _ in range(50)]
        for letter in good:
            stack.redis.publish(letter)
        for letter in good:
            dead_letters.wait_for(stack.daemon, letter["event_id"])
        wait_until(lambda: stack.daemon.status()["audit"]["queue"] == 0, "the audit log to be quiet")
        store = stack.daemon.store
        before = (bytes_in(store / "audit"), (store / "dead-letters.redb").stat().st_size)
        before_refused = _refused(stack)
        large = b"x" * (LARGE_BYTES - 10)
        for start in range(0, FLOOD, 1_000):
            pipeline = stack.redis.client.pipeline(transaction=False)
            for number in range(start, start + 1_000):
                body = large if number % (FLOOD // LARGE) == 0 else b""
                pipeline.publish(stack.redis.CHANNEL, b"%010d" % number + body)
            pipeline.execute()
            # Not so fast that the daemon gives the connection up.
            wait_until(
                lambda start=start: _refused(stack) - before_refused >= start - 20_000, "the daemon", 60
            )
        user = new_user()
        stack.redis.publish(event("block", user))
        wait_until(lambda: blocked(stack, user), "the block behind it", 30)
        wait_until(lambda: _refused(stack) - before_refused >= FLOOD, "all of it", 60)

        def counted() -> int:
            letters = dead_letters.everything(stack.daemon)
            return sum(letter["count"] for letter in letters if letter["kind"] == "malformed")

        wait_until(lambda: counted() == FLOOD, "every message to be counted", 30)
        for letter in good:
            assert dead_letters.of_event(stack.daemon, letter["event_id"])
        stack.daemon.process.stop()
        grown = (
            bytes_in(store / "audit") - before[0],
            (store / "dead-letters.redb").stat().st_size - before[1],
        )
        summary(f"100,000 garbage messages: audit +{grown[0]} bytes, dead letters +{grown[1]}")
        assert grown[0] < 500_000 and grown[1] < 8_000_000, grown
        lines = [
            json.loads(line)
            for file in sorted((store / "audit").glob("*.jsonl"))
            for line in file.read_text().splitlines()
        ]
        refused = [line for line in lines if line.get("cause") == "malformed"]
        alone = sum(line["kind"] == "event" for line in refused)
        together = sum(line["count"] for line in refused if line["kind"] == "repeats")
        assert alone + together == FLOOD and alone < 1_000, (alone, together)
        verify = stack.daemon.cli("audit", "verify", "--config", str(stack.daemon.config))
        assert verify.returncode == 0, verify.stdout


def _refused(stack) -> float:
    return stack.daemon.metrics()['portcullis_events_total{source="redis",result="refused"}']
