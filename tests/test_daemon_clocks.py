"""Keys of publishers are rotated while one daemon's time of day is wrong by hours: it enforces what the others do,
then and once its clock is right.

The clock of one process is set by libfaketime, which is taken where it is installed (Debian: `faketime`).
"""

import time
from pathlib import Path

import pytest

from harness.events import event, new_user, timestamp
from harness.proc import wait_until
from harness.redis_server import Redis
from harness.stack import running
from test_intake import sign, write_private
from test_truth import script

LIBRARY = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
HOUR_MS = 3_600_000
OLD, NEW = "old-secret-of-the-risk-engine", "new-secret-of-the-risk-engine"

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason="libfaketime is not installed")


def rotated() -> str:
    """The old key is good for another half an hour, the new one for a minute now."""
    now = time.time_ns() // 1_000_000
    return (
        f'[[keys]]\nid = "old"\npublishers = ["risk-engine"]\nsecret = "{OLD}"\n'
        f"not_after = {timestamp(now + HOUR_MS // 2)}\n"
        f'[[keys]]\nid = "new"\npublishers = ["risk-engine"]\nsecret = "{NEW}"\n'
        f"not_before = {timestamp(now - 60_000)}\n"
    )


def signed(user: str, key: str, secret: str) -> dict:
    return sign({**event("block", user), "publisher": "risk-engine"}, key, secret)


@pytest.mark.parametrize("wrong", ["-2h", "+2h"])
def test_keys_are_rotated_while_a_daemons_clock_is_wrong(tmp_path, wrong):
    write_private(tmp_path / "keys.toml", rotated())
    redis = Redis(tmp_path)
    settings = {
        "events": {"keys_file": str(tmp_path / "keys.toml"), "redis": {"signatures": "required"}},
        "sources": {"redis": {"url": redis.url, "digest_interval": "200ms"}},
    }
    lies = {"LD_PRELOAD": str(LIBRARY), "FAKETIME": wrong, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    try:
        with (
            running(daemon_settings=settings) as right,
            running(daemon_settings=settings, daemon_env=lies) as liar,
        ):
            users = {key: new_user() for key in ("old", "new")}
            right.redis = redis
            for key, secret in (("old", OLD), ("new", NEW)):
                script(right, signed(users[key], key, secret), users[key])
            wait_until(
                lambda: all(right.edge.get("/", user).status == 403 for user in users.values()),
                "both blocks where the clock is right",
            )

            # Whether a key is valid, and an event not of the future, is judged by the clock that all daemons share.
            wait_until(
                lambda: all(liar.edge.get("/", user).status == 403 for user in users.values()),
                "both blocks where the clock is wrong",
            )
            assert liar.daemon.metrics()["portcullis_redis_refused_events"] == 0
            assert liar.daemon.get("/readyz").status == 200

            # Its clock is set right: the same files, without the lie.
            liar.daemon.process.stop()
            for name in lies:
                liar.daemon._env.pop(name)
            liar.daemon.start()
            wait_until(
                lambda: all(liar.edge.get("/", user).status == 403 for user in users.values()),
                "both blocks once the clock is right",
                20,
            )
            wait_until(lambda: liar.daemon.get("/readyz").status == 200, "it to be ready", 20)
    finally:
        redis.close()
