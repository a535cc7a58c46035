"""Several daemons on one Redis, paused, restarted: all end with the state that the order of events gives."""

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from chaos.proxy import Link
from harness import artifacts, ports
from harness.events import event, new_user
from harness.proc import wait_until
from harness.redis_server import Redis
from harness.stack import running
from test_truth import script, status, view


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two daemons, each with its Envoy, on one Redis."""
    redis = Redis(tmp_path_factory.mktemp("redis"))
    sources = {"redis": {"url": redis.url, "digest_interval": "500ms"}}
    settings = {"sources": sources}
    try:
        with running(daemon_settings=settings) as first, running(daemon_settings=settings) as second:
            first.redis = second.redis = redis
            yield first, second
    finally:
        redis.close()


def in_step(*stacks) -> None:
    """Until all daemons know the same events, and their Envoys have them."""

    def same() -> bool:
        statuses = [stack.daemon.status() for stack in stacks]
        digests = [(one["digest"]["count"], one["digest"]["sum"]) for one in statuses]
        # What is on its way to Redis is not known to all yet.
        written = stacks[0].redis.client.hmget("{portcullis}:digest", "count", "sum")
        digests.append(tuple(int(number or 0) for number in written))
        held = [one["redis"] for one in statuses]
        assert len(set(digests)) == 1 and all(one and one["state"] == "same" for one in held), held
        return True

    wait_until(same, "the daemons to agree", 20)
    for stack in stacks:
        stack.wait_synced()


def way(stack, how: str):
    """Publishes one event so."""
    ways = {
        "script": lambda made: script(stack, made, made["key"]["user_id"]),
        "bare": stack.redis.publish,
        "api": stack.daemon.post,
    }
    return ways[how]


@pytest.mark.parametrize("how", ["script", "bare", "api"])
def test_a_daemon_that_was_paused_takes_events_in_their_order(two, how):
    """Blocks go before everything else, but do not count as older for that."""
    first, second = two
    publish = way(first, how)
    users = [new_user() for _ in range(50)]
    second.daemon.process.pause()
    for action in ["block", "unblock", "block"]:
        for user in users:
            publish(event(action, user))
    lifted = [new_user() for _ in range(50)]
    for action in ["block", "unblock"]:
        for user in lifted:
            publish(event(action, user))
    wait_until(lambda: status(first, lifted[-1]) == 200, "all events here")
    second.daemon.process.resume()
    wait_until(lambda: status(second, users[-1]) != 503, "the Envoy to be fresh")
    in_step(first, second)
    for stack in two:
        assert [user for user in users if status(stack, user) != 403] == []
        assert [user for user in lifted if status(stack, user) != 200] == []


@pytest.mark.parametrize("how", ["script", "api", "bare"])
@pytest.mark.parametrize("bare, then", [("unblock", "block"), ("block", "unblock")])
def test_a_bare_event_that_is_heard_late_overrules_nothing_that_came_after_it(two, bare, then, how):
    """A bare event does not tell when it was published, and the paused daemon hears both at once."""
    first, second = two
    publish = way(first, how)
    users = [new_user() for _ in range(40)]
    other = {"block": 403, "unblock": 200}
    if bare == "unblock":
        for user in users:
            first.daemon.block(user)
    in_step(first, second)
    second.daemon.process.pause()
    for user in users:
        first.redis.publish(event(bare, user))
    wait_until(lambda: status(first, users[-1]) == other[bare], "the bare events here")
    for user in users:
        publish(event(then, user))
    wait_until(lambda: status(first, users[-1]) == other[then], "the others here")
    second.daemon.process.resume()
    wait_until(lambda: status(second, users[-1]) != 503, "the Envoy to be fresh")
    in_step(first, second)
    for stack in two:
        assert [user for user in users if status(stack, user) != other[then]] == []
    # What they agree on is what is kept.
    second.daemon.process.kill()
    second.daemon.start()
    in_step(first, second)
    assert [user for user in users if status(second, user) != other[then]] == []


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory):
    """Two daemons whose links to a live Redis fall silent and come back; the links come last."""
    redis = Redis(tmp_path_factory.mktemp("redis"))
    with links(redis.port, 2) as ends:
        settings = [
            {"sources": {"redis": {"url": f"redis://127.0.0.1:{link.near}", "digest_interval": "500ms"}}}
            for link in ends
        ]
        try:
            with running(daemon_settings=settings[0]) as one, running(daemon_settings=settings[1]) as other:
                one.redis = other.redis = redis
                yield one, other, ends
        finally:
            redis.close()


@contextmanager
def links(port: int, count: int):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    ends = [Link(ports.free(), port) for _ in range(count)]
    for link in ends:
        asyncio.run_coroutine_threadsafe(link.start(), loop).result(5)

    def at_once(step):
        loop.call_soon_threadsafe(step)

    try:
        yield [_Remote(link, at_once) for link in ends]
    finally:
        for link in ends:
            at_once(link.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)


class _Remote:
    """A link that lives in another thread."""

    def __init__(self, link: Link, at_once):
        self.near = link.near
        self.silence = lambda: at_once(link.silence)
        self.heal = lambda: at_once(link.heal)
        self.switch = lambda far: at_once(lambda: link.switch(far))


@pytest.mark.parametrize("earlier, later", [("block", "unblock"), ("unblock", "block")])
@pytest.mark.parametrize("script_first", [True, False], ids=["script-api", "api-script"])
def test_what_is_said_while_nobody_hears_the_others_counts_in_its_order(
    cut_off, earlier, later, script_first
):
    first, second, ends = cut_off
    users = [new_user() for _ in range(20)]
    if earlier == "unblock":
        for user in users:
            first.daemon.block(user)
    in_step(first, second)
    for link in ends:
        link.silence()
    by_script = way(first, "script")
    with ThreadPoolExecutor(len(users)) as pool:
        # Each answer comes when its patience is over: all are asked for at once.
        by_api = lambda made: pool.submit(first.daemon.post, made)  # noqa: E731
        ways = [by_script, by_api] if script_first else [by_api, by_script]
        for user in users:
            ways[0](event(earlier, user))
        wanted = {"block": 403, "unblock": 200}
        if not script_first:
            wait_until(lambda: all(status(first, user) == wanted[earlier] for user in users), "the API")
        for user in users:
            ways[1](event(later, user))
        if script_first:
            wait_until(lambda: all(status(first, user) == wanted[later] for user in users), "the API")
        for link in ends:
            link.heal()
    in_step(first, second)
    for stack in (first, second):
        wait_until(lambda stack=stack: status(stack, users[-1]) != 503, "the Envoy to be fresh")
        assert [user for user in users if status(stack, user) != wanted[later]] == []


def test_a_retry_through_another_daemon_while_nobody_hears_the_others_ends_in_one_state(cut_off):
    """Each has a stamp of its own for it, with another event between the two."""
    first, second, ends = cut_off
    users = [new_user() for _ in range(20)]
    in_step(first, second)
    for link in ends:
        link.silence()
    with ThreadPoolExecutor(3 * len(users)) as pool:
        blocks = [event("block", user) for user in users]
        for block in blocks:
            pool.submit(first.daemon.post, block)
        wait_until(lambda: all(status(first, user) == 403 for user in users), "the blocks")
        for user in users:
            pool.submit(first.daemon.post, event("unblock", user))
        wait_until(lambda: all(status(first, user) == 200 for user in users), "the unblocks")
        for block in blocks:
            pool.submit(second.daemon.post, block)
        wait_until(lambda: all(status(second, user) == 403 for user in users), "the retries")
        for link in ends:
            link.heal()
    in_step(first, second)
    for stack in (first, second):
        wait_until(lambda stack=stack: status(stack, users[-1]) != 503, "the Envoy to be fresh")
    for user in users:
        assert status(first, user) == status(second, user), user


@pytest.mark.parametrize("actions", [["block", "unblock"] * 2, ["block", "unblock", "block"]], ids=len)
def test_what_is_heard_live_and_what_is_read_are_in_one_order(two, actions):
    """A crowd of events after a pause comes over Pub/Sub and in the stream, either first."""
    first, second = two
    redis = first.redis.client
    loaded = redis.script_load((artifacts.REPOSITORY / "invalidator/redis/publish.lua").read_text())
    users = [new_user() for _ in range(3000)]
    second.daemon.process.pause()
    pipe = redis.pipeline(transaction=False)
    for user in users:
        names = [f"{{portcullis}}:{name}" for name in (f"state:user:{user}", "subjects", "stream", "digest")]
        for action in actions:
            made = event(action, user)
            content = [f"user:{user}", made["event_id"], json.dumps(made)]
            pipe.evalsha(loaded, 4, *names, first.redis.CHANNEL, *content, 100_000, 256)
    pipe.execute()
    second.daemon.process.resume()
    wait_until(lambda: status(second, users[-1]) != 503, "the Envoy to be fresh")
    in_step(first, second)
    expected = 403 if actions[-1] == "block" else 200
    for stack in two:
        with stack.edge.connect() as connection:
            wrong = [user for user in users if connection.get("/", user).status != expected]
        assert wrong == []


def test_what_is_answered_is_true_when_it_is_answered(two):
    """Not when it was taken in: until then it may have been lifted."""
    first, _ = two
    user, answers = new_user(), []
    block = event("block", user)
    first.edge.process.pause()
    asked = threading.Thread(target=lambda: answers.append(first.daemon.post(block).json()))
    asked.start()
    wait_until(lambda: first.daemon.get(f"/v1/users/{user}").status == 200, "the block")
    lift = event("unblock", user)
    lifting = threading.Thread(target=lambda: first.daemon.post(lift))
    lifting.start()
    wait_until(lambda: view(first, user) == [], "the unblock")
    first.edge.process.resume()
    asked.join()
    lifting.join()
    assert status(first, user) == 200
    (done,) = answers
    assert (done["in_effect"], done["enforced"]) == (False, False), done
    assert [by["event_id"] for by in done["overruled_by"]] == [lift["event_id"]], done


def test_a_block_that_has_ended_makes_room_at_nodes_too(two):
    first, _ = two
    user = new_user()
    first.daemon.block(user, reason="short", duration="1s")
    for number in range(23):
        first.daemon.block(user, reason=f"r-{number}", scope=["bet"])
    wait_until(lambda: status(first, user) == 200, "the first block to end")
    done = first.daemon.post(event("block", user, reason="one-more")).json()
    assert done["enforced"] is True, done
    assert status(first, user) == 403


def test_a_retry_after_a_restart_brings_nothing_back():
    """Of a daemon without Redis."""
    with running() as stack:
        user, other = new_user(), new_user()
        block, unblock = event("block", user, reason="fraud"), event("unblock", user, reason="fraud")
        early = event("unblock", other, reason="fraud")
        stack.daemon.publish(block)
        stack.daemon.publish(unblock)
        stack.daemon.post(early)
        stack.daemon.block(other, reason="fraud")
        stack.daemon.process.stop()
        stack.daemon.start()
        stack.wait_synced()
        again = stack.daemon.post(block).json()
        assert (again["result"], again["in_effect"]) == ("duplicate", False), again
        assert status(stack, user) == 200
        again = stack.daemon.post(early).json()
        assert (again["result"], again["in_effect"]) == ("duplicate", False), again
        assert status(stack, other) == 403


def test_a_retry_under_an_id_that_was_taken_is_the_same_event(two):
    """Another publisher had the id; the retry says anew when it occurred."""
    first, _ = two
    user = new_user()
    first.redis.publish(event("unblock", user, event_id="taken-1"))
    key = f"{{portcullis}}:state:user:{user}"
    wait_until(lambda: first.redis.client.hlen(key) == 1, "the forged event to be written")
    block = event("block", user, event_id="taken-1")
    own = first.daemon.publish(block)["event_id"]
    assert own.startswith("taken-1~")
    assert first.daemon.unblock(user)["result"] == "applied"
    retry = event("block", user, event_id="taken-1")
    again = first.daemon.post(retry).json()
    assert (again["result"], again["event_id"], again["in_effect"]) == ("duplicate", own, False), again
    assert status(first, user) == 200


def test_one_publishers_order_is_the_same_after_a_restart(two):
    """And for a daemon that hears it in another order."""
    first, second = two
    user = new_user()
    now = int(time.time() * 1000)
    of = lambda made: {**made, "publisher": "desk"}  # noqa: E731
    first.daemon.post(of(event("block", user, event_id="z-1", reason="fraud", at_ms=now + 60_000)))
    first.daemon.post(of(event("block", user, event_id="z-2", reason="kyc", at_ms=now)))
    done = first.daemon.post(of(event("unblock", user, event_id="a-1", at_ms=now + 10_000))).json()
    before = view(first, user)
    wait_until(lambda: second.daemon.get(f"/v1/users/{user}").status == 200, "the second daemon")
    in_step(first, second)
    print(json.dumps(done), before, view(second, user))
    assert view(second, user) == before
    first.daemon.process.stop()
    first.daemon.start()
    first.wait_synced()
    assert view(first, user) == before
