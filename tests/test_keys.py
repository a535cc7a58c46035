"""Keys that the invalidator hands out: no new configuration, and no refused request while rotating."""

import base64
import json
import threading
import time
from pathlib import Path

import pytest

from harness import events, plugin, signing
from harness.proc import wait_until
from harness.stack import running

INTEGRATION = {
    "name": "orders",
    "match": [{"path": {"prefix": "/orders"}}],
    "signature": {"profile": "portcullis"},
}


@pytest.fixture
def keys_file(tmp_path) -> Path:
    file = tmp_path / "keys.toml"
    file.write_text("")
    file.chmod(0o600)
    return file


def write(file: Path, *keys: tuple[str, str]) -> None:
    """Replaces the file as a whole, as an operator should."""
    entry = '[[keys]]\nid = "{}"\npartner = "acme"\nsecret = "{}"\n'
    new = file.with_suffix(".tmp")
    new.write_text("\n".join(entry.format(*key) for key in keys))
    new.chmod(0o600)
    new.rename(file)


def write_entries(file: Path, *entries: str) -> None:
    new = file.with_suffix(".tmp")
    head = '[[keys]]\npartner = "acme"\n'
    new.write_text("\n".join(head + entry for entry in entries))
    new.chmod(0o600)
    new.rename(file)


def stack_with(file: Path):
    settings = {"keys": {"file": str(file)}}
    return running(plugin.standard(integrations=[INTEGRATION]), daemon_settings=settings)


def post(stack, key_id: str = "k1", secret: str = signing.SECRET) -> int:
    headers = signing.portcullis("POST", "/orders", b"{}", key_id=key_id, secret=secret)
    named = {name.replace("-", "_"): value for name, value in headers.items()}
    return stack.edge.request("POST", "/orders", b"{}", x_user_id=events.new_user(), **named).status


def test_a_key_holds_as_soon_as_it_is_in_the_file(keys_file):
    write(keys_file, ("k1", signing.SECRET))
    with stack_with(keys_file) as stack:
        wait_until(lambda: post(stack) == 200, "the first key")
        assert post(stack, "k2", "another-secret-of-acme") == 401
        write(keys_file, ("k2", "another-secret-of-acme"))
        wait_until(lambda: post(stack, "k2", "another-secret-of-acme") == 200, "the second key")
        assert post(stack) == 401, "what is no longer in the file no longer holds"


def test_a_broken_file_changes_nothing(keys_file):
    write(keys_file, ("k1", signing.SECRET))
    with stack_with(keys_file) as stack:
        wait_until(lambda: post(stack) == 200, "the first key")
        keys_file.write_text("not = [toml")
        broken = "portcullis_keys_file_broken"
        wait_until(lambda: stack.daemon.metrics()[broken] == 1, "the daemon to notice")
        assert post(stack) == 200
        assert signing.SECRET not in stack.daemon.process.log.read_text()


def test_keys_are_back_after_envoy_restarts(keys_file):
    write(keys_file, ("k1", signing.SECRET))
    with stack_with(keys_file) as stack:
        wait_until(lambda: post(stack) == 200, "the first key")
        stack.edge.process.kill()
        stack.edge.start()
        wait_until(lambda: post(stack) == 200, "the key after the restart")


def test_rotation_under_load_refuses_no_good_request(keys_file):
    write(keys_file, ("k1", signing.SECRET))
    with stack_with(keys_file) as stack:
        wait_until(lambda: post(stack) == 200, "the first key")
        current = [("k1", signing.SECRET)]
        refused, counts = [], {}
        stop = threading.Event()

        def partner():
            while not stop.is_set():
                for key_id, secret in list(current):
                    status = post(stack, key_id, secret)
                    counts[key_id] = counts.get(key_id, 0) + 1
                    if status != 200:
                        refused.append((key_id, status))

        threads = [threading.Thread(target=partner) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                rotated = stack.daemon.cli(
                    "keys", "rotate", "acme", "--grace", "1h", "--file", str(keys_file)
                )
                assert rotated.returncode == 0, rotated.stderr
                shown = dict(line.split(maxsplit=1) for line in rotated.stdout.splitlines())
                new = (shown["id"], shown["secret"])
                # The partner learns of its key when the operator says it is there.
                wait_until(lambda new=new: post(stack, *new) == 200, "the new key")
                current.append(new)
                seen = counts.get(new[0], 0)
                wait_until(lambda new=new, seen=seen: counts.get(new[0], 0) > seen + 20, "load")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert not refused, refused[:5]
        assert len(counts) == 4 and min(counts.values()) > 20, counts


def test_an_old_key_ends_with_its_grace(keys_file):
    write(keys_file, ("k1", signing.SECRET))
    with stack_with(keys_file) as stack:
        wait_until(lambda: post(stack) == 200, "the first key")
        rotated = stack.daemon.cli("keys", "rotate", "acme", "--grace", "3s", "--file", str(keys_file))
        assert rotated.returncode == 0, rotated.stderr
        started = time.monotonic()
        wait_until(lambda: post(stack) == 401, "the old key to end", timeout_s=10)
        assert time.monotonic() - started > 1, "it ended at once"


def test_more_keys_than_are_tried_are_in_the_log(keys_file):
    write(keys_file, *((f"k{n}", f"{signing.SECRET}-{n}") for n in range(3)))
    nameless = INTEGRATION | {"signature": {"profile": "stripe"}}
    settings = {"keys": {"file": str(keys_file)}}
    with running(plugin.standard(integrations=[nameless]), daemon_settings=settings) as stack:
        log = stack.edge.process.log
        wait_until(lambda: "key k2: is not tried for integration orders" in log.read_text(), "the log")


HOOKS = {
    "name": "hooks",
    "match": [{"path": {"prefix": "/hooks"}}],
    "signature": {"profile": "github"},
}


def hook(stack, secret: str) -> int:
    named = {name.replace("-", "_"): value for name, value in signing.github(b"{}", secret=secret).items()}
    return stack.edge.request("POST", "/hooks", b"{}", **named).status


def test_a_key_of_the_file_signs_in_one_profile(keys_file):
    """As the entry says, or as its integrations do; where they say different things, `portcullis`."""
    secrets = {name: f"the-secret-of-the-key-{name}" for name in ["says", "named", "unclear"]}
    more = {"says": 'profile = "github"', "named": 'integrations = ["hooks"]', "unclear": ""}
    entries = [f'id = "{name}"\nsecret = "{secrets[name]}"\n{more[name]}\n' for name in secrets]
    write_entries(keys_file, *entries)
    settings = {"keys": {"file": str(keys_file)}}
    config = plugin.standard(integrations=[INTEGRATION, HOOKS])
    with running(config, daemon_settings=settings) as stack:
        wait_until(lambda: post(stack, "unclear", secrets["unclear"]) == 200, "the keys")
        assert {name: hook(stack, secret) for name, secret in secrets.items()} == {
            "says": 200,
            "named": 200,
            "unclear": 401,
        }
        assert {name: post(stack, name, secret) for name, secret in secrets.items()} == {
            "says": 401,
            "named": 401,
            "unclear": 200,
        }
        assert "key unclear: is for integrations of different profiles" in stack.edge.process.log.read_text()
        listed = stack.daemon.cli("keys", "list", "--file", str(keys_file)).stdout
        assert [line.split()[-2] for line in listed.splitlines()[1:]] == ["github", "-", "-"]
        profiles = {key["id"]: key["profile"] for key in stack.daemon.status()["keys"]["keys"]}
        assert profiles == {"says": "github", "named": None, "unclear": None}


def test_a_secret_of_the_file_may_be_bare_base64(keys_file):
    secret = base64.b64encode(b"a-secret-that-a-library-decodes").decode()
    entry = f'id = "k1"\nsecret = "{secret}"\nprofile = "standard-webhooks"\n'
    write_entries(keys_file, entry + 'secret_encoding = "base64"\n')
    settings = {"keys": {"file": str(keys_file)}}
    hooks = HOOKS | {"signature": {"profile": "standard-webhooks"}}

    def send() -> int:
        headers = signing.standard_webhooks(b"{}", secret=base64.b64decode(secret))
        named = {name.replace("-", "_"): value for name, value in headers.items()}
        return stack.edge.request("POST", "/hooks", b"{}", **named).status

    with running(plugin.standard(integrations=[hooks]), daemon_settings=settings) as stack:
        wait_until(lambda: send() == 200, "the key")
        file = keys_file.with_name("secret")
        file.write_text(secret)
        signed = stack.daemon.cli(
            *["sign", "--profile", "standard-webhooks", "--secret-encoding", "base64"],
            *["--secret-file", str(file), "--url", "http://edge/hooks", "--json"],
        )
        headers = json.loads(signed.stdout)["headers"]
        named = {name.replace("-", "_"): value for name, value in headers.items()}
        assert stack.edge.request("POST", "/hooks", b"", **named).status == 200


def test_rotating_keeps_to_the_profile(keys_file):
    write_entries(
        keys_file,
        f'id = "a"\nsecret = "{signing.SECRET}"\nprofile = "github"\n',
        f'id = "b"\nsecret = "{signing.SECRET}-b"\nprofile = "portcullis"\n',
    )
    settings = {"keys": {"file": str(keys_file)}}
    config = plugin.standard(integrations=[INTEGRATION, HOOKS])
    with running(config, daemon_settings=settings) as stack:
        rotate = ["keys", "rotate", "acme", "--grace", "0s", "--file", str(keys_file)]
        unsaid = stack.daemon.cli(*rotate)
        assert unsaid.returncode != 0 and "say which with --profile" in unsaid.stderr
        rotated = stack.daemon.cli(*rotate, "--profile", "github", "--json")
        assert rotated.returncode == 0, rotated.stderr
        new = json.loads(rotated.stdout)
        assert [key["id"] for key in new["ended"]] == ["a"]
        wait_until(lambda: hook(stack, new["secret"]) == 200, "the new key")
        assert hook(stack, signing.SECRET) == 401
        assert post(stack, "b", f"{signing.SECRET}-b") == 200
