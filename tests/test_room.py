"""Nobody fills the memory that others need: with addresses, with names, with deliveries."""

import pytest

from harness import plugin, signing
from harness.events import new_user
from harness.plugin import limits_only
from harness.proc import wait_until
from harness.stack import running

TINY = {"slabs": 16, "slab_bytes_max": 1024}
# Many more than there is room for: 16 slabs of 29.
FLOOD = 1500


def slow(name: str, key, path: str, **more) -> dict:
    rate = {"max_tokens": 5, "tokens_per_fill": 5, "fill_interval": "24h"}
    return {"name": name, "key": key, "match": [{"path": {"prefix": path}}], **rate, **more}


def config(**changes) -> dict:
    limits = [
        slow("per-user", "user", "/users"),
        slow("per-ip", "client_ip", "/login"),
        slow("per-key", {"header": "x-api-key"}, "/keys"),
    ]
    return limits_only(*limits, storage=TINY, **changes)


def users_are_served(edge) -> bool:
    """New ones, in every slab."""
    with edge.connect() as connection:
        statuses = [connection.get("/users", new_user()).status for _ in range(100)]
    return set(statuses) == {200}


def from_address(connection, address: str, path: str = "/login") -> int:
    return connection.request("GET", path, x_forwarded_for=address).status


def test_the_addresses_of_one_network_are_one():
    """Whoever has a network of IPv6 has as many addresses as he likes."""
    with running(config(), daemon=False, trusted_hops=1) as stack, stack.edge.connect() as one:
        seen = [from_address(one, f"2001:db8:0:1:{n:x}::{n:x}") for n in range(1, FLOOD)]
        assert seen == [200] * 5 + [429] * (FLOOD - 6)
        assert from_address(one, "2001:db8:0:2::1") == 200, "a neighbour"
        mapped = [from_address(one, "::ffff:10.0.0.1"), from_address(one, "64:ff9b::10.0.0.1")]
        mapped += [from_address(one, "10.0.0.1") for _ in range(4)]
        assert mapped == [200] * 5 + [429], "an IPv4 address is one however it is written"
        assert from_address(one, "10.0.0.2") == 200
        assert stack.edge.metric("portcullis_denied_slab_full") == 0


def test_networks_are_as_large_as_is_configured():
    identity = {**plugin.USER_BY_HEADER, "client_ip": {"ipv4_prefix": 24, "ipv6_prefix": 48}}
    with (
        running(config(identity=identity), daemon=False, trusted_hops=1) as stack,
        stack.edge.connect() as one,
    ):
        assert [from_address(one, f"10.0.0.{n}") for n in range(6)] == [200] * 5 + [429]
        assert [from_address(one, f"2001:db8:0:{n}::1") for n in range(6)] == [200] * 5 + [429]
        assert from_address(one, "10.0.1.1") == from_address(one, "2001:db8:1::1") == 200


@pytest.mark.parametrize("lever", ["networks", "names"])
def test_a_flood_of_one_limit_takes_no_room_of_others(lever):
    with running(config(), daemon=False, trusted_hops=1) as stack:
        known = new_user()
        assert stack.edge.get("/users", known).status == 200
        with stack.edge.connect() as one:
            if lever == "networks":
                flood = [from_address(one, f"2001:db8:{n:x}:1::1") for n in range(FLOOD)]
            else:
                flood = [one.get("/keys", x_api_key=f"k{n}").status for n in range(FLOOD)]
        assert set(flood) == {200, 503}, "there was room for all: this proves nothing"
        assert flood.count(200) <= 16 * 29
        assert users_are_served(stack.edge)
        other = {"networks": ("/keys", {"x_api_key": "mine"}), "names": ("/login", {})}[lever]
        assert stack.edge.get(other[0], **other[1]).status == 200
        rest = [stack.edge.get("/users", known).status for _ in range(5)]
        assert rest == [200] * 4 + [429], "nobody has a fresh bucket"


def test_a_limit_without_room_may_allow_where_others_deny():
    limits = [
        slow("per-user", "user", "/"),
        slow("per-ip", "client_ip", "/login", slab_full="allow"),
        slow("quick", "client_ip", "/login", max_tokens=1),
    ]
    with running(limits_only(*limits, storage=TINY), daemon=False, trusted_hops=1) as stack:
        with stack.edge.connect() as one:
            first = [from_address(one, f"2001:db8:{n:x}:1::1") for n in range(FLOOD)]
        assert set(first) == {200, 503}, "the other limit of addresses denies"
    limits.pop()
    with running(limits_only(*limits, storage=TINY), daemon=False, trusted_hops=1) as stack:
        with stack.edge.connect() as one:
            first = [from_address(one, f"2001:db8:{n:x}:1::1") for n in range(FLOOD)]
        assert set(first) == {200}
        assert stack.edge.settled_metric("portcullis_failed_open_slab_full") > 0
        with stack.edge.connect() as one:
            users = {one.get("/", new_user()).status for _ in range(FLOOD)}
        assert users == {200, 503}


def test_what_fills_memory_is_said_at_configuration():
    with running(config(), daemon=False) as stack:
        said = stack.edge.process.log.read_text()
        for name in "per-user", "per-ip", "per-key":
            lines = [line for line in said.splitlines() if f"limit {name}: " in line]
            assert len(lines) == 1, said
            assert "storage.slab_bytes_max" in lines[0] and "86400 s" in lines[0]
    quick = {"max_tokens": 5, "tokens_per_fill": 5, "fill_interval": "60s"}
    roomy = {"name": "roomy", "key": "user", **quick}
    with running(limits_only(roomy), daemon=False) as stack:
        assert "limit roomy" not in stack.edge.process.log.read_text()


# Deliveries ---------------------------------------------------------------------------------------

BODY = b"{}"


def partners(**changes) -> dict:
    def of(partner: str) -> dict:
        signature = {"profile": "github", "partner": partner}
        match = [{"path": {"prefix": f"/{partner}"}}]
        return {"name": partner, "match": match, "signature": signature}

    def key(partner: str) -> dict:
        secret = signing.SECRET + partner
        return {"id": partner, "partner": partner, "secret": secret, "profile": "github"}

    names = ["acme", "globex"]
    settings = {
        "integrations": [of(name) for name in names],
        "keys": [key(name) for name in names],
        "replay": {"slabs": 16, "slab_bytes_max": 1024},
        **changes,
    }
    return limits_only(**settings)


def deliver(connection, partner: str, headers: dict | None = None) -> int:
    headers = headers or signing.github(BODY, secret=signing.SECRET + partner)
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    return connection.request("POST", f"/{partner}", BODY, **named).status


def test_one_partner_does_not_fill_the_memory_of_used_requests_for_others():
    with running(partners(), daemon=False) as stack, stack.edge.connect() as one:
        used = signing.github(BODY, secret=signing.SECRET + "globex")
        assert deliver(one, "globex", used) == 200
        flood = [deliver(one, "acme") for _ in range(FLOOD)]
        assert set(flood) == {200, 503}, "there was room for all: this proves nothing"
        assert {deliver(one, "globex") for _ in range(100)} == {200}
        assert deliver(one, "globex", used) == 409
        stack.edge.wait_metric("portcullis_signature_github_replay_full", flood.count(503))
        said = stack.edge.process.log.read_text()
        lines = [line for line in said.splitlines() if "replay.slab_bytes_max" in line]
        assert len(lines) == 2 and all("86400 s" in line for line in lines), said


def test_room_comes_back_when_requests_are_out_of_time():
    integration = {
        "name": "acme",
        "match": [{"path": {"prefix": "/acme"}}],
        "signature": {"profile": "stripe", "tolerance": "2s"},
    }
    key = {"id": "acme", "partner": "acme", "secret": signing.SECRETS["stripe"], "profile": "stripe"}
    room = {"slabs": 16, "slab_bytes_max": 256}
    config = partners(integrations=[integration], keys=[key], replay=room)

    def send(connection) -> int:
        body = new_user().encode()
        signature = signing.stripe(body)["stripe-signature"]
        return connection.request("POST", "/acme", body, stripe_signature=signature).status

    with running(config, daemon=False) as stack, stack.edge.connect() as one:
        wait_until(lambda: send(one) == 503, "a slab to be full")
        wait_until(lambda: {send(one) for _ in range(20)} == {200}, "room for new ones", 10)
