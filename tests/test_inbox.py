"""Inboxes: publishers who may append events to a list in Redis, and do nothing else there."""

import json
import statistics
import sys
import time
from contextlib import ExitStack, contextmanager

import pytest
import redis as client

from harness import artifacts, dead_letters, events
from harness.events import event, new_user
from harness.proc import wait_until
from harness.redis_server import Redis
from harness.stack import running
from test_audit import lines as audit_lines
from test_hostile_redis import DAY_MS
from test_intake import KEYS, SECRET, sign, write_private
from test_order import in_step
from test_redis import run

DOCUMENT = artifacts.REPOSITORY / "docs/how-to/publish-over-redis.md"
RIGHTS = artifacts.REPOSITORY / "docs/how-to/connect-redis.md"
FRAUD_ONLY = {"allow": {"actions": ["block", "unblock"], "reasons": ["fraud"]}}
INBOXES = [{"name": "risk-engine"}, {"name": "fraud-desk", **FRAUD_ONLY}, {"name": "flooder"}]


def settings(url: str, *, rules: dict | None = None, **sources) -> dict:
    redis = {"url": url, "digest_interval": "500ms", "inboxes": INBOXES, **sources}
    return {"sources": {"redis": redis}, **({"events": rules} if rules else {})}


@contextmanager
def serving(directory, daemons: int = 1, options: list[str] | None = None, **more):
    """Some daemons on one Redis, each with its Envoy."""
    with ExitStack() as cleanup:
        redis = Redis(directory, options)
        cleanup.callback(redis.close)
        stacks = []
        for _ in range(daemons):
            stack = cleanup.enter_context(running(daemon_settings=settings(redis.url, **more)))
            stack.redis = redis
            stacks.append(stack)
        for stack in stacks:
            hears = lambda s=stack: "tells of what comes into inboxes" in s.daemon.process.log.read_text()  # noqa: E731
            wait_until(hears, "Redis to tell of inboxes")
        yield stacks


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("redis"), daemons=2) as stacks:
        yield stacks


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("redis")) as stacks:
        yield stacks[0]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def strict(directory, tmp_path_factory):
    """Signatures are required."""
    write_private(directory / "keys.toml", KEYS)
    rules = {"keys_file": str(directory / "keys.toml"), "redis": {"signatures": "required"}}
    with serving(tmp_path_factory.mktemp("redis"), rules=rules) as stacks:
        yield stacks[0]


def put(stack, *made: dict | bytes, inbox: str = "risk-engine") -> int:
    """How many lie in the inbox then."""
    elements = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in made]
    return stack.redis.client.rpush(f"{{portcullis}}:inbox:{inbox}", *elements)


def status(stack, user: str, path: str = "/") -> int:
    return stack.edge.get(path, user).status


def blocked(stack, user: str, timeout_s: float = 10) -> None:
    wait_until(lambda: status(stack, user) == 403, f"the block of {user}", timeout_s, 0.001)


def taken(stack, result: str, inbox: str = "risk-engine") -> float:
    return stack.daemon.metrics()[f'portcullis_inbox_events_total{{inbox="{inbox}",result="{result}"}}']


def unfinished(stack, inbox: str = "risk-engine") -> tuple[int, int, int]:
    """In the inbox, taken and not done with, and leased."""
    redis = stack.redis.client
    return (
        redis.llen(f"{{portcullis}}:inbox:{inbox}"),
        redis.hlen(f"{{portcullis}}:taken:{inbox}"),
        redis.zcard(f"{{portcullis}}:leases:{inbox}"),
    )


def finished(stack, inbox: str = "risk-engine", timeout_s: float = 10) -> None:
    wait_until(lambda: unfinished(stack, inbox) == (0, 0, 0), f"all of {inbox} to be done with", timeout_s)


def kept(stack, user: str) -> int:
    return stack.redis.client.hlen(f"{{portcullis}}:state:user:{user}")


def test_what_is_put_into_an_inbox_is_enforced_on_every_envoy_and_written_once(two, user):
    put(two[0], event("block", user))
    for stack in two:
        blocked(stack, user)
    finished(two[0])
    assert kept(two[0], user) == 1
    in_step(*two)
    put(two[0], event("unblock", user))
    for stack in two:
        wait_until(lambda s=stack: status(s, user) == 200, "the unblock")


@pytest.mark.parametrize(
    "language, argv, user",
    [("sh", ["bash", "-euc"], "erin"), ("python", [sys.executable, "-c"], "frank")],
)
def test_what_the_document_tells_publishers_to_do_works(one, language, argv, user):
    chapter = DOCUMENT.read_text().split("\n## Inboxes\n")[1]
    code = chapter.split(f"```{language}\n")[1].split("```")[0]
    run(one, [*argv, code])
    blocked(one, user)
    finished(one, "fraud-desk")
    assert kept(one, user) == 1


def test_it_is_enforced_at_once(two, summary):
    """It is not looked for now and then."""
    times = []
    for _ in range(30):
        user = new_user()
        assert status(two[0], user) == 200
        made = json.dumps(event("block", user)).encode()
        with two[0].edge.connect() as connection:
            connection.get("/", user)
            started = time.perf_counter()
            put(two[0], made)
            while connection.get("/", user).status != 403:
                assert time.perf_counter() < started + 5
            times.append((time.perf_counter() - started) * 1000)
    summary(f"RPUSH to the first 403: median {statistics.median(times):.1f} ms, worst {max(times):.1f} ms")
    assert statistics.median(times) < 20, times


def test_a_publisher_with_the_documented_rights_can_do_nothing_else(one, user):
    lines = DOCUMENT.read_text().splitlines()
    [rule] = [line for line in lines if line.startswith("ACL SETUSER fraud-desk ")]
    one.redis.client.execute_command(*rule.replace("'", "").split(" "))
    redis = client.Redis(port=one.redis.port, username="fraud-desk", password="PASSWORD")
    mine, others = "{portcullis}:inbox:fraud-desk", "{portcullis}:inbox:risk-engine"
    stream, state = "{portcullis}:stream", f"{{portcullis}}:state:user:{user}"
    text = (artifacts.REPOSITORY / "invalidator/redis/publish.lua").read_text()
    tries = [
        lambda: redis.rpush(others, "{}"),
        lambda: redis.rpush(f"{mine}:x", "{}"),
        lambda: redis.rpush("{portcullis}:taken:fraud-desk", "{}"),
        lambda: redis.lpush(mine, "{}"),
        lambda: redis.lpop(mine),
        lambda: redis.rpop(mine),
        lambda: redis.lrange(mine, 0, -1),
        lambda: redis.llen(mine),
        lambda: redis.lrem(mine, 0, "{}"),
        lambda: redis.lset(mine, 0, "{}"),
        lambda: redis.ltrim(mine, 1, 0),
        lambda: redis.lmove(mine, others),
        lambda: redis.delete(mine),
        lambda: redis.rename(mine, others),
        lambda: redis.expire(mine, 1),
        lambda: redis.set(mine, "x"),
        lambda: redis.xadd(stream, {"event": "{}"}),
        lambda: redis.xread({stream: 0}),
        lambda: redis.hset(state, "a", "b"),
        lambda: redis.hgetall(state),
        lambda: redis.eval(text, 4, state, "{portcullis}:subjects", stream, "{portcullis}:digest"),
        lambda: redis.eval("return 1", 0),
        lambda: redis.script_load("return 1"),
        lambda: redis.publish("portcullis.invalidations", "{}"),
        lambda: redis.execute_command("SUBSCRIBE", "portcullis.invalidations"),
        lambda: redis.keys("*"),
        redis.flushall,
        lambda: redis.config_get("*"),
        lambda: redis.execute_command("CLIENT", "TRACKING", "ON", "BCAST"),
        lambda: redis.execute_command("MONITOR"),
        redis.info,
    ]
    for attempt in tries:
        with pytest.raises(client.exceptions.NoPermissionError):
            attempt()
    redis.rpush(mine, json.dumps(event("block", user, reason="fraud")))
    blocked(one, user)


def test_an_inbox_is_good_for_what_it_allows(one, user):
    one.daemon.block(user, reason="self_excluded", scope=["deposit"])
    put(one, event("block", user, reason="fraud", scope=["bet"]), inbox="fraud-desk")
    wait_until(lambda: status(one, user, "/bet") == 403, "the block")
    beyond = [
        event("unblock", user),
        event("unblock", user, reason="self_excluded"),
        event("block", user, reason="self_excluded"),
        event("zero", user),
    ]
    before = taken(one, "refused", "fraud-desk")
    put(one, *beyond, inbox="fraud-desk")
    for made in beyond:
        letter = dead_letters.wait_for(one.daemon, made["event_id"])
        assert (letter["kind"], letter["inbox"]) == ("beyond_authority", "fraud-desk")
        [result] = dead_letters.replay(one.daemon, event_id=made["event_id"])
        assert result["result"] == "refused"
    finished(one, "fraud-desk")
    assert taken(one, "refused", "fraud-desk") == before + 4
    assert (status(one, user, "/deposit"), status(one, user, "/withdraw")) == (403, 200)
    line = {"event_id": beyond[0]["event_id"], "inbox": "fraud-desk", "cause": "beyond_authority"}
    wait_until(lambda: audit_lines(one, "event", result="refused", **line), "the line in the audit log")
    put(one, event("unblock", user, reason="fraud"), inbox="fraud-desk")
    wait_until(lambda: status(one, user, "/bet") == 200, "the unblock")


def test_ids_count_per_inbox(one, user):
    """Whoever publishes bare under the ids that will be used keeps nobody's events out."""
    one.redis.publish(event("unblock", user, event_id="taken-1"))
    wait_until(lambda: kept(one, user) == 1, "the bare event to be written")
    put(one, event("block", user, reason="fraud", event_id="taken-1"), inbox="fraud-desk")
    blocked(one, user)
    put(one, event("block", user, reason="fraud", event_id="own-1", scope=["bet"]), inbox="fraud-desk")
    put(one, event("block", user, reason="kyc", event_id="own-1"), inbox="risk-engine")
    finished(one, "fraud-desk")
    finished(one)
    ids = {
        block["reason"]: block["event_id"] for block in one.daemon.get(f"/v1/users/{user}").json()["blocks"]
    }
    assert ids["fraud"] == "own-1" and ids["kyc"].startswith("own-1~"), ids
    put(one, event("unblock", user, reason="fraud", event_id="own-1"), inbox="fraud-desk")
    letter = dead_letters.wait_for(one.daemon, "own-1")
    assert (letter["kind"], letter["inbox"]) == ("conflict", "fraud-desk")


def test_one_publishers_order_is_kept_whoever_takes_what(two):
    """Two daemons compete for each."""
    users = [new_user() for _ in range(200)]
    lifted = [new_user() for _ in range(200)]
    results = ("applied", "duplicate", "stale", "no_effect")
    before = {result: sum(taken(s, result) for s in two) for result in results}
    for user in users:
        put(two[0], *(event(action, user) for action in ("block", "unblock", "block")))
    burst = [event(action, user) for action in ("block", "unblock") for user in lifted]
    put(two[0], *burst)
    finished(two[0])
    in_step(*two)
    for stack in two:
        assert [user for user in users if status(stack, user) != 403] == []
        assert [user for user in lifted if status(stack, user) != 200] == []
    counted = {result: sum(taken(s, result) for s in two) - before[result] for result in results}
    assert sum(counted.values()) == 200 * 5 and counted["duplicate"] == 0, counted
    assert all(taken(stack, "applied") > 0 for stack in two), "both take"


@pytest.mark.parametrize("element", [b"", b"{", b"\xff\xfe", b"[]", b"null", b'{"event_id": 5}'], ids=repr)
def test_garbage_is_refused_and_what_comes_after_it_is_not(one, user, element):
    before = taken(one, "refused")
    put(one, element, event("block", user))
    blocked(one, user)
    finished(one)
    assert taken(one, "refused") == before + 1


def test_what_is_too_large_is_refused_and_not_kept_whole(one, user):
    made = event("block", user, note="x" * 20_000)
    put(one, made, b"x" * 30_000_000, event("block", user))
    blocked(one, user)
    finished(one)
    large = [letter for letter in dead_letters.everything(one.daemon) if letter["kind"] == "too_large"]
    assert len(large) == 2
    for listed in large:
        letter = one.daemon.get(f"/v1/dead-letters/{listed['id']}").json()
        assert letter["inbox"] == "risk-engine" and len(letter["raw"]) == 1024


def test_a_flood_in_one_inbox_does_not_delay_another(two, summary):
    flood = [json.dumps(event("block", new_user(), scope=["bet"])) for _ in range(50_000)]
    redis, started = two[0].redis.client, time.monotonic()
    for begin in range(0, len(flood), 5_000):
        redis.rpush("{portcullis}:inbox:flooder", *flood[begin : begin + 5_000])
    times, by_api = [], []
    while redis.llen("{portcullis}:inbox:flooder") > 2_000:
        begun = time.perf_counter()
        two[0].daemon.block(new_user())
        by_api.append((time.perf_counter() - begun) * 1000)
        user = new_user()
        begun = time.perf_counter()
        put(two[0], event("block", user))
        for stack in two:
            blocked(stack, user)
        times.append((time.perf_counter() - begun) * 1000)
    finished(two[0], "flooder", 60)
    took = time.monotonic() - started
    summary(
        f"50,000 events out of one inbox in {took:.1f} s; meanwhile from RPUSH to 403 on both Envoys: "
        f"median {statistics.median(times):.0f} ms, worst {max(times):.0f} ms of {len(times)}; "
        f"answers of the API: median {statistics.median(by_api):.0f} ms, worst {max(by_api):.0f} ms"
    )
    assert statistics.median(by_api) < 250, by_api
    assert len(times) > 5 and statistics.median(times) < 250 and max(times) < 1_500, times
    log = "".join(stack.daemon.process.log.read_text() for stack in two)
    assert "more events come into an inbox than are taken" in log
    in_step(*two)
    assert kept(two[0], json.loads(flood[-1])["key"]["user_id"]) == 1


def test_a_daemon_that_is_killed_loses_nothing(tmp_path):
    with serving(tmp_path) as [stack]:
        users = [new_user() for _ in range(3_000)]
        put(stack, *(event("block", user, scope=["bet"]) for user in users))
        laid_aside = []
        for left in (2_500, 1_700, 900, 300):
            wait_until(lambda n=left: unfinished(stack)[0] < n, "some to be taken", every_s=0.001)
            stack.daemon.process.kill()
            laid_aside.append(unfinished(stack)[1])
            stack.daemon.start()
        # Now and then it dies just when it has taken none.
        assert sum(laid_aside) > 0
        finished(stack, timeout_s=30)
        in_step(stack)
        assert [user for user in users if kept(stack, user) != 1] == []
        assert [user for user in users if status(stack, user, "/bet") != 403] == []


def test_another_daemon_takes_over_from_one_that_hangs_in_the_right_order(two):
    """What it had taken counts from when it was taken."""
    first, _second = two
    redis = first.redis.client
    script = redis.register_script((artifacts.REPOSITORY / "invalidator/redis/take.lua").read_text())
    names = [f"{{portcullis}}:{kind}:risk-engine" for kind in ("inbox", "taken", "leases")]
    user, lifted = new_user(), new_user()
    finished(first)
    for stack in two:
        stack.daemon.process.pause()
    # A daemon that takes three events and dies.
    put(first, event("block", lifted), event("unblock", user), event("unblock", user, reason="fraud"))
    assert script(keys=names, args=[3_000, 3, 16_385, 2_048])[:2] == [0, 3]
    put(first, event("unblock", lifted), event("block", user))
    for stack in two:
        stack.daemon.process.resume()
    for stack in two:
        blocked(stack, user)
    finished(first)
    in_step(*two)
    for stack in two:
        assert (status(stack, user), status(stack, lifted)) == (403, 200)


def test_it_goes_on_after_a_restart_of_redis(tmp_path, user):
    """With what was in it."""
    options = ["--appendonly", "yes", "--appendfsync", "always", "--dir", str(tmp_path)]
    with serving(tmp_path, options=options) as [stack]:
        stack.daemon.process.pause()
        put(stack, event("block", user))
        stack.redis.kill()
        stack.daemon.process.resume()
        stack.redis.start()
        blocked(stack, user)
        other = new_user()
        put(stack, event("block", other))
        blocked(stack, other)
        finished(stack)


def test_signatures_are_demanded_of_what_comes_out_of_an_inbox(strict, user):
    unsigned = event("block", user)
    put(strict, unsigned)
    letter = dead_letters.wait_for(strict.daemon, unsigned["event_id"])
    assert letter["kind"] == "signature_missing"
    assert status(strict, user) == 200
    made = sign({**event("block", user, reason="fraud"), "publisher": "risk-engine"})
    put(strict, made)
    blocked(strict, user)
    # What its inbox allows holds for what is signed as well.
    beyond = sign({**event("block", user, reason="kyc"), "publisher": "risk-engine"})
    put(strict, beyond, inbox="fraud-desk")
    assert dead_letters.wait_for(strict.daemon, beyond["event_id"])["kind"] == "beyond_authority"


def test_a_key_that_comes_later_cures_a_refusal(strict, directory, user):
    made = sign(event("block", user), "late", SECRET)
    put(strict, made, sign({**event("block", other := new_user()), "publisher": "risk-engine"}))
    blocked(strict, other)
    assert dead_letters.wait_for(strict.daemon, made["event_id"])["kind"] == "unknown_key"
    wait_until(lambda: unfinished(strict) == (0, 1, 1), "the others to be done with")
    leased = lambda: strict.redis.client.zscore("{portcullis}:leases:risk-engine", stamp)  # noqa: E731
    [stamp] = strict.redis.client.zrange("{portcullis}:leases:risk-engine", 0, -1)
    for _ in range(2):
        before = leased()
        wait_until(lambda b=before: leased() > b, "another try")
    [letter] = dead_letters.of_event(strict.daemon, made["event_id"])
    assert (letter["count"], status(strict, user)) == (1, 200)
    write_private(directory / "keys.toml", f'{KEYS}\n[[keys]]\nid = "late"\nsecret = "{SECRET}"\n')
    blocked(strict, user)
    finished(strict)


def test_an_old_event_is_no_younger_for_being_laid_aside_with_an_old_date(strict, user):
    """By somebody who can write keys raw."""
    old_ms = events.now_ms() - 20 * DAY_MS
    made = sign({**event("block", user, at_ms=old_ms), "publisher": "risk-engine"})
    strict.redis.client.hset("{portcullis}:taken:risk-engine", str(old_ms * 1000), json.dumps(made))
    assert dead_letters.wait_for(strict.daemon, made["event_id"])["kind"] == "too_old"
    finished(strict)
    assert status(strict, user) == 200


def test_a_block_is_enforced_while_redis_is_full_and_written_after_it(tmp_path, user):
    with serving(tmp_path) as [stack]:
        redis = stack.redis.client
        stack.daemon.process.pause()
        put(stack, event("block", user), event("block", user, reason="fraud"))
        redis.config_set("maxmemory", "1")
        with pytest.raises(client.exceptions.OutOfMemoryError):
            put(stack, event("block", user))
        stack.daemon.process.resume()
        blocked(stack, user)
        assert kept(stack, user) == 0
        redis.config_set("maxmemory", "0")
        finished(stack, timeout_s=20)
        assert kept(stack, user) == 2


def test_a_key_of_a_wrong_type_costs_only_its_inbox_and_is_put_aside(one, user):
    redis = one.redis.client
    put_aside = "portcullis_redis_put_aside_total"
    before = one.daemon.metrics()[put_aside]
    for kind in ("taken", "leases", "inbox"):
        redis.set(f"{{portcullis}}:{kind}:flooder", "somebody else")
    other = new_user()
    put(one, event("block", other))
    blocked(one, other)
    wait_until(lambda: redis.exists("{portcullis}:leases:flooder:aside"), "it to be put aside")
    put(one, event("block", user), inbox="flooder")
    blocked(one, user)
    assert one.daemon.metrics()[put_aside] == before + 3
    assert "keys of an inbox were damaged" in one.daemon.process.log.read_text()


@pytest.mark.parametrize("lost", ["taken", "leases"])
def test_what_lies_aside_survives_the_loss_of_what_lies_beside_it(one, user, lost):
    redis, made = one.redis.client, event("block", user)
    if lost == "leases":
        redis.hset("{portcullis}:taken:risk-engine", str(time.time_ns() // 1000), json.dumps(made))
        blocked(one, user)
    else:
        redis.zadd("{portcullis}:leases:risk-engine", {"1": 1e15})
    finished(one)


def test_it_works_without_being_told(tmp_path, user):
    """Redis tells a user of changes only who may ask for it."""
    redis = Redis(tmp_path)
    try:
        redis.client.execute_command(
            "ACL", "SETUSER", "deaf", "on", ">pw", "~*", "&*", "+@all", "-client|tracking"
        )
        url = f"redis://deaf:pw@127.0.0.1:{redis.port}"
        with running(daemon_settings=settings(url)) as stack:
            stack.redis = redis
            refused = lambda: "inboxes are looked into every 50 ms" in stack.daemon.process.log.read_text()  # noqa: E731
            wait_until(refused, "the warning")
            put(stack, event("block", user))
            blocked(stack, user, 1)
    finally:
        redis.close()


def test_the_daemon_needs_no_more_rights_than_are_documented(tmp_path, user):
    lines = RIGHTS.read_text().splitlines()
    rules = [line for line in lines if line.startswith("ACL SETUSER portcullis ")]
    # The last is for limits across the fleet.
    assert len(rules) == 3
    redis = Redis(tmp_path)
    try:
        for rule in rules[:2]:
            redis.client.execute_command(*rule.split(" "))
        url = f"redis://portcullis:PASSWORD@127.0.0.1:{redis.port}"
        with running(daemon_settings=settings(url)) as stack:
            stack.redis = redis
            hears = lambda: "tells of what comes into inboxes" in stack.daemon.process.log.read_text()  # noqa: E731
            wait_until(hears, "Redis to tell of inboxes")
            put(stack, b"garbage", event("block", user))
            blocked(stack, user)
            finished(stack)
            assert "NOPERM" not in stack.daemon.process.log.read_text()
            assert "no permissions" not in stack.daemon.process.log.read_text()
    finally:
        redis.close()
