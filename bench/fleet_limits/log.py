"""What became of each request: one line each, in the order in which they were to be sent."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

LET_THROUGH, REJECTED = 200, 429
# Of a request that got no answer: the node was not there, or did not say anything in time.
NO_ANSWER = 0


@dataclass(slots=True)
class Entry:
    """Instants are seconds since the start, on the client's clock that never goes back."""

    due_s: float  # when it was to be sent
    node: int
    user: int
    sent_s: float = 0.0
    answered_s: float = 0.0
    status: int = NO_ANSWER

    @property
    def decided_s(self) -> float:
        """The middle of the only time in which it can have been decided."""
        return (self.sent_s + self.answered_s) / 2

    @property
    def is_decided(self) -> bool:
        """By the limit. A 503, or no answer, is no decision of a limit."""
        return self.status in (LET_THROUGH, REJECTED)

    @property
    def is_admitted(self) -> bool:
        return self.status == LET_THROUGH


Log = list[Entry]


def admitted(log: Log) -> int:
    return sum(entry.is_admitted for entry in log)


def undecided(log: Log) -> int:
    return sum(not entry.is_decided for entry in log)


def of_users(log: Log) -> dict[int, Log]:
    """What was decided about each of them."""
    found: dict[int, Log] = {}
    for entry in log:
        if entry.is_decided:
            found.setdefault(entry.user, []).append(entry)
    return found


def quantile(values: list[float], share: float) -> float:
    """The smallest that so large a share does not exceed; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def latencies_s(log: Log) -> list[float]:
    return [entry.answered_s - entry.sent_s for entry in log if entry.is_decided]


def late_s(log: Log) -> float:
    """By how much the client was late, in 999 of 1,000 cases: the pattern was played so exactly."""
    return quantile([entry.sent_s - entry.due_s for entry in log if entry.is_decided], 0.999)


def between(log: Log, from_s: float, to_s: float, which: Callable[[Entry], bool] = bool) -> Log:
    """Those sent in that time."""
    return [entry for entry in log if from_s <= entry.sent_s < to_s and which(entry)]


def write(log: Log, file: Path) -> None:
    """Microseconds, so that they can be compared with other logs of the same clock."""
    with file.open("w", newline="") as out:
        lines = csv.writer(out)
        lines.writerow(["sent_us", "answered_us", "node", "user", "status"])
        for entry in log:
            sent, answered = round(entry.sent_s * 1e6), round(entry.answered_s * 1e6)
            lines.writerow([sent, answered, entry.node, entry.user, entry.status])
