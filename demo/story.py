"""The story: users are cut off and let back in. Every answer is checked, every step is timed."""

import time

from harness import events
from harness.client import Response
from harness.stack import Stack

BURST = 10
PER_SECOND = 5

# The longest that a step may take to show: far more than it does, and not forever.
PATIENCE_S = 5.0


class WrongAnswer(Exception):
    """The gate did not do what the story says."""


class Story:
    def __init__(self, stack: Stack):
        self._stack = stack
        self._edge = stack.edge.connect()

    def get(self, user: str, path: str = "/") -> Response:
        return self._edge.get(path, user)

    def expect(self, user: str, path: str, status: int) -> float:
        """One request, answered with this status. Returns its milliseconds."""
        started = time.perf_counter()
        answer = self.get(user, path)
        elapsed_ms = (time.perf_counter() - started) * 1000
        if answer.status != status:
            said = answer.body.decode(errors="replace")
            raise WrongAnswer(f"{user} asked for {path}: {answer.status}, not {status}: {said}")
        return elapsed_ms

    def until(self, user: str, path: str, status: int) -> float:
        """Requests until one has this status. Returns the milliseconds until then."""
        started = time.perf_counter()
        while time.perf_counter() - started < PATIENCE_S:
            if self.get(user, path).status == status:
                return (time.perf_counter() - started) * 1000
        raise WrongAnswer(f"{user} asked for {path} for {PATIENCE_S} s: never {status}")

    def publish(self, action: str, user: str, path: str, status: int, **options) -> float:
        """An event, and the milliseconds until a request shows it.

        Through the API the answer is the acknowledgement, so the very next request must show it.
        Redis does not answer, so there we ask until it shows.
        """
        event = events.event(action, user, **options)
        started = time.perf_counter()
        if self._stack.redis:
            self._stack.redis.publish(event)
            self.until(user, path, status)
        else:
            self._stack.daemon.publish(event)
            self.expect(user, path, status)
        return (time.perf_counter() - started) * 1000


def step(milliseconds: float, what: str) -> None:
    print(f"  {milliseconds:8.2f} ms  {what}", flush=True)


def play(stack: Stack) -> None:
    story = Story(stack)
    print("\nThe story, with the time each step took:")
    step(story.expect("alice", "/", 200), "alice asks: 200")

    started = time.perf_counter()
    statuses = [story.get("bob").status for _ in range(3 * BURST)]
    elapsed_ms = (time.perf_counter() - started) * 1000
    first = statuses.index(429) if 429 in statuses else None
    if first is None or first < BURST or set(statuses) != {200, 429}:
        raise WrongAnswer(f"bob's burst of {len(statuses)} gave {statuses}")
    step(elapsed_ms, f"bob asks {len(statuses)} times at once: {first} times 200, then 429")
    step(story.until("bob", "/", 200), f"bob waits for a token ({PER_SECOND} a second): 200 again")

    took = story.publish("block", "alice", "/", 403, reason="fraud")
    step(took, "alice is blocked: 403 on her next request")
    step(story.expect("carol", "/", 200), "carol is not: 200")

    scope = ["bet", "deposit"]
    took = story.publish("block", "carol", "/bet", 403, reason="cooling_off", scope=scope)
    step(took, "carol cools off from bets and deposits: 403 on /bet")
    step(story.expect("carol", "/withdraw", 200), "carol can still withdraw: 200 on /withdraw")

    took = story.publish("zero", "dave", "/", 429)
    step(took, "dave's bucket is emptied: 429")
    step(story.until("dave", "/", 200), "it refills by itself: 200")

    took = story.publish("unblock", "alice", "/", 200)
    step(took, "alice is unblocked: 200")
    print("\nEvery answer was right.")
