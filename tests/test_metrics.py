"""What parsers of metrics make of ours, after everything has happened that is counted."""

import json
import re
import ssl
import subprocess
import threading
import urllib.request
from collections import Counter

import pytest
from prometheus_client import parser as classic
from prometheus_client.openmetrics import parser as openmetrics

from harness import artifacts, certificates, dead_letters, events, hosts, plugin, ports
from harness.client import Connection
from harness.daemon import Daemon
from harness.events import event, new_user
from harness.proc import wait_until
from harness.stack import Stack, running

METRICS = (artifacts.REPOSITORY / "docs/reference/metrics.md").read_text()
ANSWERS = (artifacts.REPOSITORY / "docs/reference/answers.md").read_text()
TOO_OLD_MS = 7 * 24 * 3_600_000 + 60_000
# What Prometheus sends.
PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
INTEGRATION = {
    "name": "orders",
    "match": [{"path": {"prefix": "/orders"}}],
    "signature": {"profile": "portcullis"},
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """It has seen everything: applied, stale, refused, replayed, repaired, keys, and so on."""
    place = tmp_path_factory.mktemp("files")
    for name in "keys.toml", "event-keys.toml":
        (place / name).write_text("# none\n")
        (place / name).chmod(0o600)
    settings = {
        "keys": {"file": str(place / "keys.toml")},
        "events": {
            "keys_file": str(place / "event-keys.toml"),
            "embedded": {"signatures": "optional"},
        },
        "sources": {"redis": {"inboxes": [{"name": "desk"}]}},
    }
    shared = {
        **plugin.PER_USER,
        "name": "shared",
        "match": [{"path": {"prefix": "/shared"}}],
        "fleet": {"on_loss": "local"},
    }
    standard = plugin.standard(integrations=[INTEGRATION], limits=[plugin.PER_USER, shared])
    with running(standard, redis=True, daemon_settings=settings) as started:
        see_everything(started)
        yield started


def see_everything(stack: Stack) -> None:
    user = new_user()
    newest = event("block", user, reason="fraud")
    stack.daemon.publish(newest)
    for made in newest, event("block", user, reason="fraud", at_ms=events.now_ms() - 60_000):
        stack.daemon.post(made)
    stack.redis.publish(event("block", new_user()))
    stack.redis.client.rpush("{portcullis}:inbox:desk", json.dumps(event("block", new_user())), "{}")
    refused = 'portcullis_inbox_events_total{inbox="desk",result="refused"}'
    wait_until(lambda: stack.daemon.metrics()[refused] == 1, "the inbox to be served")
    old = event("block", new_user(), at_ms=events.now_ms() - TOO_OLD_MS)
    stack.redis.publish(old)
    dead_letters.wait_for(stack.daemon, old["event_id"])
    dead_letters.replay(stack.daemon, event_id=old["event_id"])
    stack.daemon.post(b"{}")
    stack.daemon.zero(new_user(), duration="1s")
    rate = {"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "1m"}
    stack.daemon.override(new_user(), name="per-user", **rate)
    stack.daemon.post(event("block", new_user(), scope=["no_such_group"]))
    with Connection(stack.daemon.port) as api:
        assert api.get("/v1/status").status == 401
    assert stack.daemon.get(f"/v1/users/{user}", role="publisher").status == 403
    with Connection(str(stack.daemon.poll_socket)) as polls:
        assert polls.request("POST", "/v1/poll", b"", authorization="Bearer wrong").status == 401
    # Redis loses everything and gets it back; what it has written comes again.
    seen = lambda: (stack.daemon.status()["redis"]["there"] or {}).get("count")  # noqa: E731
    wait_until(seen, "the daemon to have seen what is lost")
    stack.redis.client.flushall()
    there = lambda: stack.redis.client.hlen(f"{{portcullis}}:state:user:{user}")  # noqa: E731
    wait_until(there, "what was lost to be written back")
    for path in "/", "/orders", "/bet":
        stack.edge.get(path, user)
        stack.edge.get(path, new_user())
        stack.edge.get(path)
    stack.edge.settled_metric("portcullis_denied_block")


def scrape(stack: Stack, accept: str | None) -> tuple[str, str]:
    with Connection(stack.daemon.port) as api:
        answer = api.get("/metrics", authorization=stack.daemon.bearer(), accept=accept)
    assert answer.status == 200
    return answer.headers["content-type"], answer.body.decode()


def promtool(text: str) -> subprocess.CompletedProcess:
    command = [artifacts.promtool(), "check", "metrics"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=30, check=False)


def test_promtool_finds_nothing_wrong(stack):
    for accept in None, "*/*", "text/plain":
        kind, text = scrape(stack, accept)
        assert kind == "text/plain; version=0.0.4; charset=utf-8"
        checked = promtool(text)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_a_strict_parser_of_openmetrics_reads_all_of_it(stack):
    kind, text = scrape(stack, PROMETHEUS)
    assert kind == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = list(openmetrics.text_string_to_metric_families(text))
    names = Counter(family.name for family in families)
    assert len(names) > 50 and set(names.values()) == {1}, names
    assert all(family.documentation and family.type != "unknown" for family in families)


def test_both_formats_say_the_same(stack):
    _, text = scrape(stack, PROMETHEUS)
    _, older = scrape(stack, None)
    of = lambda families: {s.name for family in families for s in family.samples}  # noqa: E731
    assert of(openmetrics.text_string_to_metric_families(text)) == of(
        classic.text_string_to_metric_families(older)
    )


def test_repairs_are_told_apart_by_where(stack):
    metrics = stack.daemon.metrics()
    assert metrics['portcullis_repaired_total{where="redis"}'] > 0
    assert metrics['portcullis_repaired_total{where="node"}'] == 0
    assert "portcullis_repaired_total" not in metrics


def first_column(heading: str) -> list[str]:
    """The first column of all tables below a heading of docs/reference/metrics.md."""
    chapter = METRICS.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| (`.*?`) \|", chapter, re.MULTILINE)


def documented() -> set[str]:
    """Every name that the document gives a metric of the daemon."""
    names = [name.strip("`").partition("{")[0] for name in first_column("The daemon")]
    assert len(set(names)) == len(names) > 50
    return {name.removesuffix("_total") for name in names}


def test_every_family_is_documented_and_every_documented_one_is_there(stack):
    _, text = scrape(stack, PROMETHEUS)
    there = {family.name for family in openmetrics.text_string_to_metric_families(text)}
    of_tls = {name for name in documented() if name.startswith("portcullis_tls_")}
    assert documented() - of_tls == there


def test_metrics_of_tls_are_read_as_well(tmp_path):
    certificates.write(tmp_path, ["api.pem"], "api.key")
    (tmp_path / "api.key").chmod(0o600)
    port = ports.free()
    files = {"cert_file": str(tmp_path / "api.pem"), "key_file": str(tmp_path / "api.key")}
    one = Daemon(tmp_path, settings={"api": {"tls": files}}, port=port, start=False)
    one.start(wait=False)
    trust = ssl.create_default_context(cafile=str(tmp_path / "api.pem"))
    trust.check_hostname = False

    def get(accept: str) -> str:
        headers = {"authorization": one.bearer(), "accept": accept}
        request = urllib.request.Request(f"https://127.0.0.1:{port}/metrics", headers=headers)
        with urllib.request.urlopen(request, context=trust, timeout=10) as answer:
            return answer.read().decode()

    try:
        text = wait_until(lambda: get(PROMETHEUS), "the daemon to answer")
        there = {family.name for family in openmetrics.text_string_to_metric_families(text)}
        assert {name for name in documented() if name.startswith("portcullis_tls_")} <= there
        assert promtool(get("*/*")).returncode == 0
    finally:
        one.close()


def test_scrapes_at_once_do_not_mix(stack):
    faults = []

    def scrape_often() -> None:
        for _ in range(20):
            try:
                list(openmetrics.text_string_to_metric_families(scrape(stack, PROMETHEUS)[1]))
            except ValueError as error:
                faults.append(error)

    threads = [threading.Thread(target=scrape_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


def test_the_filters_metrics_are_read_through_envoy(stack):
    with Connection(stack.edge.admin_port) as admin:
        text = admin.get("/stats/prometheus").body.decode()
    prefix = hosts.chosen().prometheus
    ours = [line for line in text.splitlines() if re.match(rf"(# \w+ )?{prefix}portcullis_", line)]
    assert len(ours) > 20
    # It can be parsed: 1 would say not. Envoy writes no help, and gives counters and histograms
    # their names as they are.
    checked = promtool("\n".join(ours) + "\n")
    usual = ("no help text", 'should have "_total" suffix', "abbreviated units")
    found = (checked.stdout + checked.stderr).splitlines()
    assert checked.returncode == 3 and all(line.endswith(usual) for line in found), found
    families = Counter(family.name for family in classic.text_string_to_metric_families(text))
    doubled = [name for name, count in families.items() if count > 1 and "portcullis" in name]
    assert not doubled
    samples = Counter(line.rpartition(" ")[0] for line in ours if not line.startswith("#"))
    assert set(samples.values()) == {1}


def test_every_metric_of_the_filter_is_documented_and_every_documented_one_is_there(stack):
    chapter = METRICS.split("\n## The filter\n")[1]
    results = re.findall(r"`(\w+)`", chapter.split("`RESULT` is one of")[1].split(".\n")[0])
    rules = re.findall(r"^\| `(\w+)` \|", ANSWERS.split("\n## Rules\n")[1], re.MULTILINE)
    stands_for = {
        "OUTCOME": ["denied", "would_deny", "failed_open"],
        "CAUSE": rules,
        "RESULT": results,
        "NAME": ["per-user", "shared", "orders"],  # a limit or an integration
        "PROFILE": ["portcullis"],
    }
    with Connection(stack.edge.admin_port) as admin:
        stats = admin.get("/stats?format=json").body.decode()
    there = hosts.chosen().names(stats)
    expected: set[str] = set()
    for name in set(first_column("The filter")) - {f"`{name}`" for name in hosts.chosen().lacks}:
        names = {name.strip("`")}
        for word, values in stands_for.items():
            each = {one: values if word in one else [""] for one in names}
            names = {one.replace(word, value) for one in names for value in each[one]}
        expected |= names
    # Of reasons and key ids there are as many as were seen.
    seen = {name for name in there if re.match(r"block\.|signature\.skew_ms\.", name)}
    unseen = {name for name in expected if re.match(r"block\.REASON|signature\.skew_ms\.KEY", name)}
    assert len(unseen) == 4 and any(name.startswith("block.fraud.") for name in seen)
    # There are two limits and one integration.
    others = {name for name in expected if re.match(r"limit\.orders|integration\.(per-user|shared)", name)}
    assert expected - unseen - others == there - seen
