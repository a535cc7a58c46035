"""From PUBLISH in Redis to the first rejected request: measured and shown, not judged."""

import statistics
import time

from harness import plugin
from harness.events import event, new_user
from harness.stack import running

BLOCKS = 500
# Far above what is ever seen: it only catches a broken wake-up, which would cost a whole poll.
P50_MAX_MS = 250


def test_publish_to_first_rejection(summary):
    roomy = {**plugin.PER_USER, "max_tokens": 100_000, "tokens_per_fill": 100_000}
    elapsed_ms = []
    with running(plugin.standard(limits=[roomy]), redis=True) as stack, stack.edge.connect() as c:
        for _ in range(BLOCKS):
            user = new_user()
            assert c.get("/", user).status == 200
            block = event("block", user)
            start = time.perf_counter()
            assert stack.redis.publish(block) == 1
            while c.get("/", user).status == 200:
                assert time.perf_counter() - start < 5, "the block never came"
            elapsed_ms.append((time.perf_counter() - start) * 1000)
            assert c.get("/", user).status == 403
    p50, p99 = statistics.median(elapsed_ms), statistics.quantiles(elapsed_ms, n=100)[98]
    summary(
        f"publish in Redis -> first rejected request, {BLOCKS} blocks: "
        f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {max(elapsed_ms):.2f} ms"
    )
    assert p50 < P50_MAX_MS
