"""What memory means does not change with the configuration while requests are under way: nothing
that was used is usable again, and nobody gets a fresh bucket unnoticed."""

import threading
import time

import pytest

from harness import plugin, signing
from harness.events import new_user
from harness.plugin import limits_only
from harness.proc import wait_until
from harness.stack import running

DRAIN_S = 600
BODY = b"{}"
PROFILES = ["portcullis", "standard-webhooks", "stripe", "body"]
SHORT_S = 2


def signed(tolerance: str, **changes) -> dict:
    def integration(profile: str) -> dict:
        signature = {"profile": profile, "tolerance": tolerance}
        match = [{"path": {"prefix": f"/{profile}"}}]
        return {"name": profile, "match": match, "signature": signature}

    def key(profile: str) -> dict:
        secret = signing.SECRETS[profile]
        return {"id": profile, "partner": "acme", "secret": secret, "profile": profile}

    settings = {
        "integrations": [integration(profile) for profile in PROFILES],
        "keys": [key(profile) for profile in PROFILES],
        # One slab in sixteen: others' requests meet those that are looked at.
        "replay": {"slabs": 16},
        **changes,
    }
    return limits_only(**settings)


def headers(profile: str, body: bytes = BODY, at: int | None = None) -> dict[str, str]:
    signer = {
        "portcullis": lambda: signing.portcullis("POST", "/portcullis", body, key_id="portcullis", at=at),
        "standard-webhooks": lambda: signing.standard_webhooks(body, at=at),
        "stripe": lambda: signing.stripe(body, at=at),
        "body": lambda: signing.body_only(body, key_id="body", at=at),
    }
    return signer[profile]()


def send(connection, profile: str, lines: dict, body: bytes = BODY) -> int:
    named = {name.replace("-", "_"): value for name, value in lines.items()}
    return connection.request("POST", f"/{profile}", body, **named).status


def send_new(connection, profile: str) -> int:
    body = new_user().encode()
    return send(connection, profile, headers(profile, body), body)


@pytest.mark.parametrize("old_goes_on", [False, True], ids=["quiet", "old connections go on"])
def test_a_raised_tolerance_makes_nothing_usable_again(tmp_path, old_goes_on):
    options = {"daemon": False, "lds": tmp_path / "listeners.json", "drain_s": DRAIN_S}
    with running(signed(f"{SHORT_S}s"), **options) as stack:
        old = stack.edge.connect()
        used = {one: [headers(one, one.encode() * n) for n in (1, 2)] for one in PROFILES}
        for profile, (first, _) in used.items():
            assert send(old, profile, first, profile.encode()) == 200, profile
        # Out of tolerance, and forgotten: each slab is written meanwhile.
        started = time.monotonic()
        wait_until(
            lambda: (
                time.monotonic() - started > 3 * SHORT_S
                and {send_new(old, profile) for profile in PROFILES for _ in range(40)} == {200}
            ),
            "the used ones to be forgotten",
        )
        stack.edge.change(plugin=signed("300s"))
        with stack.edge.connect() as new:
            for profile, (first, late) in used.items():
                if old_goes_on:
                    assert {send_new(old, profile) for _ in range(40)} == {200}
                assert send(new, profile, first, profile.encode()) in {401, 409}, profile
                # Nor is one that was signed then and never used, since nobody can tell.
                assert send(new, profile, late, profile.encode() * 2) in {200, 401}
                assert {send_new(new, profile) for _ in range(40)} == {200}, "new ones are served"
        # What the old connections use from now on is remembered for the new.
        again = {profile: headers(profile, b"again") for profile in PROFILES}
        for profile, lines in again.items():
            assert send(old, profile, lines, b"again") == 200
        started = time.monotonic()
        wait_until(
            lambda: (
                time.monotonic() - started > 3 * SHORT_S
                and {send_new(old, profile) for profile in PROFILES for _ in range(40)} == {200}
            ),
            "them to be out of the old tolerance",
        )
        with stack.edge.connect() as new:
            for profile, lines in again.items():
                assert send(new, profile, lines, b"again") in {401, 409}, profile
        old.close()


CHANGES = {
    "tolerance lowered": ({"tolerance": "2s"}, True),
    "replay.slab_bytes_max lowered": ({"replay": {"slabs": 16, "slab_bytes_max": 256}}, True),
    "replay.slab_bytes_max raised": ({"replay": {"slabs": 16, "slab_bytes_max": 65536}}, True),
    "replay.slabs": ({"replay": {"slabs": 64}}, False),
    "storage.slabs": ({"storage": {"slabs": 64}}, False),
    "storage.slab_bytes_max lowered": ({"storage": {"slabs": 16, "slab_bytes_max": 64}}, True),
    "storage.slab_bytes_max raised": ({"storage": {"slabs": 16, "slab_bytes_max": 65536}}, True),
    "node": ({"node": "another"}, True),
    "rate": ({"limits": "rate"}, True),
    "name": ({"limits": "name"}, True),
    "key": ({"limits": "key"}, True),
}


def limit(**changes) -> dict:
    rate = {"max_tokens": 3, "tokens_per_fill": 3, "fill_interval": "3600s"}
    return {"name": "per-user", "key": "user", **rate, **changes}


@pytest.mark.parametrize("change, is_taken", CHANGES.values(), ids=CHANGES)
def test_a_change_with_requests_under_way(tmp_path, change, is_taken):
    """Some are held for their bodies, some were used, some buckets are empty."""
    identity = {**plugin.USER_BY_HEADER, "session": [{"header": "x-session-id"}]}
    base = {"storage": {"slabs": 16}, "identity": identity}
    options = {"daemon": False, "lds": tmp_path / "listeners.json", "drain_s": DRAIN_S}
    with running(signed("300s", limits=[limit()], **base), **options) as stack:
        user, edge = new_user(), stack.edge
        assert [edge.get("/", user).status for _ in range(4)] == [200] * 3 + [429]
        used = headers("portcullis")
        with edge.connect() as old:
            assert send(old, "portcullis", used) == 200
            held = headers("portcullis")
            slow = Slow(edge, held)
            new = {**base, **change}
            tolerance = new.pop("tolerance", "300s")
            limits = {
                "rate": limit(max_tokens=2),
                "name": limit(name="renamed"),
                "key": limit(key="session"),
            }.get(new.pop("limits", None), limit())
            changed = signed(tolerance, limits=[limits], **new)
            if is_taken:
                edge.change(plugin=changed)
            else:
                assert_refused(edge, changed)
            with edge.connect() as fresh:
                assert send(fresh, "portcullis", used) in {401, 409}
                assert send(old, "portcullis", used) == 409
                answers = [slow.finish(), send(fresh, "portcullis", held)]
                assert answers[0] == 200 and answers[1] in {401, 409}
                if change.get("limits") in {"name", "key"}:
                    told = f"limit {limits['name']}: begins with full buckets"
                    wait_until(lambda: told in edge.process.log.read_text(), "a word of it")
                else:
                    statuses = {one.get("/", user).status for one in (fresh, old)}
                    assert statuses == {429}, "a fresh bucket"
                    assert "begins with full buckets" not in edge.process.log.read_text()


def test_another_memory_does_not_make_used_requests_usable(tmp_path):
    """What was signed before there was this memory may have been used in the one before."""
    options = {"daemon": False, "lds": tmp_path / "listeners.json", "drain_s": DRAIN_S}
    with running(signed("300s"), **options) as stack:
        edge = stack.edge
        used = {profile: headers(profile) for profile in PROFILES}
        with edge.connect() as old:
            assert {send(old, *one) for one in used.items()} == {200}
        assert "this Envoy has had another" not in edge.process.log.read_text()
        edge.change(memory="another")
        with edge.connect() as new:
            assert {send(new, *one) for one in used.items()} == {401}
            wait_until(lambda: {send_new(new, one) for one in PROFILES} == {200}, "new ones to be served")
        assert "this Envoy has had another" in edge.process.log.read_text()
        assert edge.metric("portcullis_memories") == 2


class Slow:
    """A signed request whose body has not come yet."""

    def __init__(self, edge, lines: dict):
        self._body = threading.Event()
        self._status: list[int] = []
        self._thread = threading.Thread(target=self._send, args=(edge, lines))
        before = edge.metric("envoy_http_downstream_rq_active")
        self._thread.start()
        wait_until(lambda: edge.metric("envoy_http_downstream_rq_active") > before, "it to be held")

    def _send(self, edge, lines: dict) -> None:
        def chunks():
            yield BODY[:1]
            self._body.wait(30)
            yield BODY[1:]

        with edge.connect() as connection:
            named = {name.replace("-", "_"): value for name, value in lines.items()}
            self._status.append(connection.request("POST", "/portcullis", chunks(), **named).status)

    def finish(self) -> int:
        self._body.set()
        self._thread.join()
        return self._status[0]


def assert_refused(edge, changed: dict) -> None:
    """A layout that is not the one in use is refused, and what is in use goes on."""
    edge.try_to_change(plugin=changed)
    told = "as in the other plugins with this"
    wait_until(lambda: told in edge.process.log.read_text(), "a word of it")
