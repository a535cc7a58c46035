"""The address of Redis leads to another live Redis, with a history of its own: nobody's block is lost."""

import pytest

from harness.events import event, new_user
from harness.proc import wait_until
from harness.redis_server import Redis
from harness.stack import running
from test_order import links
from test_truth import script, status

# The default of `digest_interval`, 30 s, would do: that data is lost is seen at the next look.
OTHERS = 30


class Two:
    """A stack whose daemon reaches the first of two Redis servers through a link."""

    def __init__(self, stack, servers, link):
        self.stack, self.servers, self.link = stack, servers, link
        stack.redis = servers[0]

    def script_to(self, number: int, action: str, user: str) -> None:
        """As a risk engine does that talks to that server."""
        before, self.stack.redis = self.stack.redis, self.servers[number]
        script(self.stack, event(action, user), user)
        self.stack.redis = before

    def wait_for_later(self) -> None:
        """Until the first server's clock is past what the second one wrote last: within one millisecond, two
        servers that do not know each other have no order."""
        written = int(
            self.servers[1].client.xinfo_stream("{portcullis}:stream")["last-generated-id"].split(b"-")[0]
        )

        def is_later() -> bool:
            seconds, micros = self.servers[0].client.time()
            return seconds * 1000 + micros // 1000 > written

        wait_until(is_later, "the next millisecond")

    def switch(self, number: int) -> None:
        self.link.switch(self.servers[number].port)

    def kept(self, number: int, user: str) -> int:
        return self.servers[number].client.hlen(f"{{portcullis}}:state:user:{user}")

    def block_some(self) -> tuple[list[str], list[str]]:
        """Users whom the daemon blocks, and others whom only the second server knows to be blocked."""
        ours, theirs = [new_user() for _ in range(OTHERS)], [new_user() for _ in range(OTHERS)]
        for user in ours:
            self.stack.daemon.block(user)
        for user in theirs:
            self.script_to(1, "block", user)
        return ours, theirs

    def wait_same(self) -> None:
        def same() -> bool:
            said = self.stack.daemon.status()
            assert said["redis"] and said["redis"]["state"] == "same", said
            assert said["redis"]["there"] == said["digest"], "not looked at since"
            return self.stack.daemon.get("/readyz").status == 200

        wait_until(same, "the daemon to be in step with Redis", 75)


@pytest.fixture
def two(tmp_path):
    servers = []
    try:
        for name in ("first", "second"):
            directory = tmp_path / name
            directory.mkdir()
            servers.append(Redis(directory))
        with links(servers[0].port, 1) as (link,):
            settings = {"sources": {"redis": {"url": f"redis://127.0.0.1:{link.near}"}}}
            with running(daemon_settings=settings) as stack:
                yield Two(stack, servers, link)
    finally:
        for server in servers:
            server.close()


def test_two_live_servers_are_swapped_and_back(two, summary):
    stack = two.stack
    ours, theirs = two.block_some()
    # Whoever is known to both: what was heard last has the last word, by whichever server.
    lifted, blocked = new_user(), new_user()
    stack.daemon.block(lifted)
    two.script_to(1, "unblock", lifted)
    two.script_to(1, "block", blocked)
    two.script_to(1, "unblock", blocked)
    two.wait_for_later()
    stack.daemon.block(blocked)
    # Only what has been seen in Redis can be seen to be lost; a look is a second away at most.
    two.wait_same()
    two.switch(1)
    said = "Redis has lost data"
    wait_until(lambda: said in stack.daemon.process.log.read_text(), "the alarm", 10)
    wait_until(lambda: all(status(stack, user) == 403 for user in theirs), "their blocks", 10)
    assert [user for user in ours if status(stack, user) != 403] == []
    wait_until(lambda: status(stack, lifted) == 200, "their unblock")
    assert status(stack, blocked) == 403
    two.wait_same()
    assert all(two.kept(1, user) == 1 for user in [*ours, *theirs]), "all is written there"

    # What comes meanwhile is known here when the first is back.
    late = new_user()
    stack.daemon.block(late)
    two.script_to(1, "unblock", theirs[0])
    wait_until(lambda: status(stack, theirs[0]) == 200, "an unblock there")
    two.switch(0)
    wait_until(lambda: all(two.kept(0, user) for user in [*theirs, late]), "the first to have all", 20)
    two.wait_same()
    assert [user for user in [*ours, *theirs[1:], late] if status(stack, user) != 403] == []
    assert status(stack, theirs[0]) == 200
    metrics = stack.daemon.metrics()
    lost, written = (
        metrics[f"portcullis_{name}"] for name in ("redis_data_lost_total", 'repaired_total{where="redis"}')
    )
    summary(
        f"two live Redis servers, swapped and back: lost {lost:.0f} times, written back {written:.0f} events"
    )
    assert lost == 2


def test_swapped_while_the_daemon_is_down(two):
    stack = two.stack
    ours, theirs = two.block_some()
    stack.daemon.process.kill()
    two.switch(1)
    stack.daemon.start()
    wait_until(lambda: stack.daemon.get("/readyz").status == 200, "the daemon to be ready", 20)
    stack.wait_synced()
    assert [user for user in [*ours, *theirs] if status(stack, user) != 403] == []
    two.wait_same()
    assert all(two.kept(1, user) == 1 for user in [*ours, *theirs])
