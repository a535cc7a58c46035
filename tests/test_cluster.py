"""Redis Cluster of three masters with a replica each: the master that has our slot is killed."""

import json
import subprocess
import time

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster

from harness import artifacts, ports
from harness.events import event, new_user
from harness.proc import wait_until
from harness.redis_server import Redis
from harness.stack import running

NODES = 6
OPTIONS = ["--appendonly", "no", "--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]
STATE = "{portcullis}:state:user:"


@pytest.fixture
def nodes(tmp_path):
    started: list[Redis] = []
    try:
        for number in range(NODES):
            directory = tmp_path / str(number)
            directory.mkdir()
            started.append(Redis(directory, [*OPTIONS, "--cluster-port", str(ports.free())]))
        hosts = [f"127.0.0.1:{node.port}" for node in started]
        made = subprocess.run(
            ["redis-cli", "--cluster", "create", *hosts, "--cluster-replicas", "1", "--cluster-yes"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        wait_until(lambda: all(is_whole(node) for node in started), "the cluster", 20)
        yield started
    finally:
        for node in started:
            if node.process.alive():
                node.close()


def is_whole(node: Redis) -> bool:
    """Whether it knows of all slots, and has a replica that is in step if it is a master."""
    if node.client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
        return False
    replication = node.client.info("replication")
    if replication["role"] == "master":
        return replication["connected_slaves"] == 1
    return replication["master_link_status"] == "up"


def owner(nodes: list[Redis]) -> Redis:
    """The master that has our slot."""

    def has_it(node: Redis) -> bool:
        if not node.process.alive() or node.client.info("replication")["role"] != "master":
            return False
        try:
            node.client.exists("{portcullis}:digest")
        except redis.RedisError:
            return False
        return True

    (found,) = [node for node in nodes if has_it(node)]
    return found


def client(nodes: list[Redis]) -> RedisCluster:
    return RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", n.port) for n in nodes if n.process.alive()])


def script(cluster: RedisCluster, action: str, user: str) -> None:
    """As docs/how-to/publish-over-redis.md tells publishers to."""
    made = event(action, user)
    source = (artifacts.REPOSITORY / "invalidator/redis/publish.lua").read_text()
    names = ("subjects", "stream", "digest")
    keys = [f"{STATE}{user}", *(f"{{portcullis}}:{name}" for name in names)]
    content = [Redis.CHANNEL, f"user:{user}", made["event_id"], json.dumps(made), 100_000, 256]
    cluster.eval(source, len(keys), *keys, *content)


def test_the_master_of_our_slot_is_killed_and_its_replica_takes_over(nodes, summary):
    urls = [f"redis://127.0.0.1:{node.port}" for node in nodes]
    settings = {"sources": {"redis": {"mode": "cluster", "urls": urls}}}
    with running(daemon_settings=settings) as stack:
        before = owner(nodes)
        users = [new_user() for _ in range(30)]
        lifted = new_user()
        for user in users[:15]:
            assert stack.daemon.block(user)["redis"] is True
        with client(nodes) as cluster:
            for user in [*users[15:], lifted]:
                script(cluster, "block", user)
            script(cluster, "unblock", lifted)
        wait_until(lambda: all(stack.edge.get("/", user).status == 403 for user in users), "the blocks")

        before.kill()
        killed = time.monotonic()
        gone = new_user()
        answer = stack.daemon.post(event("block", gone))
        assert answer.status in (200, 202) and stack.edge.get("/", gone).status == 403
        wait_until(lambda: owner(nodes) is not before, "the replica to be promoted", 20)
        promoted_s = time.monotonic() - killed
        after = owner(nodes)
        late = new_user()
        wait_until(
            lambda: stack.daemon.post(event("block", late, event_id=f"late-{late}")).json()["redis"],
            "the API to reach the new master",
            20,
        )
        wait_until(lambda: stack.daemon.get("/readyz").status == 200, "the daemon to be ready", 20)
        ready_s = time.monotonic() - killed
        stack.wait_synced()
        assert [user for user in [*users, gone, late] if stack.edge.get("/", user).status != 403] == []
        assert stack.edge.get("/", lifted).status == 200

        # Replication is not waited for: what the new master lacks is written to it.
        kept = lambda: [user for user in [*users, gone] if after.client.hlen(f"{STATE}{user}") != 1]  # noqa: E731
        wait_until(lambda: kept() == [], "the new master to have all", 20)
        with client(nodes) as cluster:
            script(cluster, "block", lifted)
        wait_until(lambda: stack.edge.get("/", lifted).status == 403, "a block by the new master")
        bare = new_user()
        any_other = next(node for node in nodes if node not in (before, after) and node.process.alive())
        # Whoever was connected to the killed one for Pub/Sub is connected to another one by now.
        assert any_other.publish(event("block", bare)) >= 0
        wait_until(lambda: stack.edge.get("/", bare).status == 403, "a bare block", 5)
        summary(f"Cluster, a master killed: promoted after {promoted_s:.1f} s, ready after {ready_s:.1f} s")
