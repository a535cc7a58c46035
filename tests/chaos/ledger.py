"""What was published, what has been promised of it, and whether an answer breaks a promise.

All times are of one monotonic clock, in seconds, and are given: nothing here waits or asks.

A request is judged by the moments between which it was decided: not before it was sent, not after
the upstream got it or its rejection came back. Both rules are exact within that: what could have
been right at any moment in between is right.
"""

from collections import Counter, deque
from dataclasses import dataclass, field

BLOCK, UNBLOCK = "block", "unblock"

LET_THROUGH = "let through after an acknowledgement"
LOST = "published block not enforced"
FALSE_BLOCK = "false block"
DENIED = "newest event not in effect by its own answer"
NOT_EVERYWHERE = "said to be enforced everywhere, and a node is not named"

# What is remembered of one user for the report of a violation.
_HISTORY_MAX = 400


@dataclass(frozen=True)
class Proof:
    """Since when a node is known to enforce an event, and by whose word."""

    at: float
    receipt: bool  # by an answer of the API; otherwise because all parts said they were in step


@dataclass
class Event:
    event_id: str
    user: str
    action: str
    via: str  # the way of publishing
    published: float  # before the first attempt
    promised: float | None = None  # when it was first answered for
    proofs: dict[str, Proof] = field(default_factory=dict)  # by node


@dataclass(frozen=True)
class Request:
    node: str
    user: str
    sent: float
    decided: float  # at the latest
    status: int  # 200: the upstream got it; below 100: nobody answered


@dataclass
class _Row:
    """Like answers in a row."""

    node: str
    status: int
    since: float
    count: int = 0


@dataclass(frozen=True)
class Violation:
    kind: str
    request: Request
    event: Event | None  # the promise that is broken; none: the user was never blocked

    def __str__(self) -> str:
        about = f", against {self.event.event_id}" if self.event else ""
        return f"{self.kind}: {self.request.user} on {self.request.node}{about}"


class Ledger:
    """A user's events are in the order in which they were published, and so heard: the last one is
    the newest. No event may be published before the one before it is promised."""

    def __init__(self, users: list[str], nodes: list[str]):
        self.nodes = nodes
        self.events: dict[str, list[Event]] = {user: [] for user in users}
        self._history: dict[str, deque[Event | _Row]] = {user: deque(maxlen=_HISTORY_MAX) for user in users}
        self._rows: dict[tuple[str, str], _Row] = {}  # the last of each user and node
        self.published: Counter = Counter()  # (way, action) -> events
        self.answers: Counter = Counter()  # status, or why there was none -> requests
        self.violations: list[Violation] = []
        self.everywhere: Counter = Counter()  # whether that was said -> answers about the fleet

    def publish(self, event: Event) -> None:
        """Before the first attempt."""
        self.events[event.user].append(event)
        self._history[event.user].append(event)
        self.published[event.via, event.action] += 1

    def promise(self, event: Event, at: float) -> None:
        """It will never be lost: somebody has said so."""
        if event.promised is None:
            event.promised = at

    def receipt(self, event: Event, nodes: list[str], at: float) -> None:
        """The API answered that these nodes enforce it."""
        self.promise(event, at)
        for node in nodes:
            event.proofs.setdefault(node, Proof(at, receipt=True))

    def fleet(self, event: Event, everywhere: bool, nodes: list[str], call: Request) -> None:
        """The API answered which nodes of all daemons enforce it, and whether these are all there are. Each is held to
        it, as to a receipt; and none may be left out of what is said of all."""
        self.everywhere[everywhere] += 1
        if everywhere and set(nodes) != set(self.nodes):
            self.violations.append(Violation(NOT_EVERYWHERE, call, event))
        self.receipt(event, [node for node in nodes if node in self.nodes], call.decided)

    def denied(self, event: Event, call: Request) -> None:
        """The API answered that something overrules the event. Nothing may that was published before
        it, whatever the clocks of both publishers say."""
        if self.events[event.user][-1] is event:
            self.violations.append(Violation(DENIED, call, event))

    def in_step(self, at: float) -> None:
        """All parts say that they know the same, and nothing is under way."""
        for events in self.events.values():
            for event in events:
                if event.promised is not None:
                    for node in self.nodes:
                        event.proofs.setdefault(node, Proof(at, receipt=False))

    def forget(self, before: float) -> None:
        """Drops what a later event, proven before then on every node, has made meaningless."""
        for events in self.events.values():
            for number in range(len(events) - 1, 0, -1):
                proofs = events[number].proofs.values()
                if len(proofs) == len(self.nodes) and all(p.at < before for p in proofs):
                    del events[:number]
                    break

    def judge(self, request: Request) -> Violation | None:
        """Counts a request, and tells whether its answer breaks a promise."""
        self.answers[request.status] += 1
        self._remember(request)
        violation = None
        if request.status == 200:
            violation = self._passed(request)
        elif request.status == 403:
            violation = self._rejected(request)
        if violation:
            self.violations.append(violation)
        return violation

    def _passed(self, request: Request) -> Violation | None:
        for event in reversed(self.events[request.user]):
            if event.action == UNBLOCK:
                if event.published <= request.decided:
                    return None
            elif proof := _proof(event, request):
                kind = LET_THROUGH if proof.receipt else LOST
                return Violation(kind, request, event)
        return None

    def _rejected(self, request: Request) -> Violation | None:
        for event in reversed(self.events[request.user]):
            if event.action == BLOCK:
                if event.published <= request.decided:
                    return None
            elif _proof(event, request):
                return Violation(FALSE_BLOCK, request, event)
        return Violation(FALSE_BLOCK, request, None)

    def newest(self) -> dict[str, str]:
        """Each user's newest event, if it is promised: nothing can have overtaken it."""
        newest = [events[-1] for events in self.events.values() if events]
        return {event.user: event.event_id for event in newest if event.promised is not None}

    def is_current(self, request: Request) -> bool:
        """Whether the answer is that of the user's newest event, and of no older one."""
        events = self.events[request.user]
        if not events:
            return request.status == 200
        wanted = 403 if events[-1].action == BLOCK else 200
        return request.status == wanted and events[-1].published <= request.sent

    def timeline(self, user: str) -> list[tuple[float, str]]:
        """Everything remembered of one user, in order."""
        lines: list[tuple[float, str]] = []
        for entry in self._history[user]:
            if isinstance(entry, _Row):
                asked = f"asked {entry.node}: {entry.status}, {entry.count} times in a row"
                lines.append((entry.since, asked))
            else:
                lines += _story(entry)
        return sorted(lines)

    def _remember(self, request: Request) -> None:
        key = (request.user, request.node)
        row = self._rows.get(key)
        if row is None or row.status != request.status:
            row = self._rows[key] = _Row(request.node, request.status, request.sent)
            self._history[request.user].append(row)
        row.count += 1


def _story(event: Event) -> list[tuple[float, str]]:
    name = f"{event.action} {event.event_id}"
    lines = [(event.published, f"{name} published by {event.via}")]
    if event.promised is not None:
        lines.append((event.promised, f"{name} answered for"))
    for node, proof in event.proofs.items():
        word = "receipt" if proof.receipt else "in step"
        lines.append((proof.at, f"{name} enforced on {node} ({word})"))
    return lines


def _proof(event: Event, request: Request) -> Proof | None:
    """The proof that its node enforced the event before the request was sent, if there is one."""
    proof = event.proofs.get(request.node)
    return proof if proof and proof.at <= request.sent else None
