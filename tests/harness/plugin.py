"""The plugin configuration most tests use. Tests that need another write it out themselves."""

from harness.daemon import SECRET

USER_BY_HEADER = {"user": [{"header": "x-user-id"}], "missing_user": "allow"}

ROUTE_GROUPS = [
    {"name": "bet", "match": [{"path": {"prefix": "/bet"}}]},
    {"name": "deposit", "match": [{"path": {"prefix": "/deposit"}}]},
    {"name": "withdraw", "match": [{"path": {"prefix": "/withdraw"}}]},
    {"name": "public", "match": [{"path": {"prefix": "/public"}}]},
]

INVALIDATOR = {"cluster": "portcullis_invalidator", "secret": SECRET, "stale_after": "5s"}

FAIL_POLICY = {
    "never_synced": "deny",
    "stale": "deny",
    "slab_full": "deny",
    "contention": "deny",
}

# Generous for every test that does not look at limits: 100 at once, one more each 0.6 s.
PER_USER = {
    "name": "per-user",
    "key": "user",
    "max_tokens": 100,
    "tokens_per_fill": 100,
    "fill_interval": "60s",
}


def standard(**changes) -> dict:
    """Users by header, four route groups, one limit, a daemon. None removes a member."""
    config = {
        "identity": {**USER_BY_HEADER, "session": [{"header": "x-session-id"}]},
        "route_groups": ROUTE_GROUPS,
        "limits": [PER_USER],
        "invalidator": INVALIDATOR,
        "fail_policy": FAIL_POLICY,
        **changes,
    }
    return {name: value for name, value in config.items() if value is not None}


def limits_only(*limits: dict, **changes) -> dict:
    """No daemon: only limits."""
    config = {
        "identity": USER_BY_HEADER,
        "limits": list(limits),
        "fail_policy": {"slab_full": "deny", "contention": "deny"},
        **changes,
    }
    return {name: value for name, value in config.items() if value is not None}
