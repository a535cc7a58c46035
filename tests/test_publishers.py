"""A hundred publishers, each with a token of its own, while one node hangs: nobody waits for another."""

import json
import statistics
import threading
import time
from collections import Counter, defaultdict

from harness import daemon as daemons
from harness.client import Connection
from harness.daemon import ROLES, Daemon
from harness.events import event, new_user
from harness.stack import running
from test_nodes import second_envoy

PUBLISHERS = 100
SECONDS = 6
ACK_TIMEOUT_S = 0.5
# The machine's two cores also run everybody who asks.
WORST_S = ACK_TIMEOUT_S + 1.5


class Publishers:
    """Each publishes one block after the other, on a connection that it keeps."""

    def __init__(self, daemon: Daemon, tokens: list[str]):
        self.statuses: dict[str, Counter] = defaultdict(Counter)
        self.elapsed_s: list[float] = []
        self._daemon, self._halt = daemon, threading.Event()
        self._threads = [threading.Thread(target=self._publish, args=(token,)) for token in tokens]
        for thread in self._threads:
            thread.start()

    def _publish(self, token: str) -> None:
        headers = {"authorization": f"Bearer {token}", "content_type": "application/json"}
        with Connection(self._daemon.port) as api:
            while not self._halt.is_set():
                body = json.dumps(event("block", new_user("crowd"))).encode()
                started = time.monotonic()
                answer = api.request("POST", "/v1/invalidations", body, **headers)
                self.elapsed_s.append(time.monotonic() - started)
                self.statuses[token][answer.status] += 1

    def done(self) -> None:
        self._halt.set()
        for thread in self._threads:
            thread.join()


def test_a_hundred_publishers_and_a_node_that_hangs(summary):
    tokens = [daemons.new_token() for _ in range(PUBLISHERS)]
    entries = [daemons.token_entry(f"publisher-{n}", "publisher", token) for n, token in enumerate(tokens)]
    operator = daemons.new_token()
    api = {
        "ack_timeout": f"{ACK_TIMEOUT_S * 1000:.0f}ms",
        "tokens": [*entries, daemons.token_entry("operator", "operator", operator)],
    }
    with running(daemon_settings={"api": api}, wait=False) as stack:
        stack.daemon.tokens = {**dict.fromkeys(ROLES, operator), "operator": operator}
        stack.wait_synced()
        with second_envoy(stack) as second:
            second.process.pause()
            publishers = Publishers(stack.daemon, tokens)
            blocks: list[tuple[int, float]] = []
            until = time.monotonic() + SECONDS
            try:
                while time.monotonic() < until:
                    user, started = new_user("vip"), time.monotonic()
                    answer = stack.daemon.post(event("block", user))
                    blocks.append((answer.status, time.monotonic() - started))
                    assert answer.status in (200, 202), answer
                    assert stack.edge.get("/", user).status == 403, "the other node has it"
            finally:
                publishers.done()
    total = sum(publishers.statuses.values(), Counter())
    each = [sum(counts.values()) for counts in publishers.statuses.values()]
    slowest = max(elapsed for _, elapsed in blocks)
    summary(
        f"{PUBLISHERS} publishers beside a node that hangs: {dict(total)}, each {min(each)} to {max(each)}, "
        f"p50 {statistics.median(publishers.elapsed_s):.2f} s; an operator's {len(blocks)} blocks: "
        f"p50 {statistics.median(elapsed for _, elapsed in blocks):.2f} s, max {slowest:.2f} s"
    )
    assert set(total) <= {200, 202}, "nobody is turned away"
    assert len(each) == PUBLISHERS and min(each) >= max(each) / 3, "nobody is starved"
    assert slowest < WORST_S and max(publishers.elapsed_s) < WORST_S
