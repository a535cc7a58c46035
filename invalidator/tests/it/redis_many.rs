//! Redis with Sentinels, and Redis Cluster: the real ones, with servers killed.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::fleet::everywhere;
use crate::fleet_limits::{Sharing, bucket};
use crate::harness::{Daemon, Process, Redis, block, file, free_port, wait_until};
use crate::redis_durable::written;

const OFTEN: &str = "ping_interval = \"100ms\"\ndead_after = \"1s\"\ndigest_interval = \"500ms\"\n";

fn is_ready(daemon: &Daemon) -> bool {
    daemon.get("/readyz").status == 200
}

fn is_blocked(daemon: &Daemon, user: &str) -> bool {
    let answer = daemon.get(&format!("/v1/users/{user}"));
    answer.status == 200 && !answer.json()["blocks"].as_array().unwrap().is_empty()
}

fn ask<T: redis::FromRedisValue>(redis: &Redis, words: &[&str]) -> redis::RedisResult<T> {
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(*word);
    }
    command.query(&mut redis.connect())
}

fn held(redis: &Redis, user: &str) -> Vec<String> {
    let key = format!("{{portcullis}}:state:user:{user}");
    ask(redis, &["HKEYS", &key]).unwrap_or_default()
}

/// A Sentinel that is quick to judge.
struct Sentinel {
    _process: Process,
    _directory: TempDir,
    port: u16,
}

impl Sentinel {
    fn start(master: u16) -> Self {
        let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
        let config = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
            directory.path().display()
        );
        let config = file(directory.path(), "sentinel.conf", &config);
        let child = Command::new("redis-sentinel")
            .arg(config)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-sentinel is needed: apt-get install redis-sentinel");
        Self { _process: Process(child), _directory: directory, port }
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// One of the numbers that it knows of the master.
    fn counts(&self, what: &str) -> Option<usize> {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection().ok()?;
        let mut command = redis::cmd("SENTINEL");
        let all: Vec<String> = command.arg("MASTER").arg("main").query(&mut connection).ok()?;
        let at = all.iter().position(|name| name == what)?;
        all[at + 1].parse().ok()
    }
}

#[test]
fn what_the_new_master_never_heard_of_stays_in_force_and_is_written_there() {
    let master = Redis::start(free_port(), &[]);
    let of = format!("127.0.0.1 {}", master.port);
    let of: Vec<_> = ["--replicaof"].into_iter().chain(of.split(' ')).collect();
    let replica = Redis::start(free_port(), &of);
    wait_until("the replica", || {
        ask::<String>(&replica, &["INFO", "replication"])
            .is_ok_and(|info| info.contains("master_link_status:up"))
    });
    let sentinels = [0; 3].map(|_| Sentinel::start(master.port));
    wait_until("the Sentinels to know each other and the replica", || {
        sentinels.iter().all(|sentinel| {
            sentinel.counts("num-other-sentinels") == Some(2)
                && sentinel.counts("num-slaves") == Some(1)
        })
    });
    let urls: Vec<_> = sentinels.iter().map(|s| format!("\"{}\"", s.url())).collect();
    let daemon = Daemon::start(&format!(
        "[sources.redis]\nmode = \"sentinel\"\nurls = [{}]\nsentinel.master_name = \"main\"\n{OFTEN}{DESK}",
        urls.join(", ")
    ));
    wait_until("Redis", || is_ready(&daemon));
    let mut sharing = Sharing::start(&daemon, "n-a");
    assert!(sharing.take(1, 3) > 2.0);
    assert_eq!(daemon.post(&block("evt-1", "alice")).json()["redis"], true);
    wait_until("the replica to have it", || held(&replica, "alice") == ["evt-1"]);

    // From here on the replica hears nothing, and the master dies with what it has acknowledged.
    replica.process.signal("-STOP");
    ask::<u64>(&master, &["CLIENT", "KILL", "TYPE", "replica"]).unwrap();
    let answer = daemon.post(&block("evt-2", "bob")).json();
    assert_eq!(answer["redis"], true);
    drop(master);
    replica.process.signal("-CONT");

    assert!(is_blocked(&daemon, "bob"), "whatever happens there");
    wait_until("the failover, and the repair", || held(&replica, "bob") == ["evt-2"]);
    wait_until("Redis again", || is_ready(&daemon));
    assert!(is_blocked(&daemon, "alice") && is_blocked(&daemon, "bob"));
    assert_eq!(daemon.metric("portcullis_repaired_total{where=\"redis\"}"), 1.0);
    assert_eq!(daemon.post(&block("evt-3", "carol")).json()["redis"], true);
    assert_eq!(held(&replica, "carol"), ["evt-3"]);
    let inbox = ["RPUSH", "{portcullis}:inbox:desk", &block("evt-4", "dave")];
    ask::<u64>(&replica, &inbox).unwrap();
    wait_until("the event out of the inbox", || is_blocked(&daemon, "dave"));
    wait_until("it to be written", || held(&replica, "dave") == ["evt-4"]);
    wait_until("the new master to tell of inboxes", || {
        daemon.log().matches("tells of what comes into inboxes").count() >= 2
    });
    // The fleet's buckets are there as well, under the key that was replicated.
    wait_until("reports to be counted", || sharing.try_take(2, 1).is_some_and(|one| one <= 1.0));
    wait_until("news of the new master", || {
        sharing.try_take(2, 10);
        !sharing.poll().news.is_empty()
    });
}

const DESK: &str = "[[sources.redis.inboxes]]\nname = \"desk\"\n";

const CLUSTER: [&str; 6] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "1000",
    "--cluster-require-full-coverage",
    "no",
];

/// Three masters without replicas.
fn cluster() -> Vec<Redis> {
    let nodes: Vec<_> = (0..3).map(|_| Redis::start(free_port(), &CLUSTER)).collect();
    for node in &nodes {
        drop(node.connect());
    }
    let made = Command::new("redis-cli")
        .args(["--cluster", "create", "--cluster-yes"])
        .args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)))
        .stdin(Stdio::null())
        .output()
        .expect("redis-cli is needed: apt-get install redis-tools");
    assert!(made.status.success(), "{}", crate::harness::text(&made.stdout));
    wait_until("the cluster", || {
        nodes.iter().all(|node| {
            ask::<String>(node, &["CLUSTER", "INFO"])
                .is_ok_and(|info| info.contains("cluster_state:ok"))
        })
    });
    nodes
}

fn in_cluster(nodes: &[Redis]) -> Daemon {
    in_cluster_with(nodes, "")
}

fn in_cluster_with(nodes: &[Redis], more: &str) -> Daemon {
    let urls: Vec<_> = nodes.iter().map(|node| format!("\"{}\"", node.url())).collect();
    let daemon = Daemon::start(&format!(
        "[sources.redis]\nmode = \"cluster\"\nurls = [{}]\n{OFTEN}{more}",
        urls.join(", ")
    ));
    wait_until("the cluster", || is_ready(&daemon));
    daemon
}

/// The node that has our slot, and the two others.
fn owner(mut nodes: Vec<Redis>) -> (Redis, Vec<Redis>) {
    let owns = |node: &Redis| ask::<u64>(node, &["EXISTS", "{portcullis}:digest"]).is_ok();
    let at = nodes.iter().position(owns).unwrap();
    (nodes.remove(at), nodes)
}

#[test]
fn any_node_of_a_cluster_will_do_and_one_may_die() {
    let nodes = cluster();
    let daemons = [in_cluster(&nodes), in_cluster(&nodes)];
    assert_eq!(daemons[0].post(&block("evt-1", "alice")).json()["redis"], true);
    wait_until("the other daemon", || is_blocked(&daemons[1], "alice"));
    wait_until("both to say who enforces it", || {
        let said = everywhere(&daemons[0], &block("evt-1", "alice")).json();
        let missing = said["fleet"]["missing"].as_array().unwrap().clone();
        missing.len() == 2 && missing.iter().all(|one| one["reason"] == "no_envoy")
    });
    let (owner, mut others) = owner(nodes);
    for (number, node) in [&owner, &others[0], &others[1]].into_iter().enumerate() {
        let (id, user) = (format!("bare-{number}"), format!("user-{number}"));
        ask::<u64>(node, &["PUBLISH", "portcullis.invalidations", &block(&id, &user)]).unwrap();
        wait_until("both to hear it", || daemons.iter().all(|daemon| is_blocked(daemon, &user)));
        wait_until("it to be written", || held(&owner, &user) == [id.clone()]);
    }
    assert_eq!(written(&owner), 4);
    drop(others.pop());
    wait_until("all to be well again", || {
        daemons.iter().all(|daemon| {
            let answer = daemon.post(&block("evt-2", "bob")).json();
            answer["redis"] == true && is_ready(daemon)
        })
    });
    ask::<u64>(&others[0], &["PUBLISH", "portcullis.invalidations", &block("evt-3", "carol")])
        .unwrap();
    wait_until("both to hear it", || daemons.iter().all(|daemon| is_blocked(daemon, "carol")));
}

#[test]
fn limits_hold_across_a_cluster_and_news_come_through_any_node_of_it() {
    let nodes = cluster();
    let daemons = [in_cluster(&nodes), in_cluster(&nodes)];
    let [mut one, mut other] = [(0, "n-a"), (1, "n-b")]
        .map(|(at, name): (usize, &str)| Sharing::start(&daemons[at], name));
    assert!(one.take(1, 3) > 2.0 && other.take(1, 4) > 6.0);
    wait_until("news at the other daemon", || {
        one.take(2, 10);
        other.poll().news.iter().any(|news| news.bucket == Some(bucket(2)))
    });
    // The node with the buckets dies, and comes back with nothing in it.
    let key = "{portcullis:fleet:0}:bucket:x";
    let mut nodes = nodes;
    let owns = |node: &Redis| ask::<u64>(node, &["EXISTS", key]).is_ok();
    let at = nodes.iter().position(owns).unwrap();
    let (port, directory) = nodes.remove(at).kill();
    wait_until("the loss", || one.try_take(3, 1).is_none());
    let back = Redis::start_in(directory, port, &CLUSTER);
    wait_until("the node to be back", || owns(&back));
    wait_until("reports to be counted", || {
        one.poll();
        one.try_take(4, 1).is_some()
    });
}

/// Also one that has come back, on connections that the library has made anew.
#[test]
fn the_node_that_has_our_slot_tells_of_what_comes_into_inboxes() {
    let nodes = cluster();
    let daemon = in_cluster_with(&nodes, DESK);
    wait_until("the bell", || daemon.log().contains("tells of what comes into inboxes"));
    assert_eq!(daemon.post(&block("evt-1", "alice")).json()["redis"], true);
    let (owner, _others) = owner(nodes);
    let put = |node: &Redis, id: &str, user: &str| {
        ask::<u64>(node, &["RPUSH", "{portcullis}:inbox:desk", &block(id, user)]).is_ok()
    };
    assert!(put(&owner, "evt-2", "bob"));
    wait_until("the event to be taken", || is_blocked(&daemon, "bob"));
    let (port, directory) = owner.kill();
    wait_until("the loss", || !is_ready(&daemon));
    let owner = Redis::start_in(directory, port, &CLUSTER);
    wait_until("all to be well again", || is_ready(&daemon));
    wait_until("the event to be put", || put(&owner, "evt-3", "carol"));
    wait_until("the event to be taken", || is_blocked(&daemon, "carol"));
    wait_until("it to be written", || held(&owner, "carol") == ["evt-3"]);
}

#[test]
fn without_the_node_that_has_our_slot_blocks_stand_and_come_back_to_it() {
    let nodes = cluster();
    let daemon = in_cluster(&nodes);
    assert_eq!(daemon.post(&block("evt-1", "alice")).json()["redis"], true);
    let (owner, others) = owner(nodes);
    let (port, directory) = owner.kill();
    wait_until("the loss", || !is_ready(&daemon));
    assert!(is_blocked(&daemon, "alice"));
    wait_until("Pub/Sub over another node", || {
        let event = block("evt-2", "bob");
        ask::<u64>(&others[0], &["PUBLISH", "portcullis.invalidations", &event]).unwrap();
        is_blocked(&daemon, "bob")
    });
    let owner = Redis::start_in(directory, port, &CLUSTER);
    wait_until("the repair", || held(&owner, "alice") == ["evt-1"]);
    wait_until("the bare event", || held(&owner, "bob") == ["evt-2"]);
    wait_until("all to be well again", || is_ready(&daemon));
}
