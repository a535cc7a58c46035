"""Configurations: good ones are taken in every form, wrong ones refused in their own words."""

import copy
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import tomli_w

from harness import artifacts, certificates, examples, hosts, plugin
from harness.daemon import SECRET, new_token, token_entry
from harness.envoy import Options, bootstrap, validate
from harness.events import new_user
from harness.stack import running

# An example for the native host says nothing on the other; the other way round they can be moved.
OF_NATIVE = pytest.mark.one_host("native", reason="the example is written for it")
EXAMPLES = [
    *examples.names(hosts.WASM),
    *(pytest.param(name, marks=OF_NATIVE) for name in examples.names(hosts.NATIVE)),
]
DELETE = object()


def changed(path: str, value) -> dict:
    """The standard configuration with one member set, or deleted; `limits.0.key` is a path."""
    config = copy.deepcopy(plugin.standard())
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = config
    for part in parents:
        place = place[part]
    if value is DELETE:
        del place[last]
    else:
        place[last] = value
    return config


LIMIT = plugin.PER_USER
MATCH = "route_groups.0.match"

# what is wrong -> (configuration, what the message must contain: field first, then the rule)
WRONG = {
    "unknown key": (changed("limts", []), ["limts", "unknown field"]),
    "unknown nested key": (changed("limits.0.burst", 5), ["limits[0]", "burst", "unknown field"]),
    "stat_prefix not a name": (changed("stat_prefix", "a b"), ["stat_prefix"]),
    "node empty": (changed("node", ""), ["node"]),
    "shadow not a boolean": (changed("shadow", "yes"), ["shadow", "boolean"]),
    "identity source empty": (changed("identity.user", [{}]), ["identity.user[0]"]),
    "identity source unknown": (changed("identity.user", [{"ip": True}]), ["identity.user[0]"]),
    "identity header not a name": (
        changed("identity.user", [{"header": "x user"}]), ["identity.user[0].header"]
    ),
    "identity cookie empty": (
        changed("identity.session", [{"cookie": ""}]), ["identity.session[0].cookie"]
    ),
    "identity claim without payload": (
        changed("identity.user", [{"jwt_claim": {"claim": "sub"}}]),
        ["identity.user[0].jwt_claim", "payload"],
    ),
    "missing_user absent": (changed("identity.missing_user", DELETE), ["identity.missing_user"]),
    "missing_user unknown": (changed("identity.missing_user", "ask"), ["identity.missing_user"]),
    "group without match": (changed("route_groups.0.match", DELETE), ["route_groups[0]", "match"]),
    "group name twice": (changed("route_groups.1.name", "bet"), ["route_groups[1].name"]),
    "group name not a name": (changed("route_groups.0.name", "Bet!"), ["route_groups[0].name"]),
    "path empty": (changed(MATCH, [{"path": {}}]), ["route_groups[0].match[0].path"]),
    "path of two kinds": (
        changed(MATCH, [{"path": {"exact": "/a", "prefix": "/b"}}]),
        ["route_groups[0].match[0].path"],
    ),
    "path not absolute": (
        changed(MATCH, [{"path": {"prefix": "bet"}}]), ["route_groups[0].match[0].path.prefix", "/"]
    ),
    "path regex broken": (
        changed(MATCH, [{"path": {"regex": "/(bet"}}]), ["route_groups[0].match[0].path.regex"]
    ),
    "method not a token": (
        changed(MATCH, [{"methods": ["GE T"]}]), ["route_groups[0].match[0].methods"]
    ),
    "limit without name": (changed("limits.0.name", DELETE), ["limits[0]", "name"]),
    "limit name twice": (changed("limits", [LIMIT, LIMIT]), ["limits[1].name"]),
    "limit key unknown": (changed("limits.0.key", "device"), ["limits[0].key"]),
    "limit key without source": (changed("limits.0.key", "partner"), ["limits[0].key", "partner"]),
    "limit match unknown group": (
        changed("limits.0.match", [{"route_group": "bett"}]), ["limits[0].match[0].route_group"]
    ),
    "max_tokens zero": (changed("limits.0.max_tokens", 0), ["limits[0].max_tokens"]),
    "max_tokens negative": (changed("limits.0.max_tokens", -1), ["limits[0].max_tokens"]),
    "tokens_per_fill zero": (changed("limits.0.tokens_per_fill", 0), ["limits[0].tokens_per_fill"]),
    "fill_interval a number": (changed("limits.0.fill_interval", 60), ["limits[0].fill_interval"]),
    "fill_interval without unit": (
        changed("limits.0.fill_interval", "60"), ["limits[0].fill_interval"]
    ),
    "fill_interval zero": (changed("limits.0.fill_interval", "0s"), ["limits[0].fill_interval"]),
    "headers mode unknown": (
        changed("responses", {"ratelimit_headers": "never"}), ["responses.ratelimit_headers"]
    ),
    "secret too short": (changed("invalidator.secret", "short"), ["invalidator.secret", "16"]),
    "cluster missing": (changed("invalidator.cluster", DELETE), ["invalidator", "cluster"]),
    "cluster empty": (changed("invalidator.cluster", ""), ["invalidator.cluster"]),
    "stale_after missing": (
        changed("invalidator.stale_after", DELETE), ["invalidator", "stale_after"]
    ),
    "stale_after too short": (
        changed("invalidator.stale_after", "1ms"), ["invalidator.stale_after"]
    ),
    "fail_policy missing": (changed("fail_policy", DELETE), ["fail_policy"]),
    "slab_full missing": (changed("fail_policy.slab_full", DELETE), ["fail_policy", "slab_full"]),
    "contention unknown": (changed("fail_policy.contention", "retry"), ["fail_policy.contention"]),
    "never_synced missing": (
        changed("fail_policy.never_synced", DELETE), ["fail_policy.never_synced"]
    ),
    "stale missing": (changed("fail_policy.stale", DELETE), ["fail_policy.stale"]),
    "never_synced without invalidator": (
        changed("invalidator", DELETE), ["fail_policy.never_synced", "invalidator"]
    ),
    "stale of unknown group": (
        changed("fail_policy.stale", {"default": "deny", "route_groups": {"bett": "allow"}}),
        ["fail_policy.stale.route_groups", "bett"],
    ),
    "stale groups without default": (
        changed("fail_policy.stale", {"route_groups": {"bet": "allow"}}),
        ["fail_policy.stale", "default"],
    ),
    "slabs not a power of two": (
        changed("storage", {"slabs": 1000}), ["storage.slabs", "power of two"]
    ),
    "slabs too few": (changed("storage", {"slabs": 8}), ["storage.slabs"]),
    "slab_bytes_max too small": (
        changed("storage", {"slab_bytes_max": 1}), ["storage.slab_bytes_max"]
    ),
}  # fmt: skip


def refusal(directory: Path, config: dict | str) -> str:
    """What Envoy says when it refuses this plugin configuration."""
    options = Options(config, upstream_port=1, poll_address="127.0.0.1:1")
    file = directory / "envoy.json"
    file.write_text(json.dumps(bootstrap(1, 2, directory / "access.log", options)))
    answer = validate(file)
    assert answer.returncode != 0, "Envoy accepted it"
    lines = options.host.said(answer.stderr)
    assert lines, answer.stderr
    return "\n".join(lines)


@pytest.mark.parametrize("config, parts", WRONG.values(), ids=WRONG.keys())
def test_wrong_plugin_configuration_is_refused_by_envoy(tmp_path, config, parts):
    message = refusal(tmp_path, config)
    for part in parts:
        assert part in message
    assert SECRET not in message


def configurations(document: object) -> Iterator[dict]:
    """Every place where a plugin configuration stands in Envoy's, whichever host it is for."""
    for name, value in document.items() if isinstance(document, dict) else []:
        if name in {"configuration", "filter_config"}:
            yield value
        else:
            yield from configurations(value)
    for value in document if isinstance(document, list) else []:
        yield from configurations(value)


def test_text_that_is_not_json_is_refused(tmp_path):
    options = Options(plugin.standard(), upstream_port=1, poll_address="127.0.0.1:1")
    text = json.dumps(bootstrap(1, 2, tmp_path / "access.log", options))
    assert list(configurations(json.loads(text)))
    for number, wrong in enumerate(["", "{", "[]", "null", "not json"]):
        file = tmp_path / f"{number}.json"
        document = json.loads(text)
        for place in configurations(document):
            place["value"] = wrong
        file.write_text(json.dumps(document))
        assert validate(file).returncode != 0, wrong


@pytest.mark.parametrize("struct", [False, True], ids=["string", "struct"])
def test_both_forms_of_configuration_work(struct, user):
    with running(struct=struct) as stack:
        assert stack.edge.get("/", user).status == 200
        stack.daemon.block(user, scope=["bet"])
        assert stack.edge.get("/bet", user).status == 403
        lower = {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "60s"}
        other = new_user()
        stack.daemon.override(other, name="per-user", **lower)
        assert [stack.edge.get("/", other).status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_accepted_by_envoy(tmp_path, example, host):
    """As they are, but for the places of the module and of the certificates."""
    certificates.write(tmp_path, ["server.crt", "clients-ca.crt"], key="server.key")
    text = examples.moved((examples.FOLDER / example).read_text(), host)
    file = tmp_path / example
    file.write_text(text.replace("/etc/portcullis/tls", str(tmp_path)))
    answer = validate(file)
    assert answer.returncode == 0, answer.stderr


def test_there_are_examples_for_each_host():
    assert all(examples.names(host) for host in hosts.ALL.values())


# --- the daemon's configuration -----------------------------------------------------------------

POLL = {"listen": "unix:/tmp/pc-never.sock", "secret": SECRET}

# what is wrong -> (configuration, what the message must contain)
WRONG_DAEMON = {
    "unknown table": ({"poll": POLL, "pol": {"x": 1}}, ["pol", "unknown field"]),
    "unknown key": ({"poll": {**POLL, "sekret": "x"}}, ["poll", "sekret"]),
    "no poll": ({"api": {"listen": "127.0.0.1:7700"}}, ["poll"]),
    "no secret": ({"poll": {"listen": POLL["listen"]}}, ["poll", "secret"]),
    "secret too short": ({"poll": {**POLL, "secret": "tooshort-secret"}}, ["poll.secret", "16"]),
    "secret file absent": (
        {"poll": {"listen": POLL["listen"], "secret": {"file": "/nonexistent"}}},
        ["poll.secret", "/nonexistent"],
    ),
    "secret env absent": (
        {"poll": {"listen": POLL["listen"], "secret": {"env": "PORTCULLIS_NO_SUCH"}}},
        ["poll.secret", "PORTCULLIS_NO_SUCH"],
    ),
    "api not loopback": ({"poll": POLL, "api": {"listen": "0.0.0.0:7700"}}, ["api.listen"]),
    "api no address": ({"poll": POLL, "api": {"listen": "here"}}, ["api.listen"]),
    "api for nobody": ({"poll": POLL, "api": {"tokens": []}}, ["api.tokens", "token new --name"]),
    "ack_timeout no span": ({"poll": POLL, "api": {"ack_timeout": "2"}}, ["api.ack_timeout"]),
    "poll no address": ({"poll": {**POLL, "listen": "here"}}, ["poll.listen"]),
    "socket path relative": ({"poll": {**POLL, "listen": "unix:p.sock"}}, ["poll.listen"]),
    "socket path too long": (
        {"poll": {**POLL, "listen": "unix:/" + "x" * 120}}, ["poll.listen", "107"]
    ),
    "socket_mode no mode": ({"poll": {**POLL, "socket_mode": "rw"}}, ["poll.socket_mode"]),
    "hold too long": ({"poll": {**POLL, "hold": "1h"}}, ["poll.hold"]),
    "redis url": (
        {"poll": POLL, "sources": {"redis": {"url": "http://u:hunter2@localhost"}}},
        ["sources.redis.url", "redis://"],
    ),
    "inbox with a bad name": (
        {"poll": POLL, "sources": {"redis": {"url": "redis://x", "inboxes": [{"name": "A B"}]}}},
        ["sources.redis.inboxes[0].name", "1 to 64"],
    ),
    "inbox with bad bounds": (
        {
            "poll": POLL,
            "sources": {
                "redis": {"url": "redis://x", "inboxes": [{"name": "desk", "allow": {"scopes": []}}]}
            },
        },
        ["sources.redis.inboxes[0].allow.scopes", "1 to 64 names"],
    ),
    "no store": ({"poll": POLL, "store": {}}, ["store"]),
    "store not absolute": (
        {"poll": POLL, "store": {"directory": "here"}}, ["store.directory", "absolute"]
    ),
    "no source": ({"poll": POLL, "sources": {"embedded": {"enabled": False}}}, ["sources"]),
    "limit zero": ({"poll": POLL, "limits": {"nodes_max": 0}}, ["limits.nodes_max"]),
    "log format": ({"poll": POLL, "log": {"format": "xml"}}, ["log.format"]),
    "log level": ({"poll": POLL, "log": {"level": "loud"}}, ["log.level"]),
}  # fmt: skip


def run_daemon(config: Path) -> subprocess.CompletedProcess:
    argv = [str(artifacts.daemon()), "run", "--config", str(config)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)


@pytest.mark.parametrize("tables, parts", WRONG_DAEMON.values(), ids=WRONG_DAEMON.keys())
def test_wrong_daemon_configuration_exits_64(tmp_path, tables, parts):
    file = tmp_path / "portcullis.toml"
    callers = [token_entry("ops", "operator", new_token())]
    api = {"tokens": callers, **tables.get("api", {})}
    tables = {"store": {"directory": "/nonexistent"}, **tables, "api": api}
    file.write_text(tomli_w.dumps(tables))
    answer = run_daemon(file)
    assert answer.returncode == 64
    for part in parts:
        assert part in answer.stderr
    assert SECRET not in answer.stderr and "hunter2" not in answer.stderr
    assert len(answer.stderr.splitlines()) == 1


def test_daemon_configuration_that_is_absent_or_no_toml_exits_64(tmp_path):
    assert run_daemon(tmp_path / "absent.toml").returncode == 64
    file = tmp_path / "portcullis.toml"
    file.write_text(f'[poll]\nsecret = "{SECRET}\n')
    answer = run_daemon(file)
    assert answer.returncode == 64
    assert "line 2" in answer.stderr and SECRET not in answer.stderr
