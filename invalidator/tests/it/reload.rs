//! Signals: SIGHUP reads the configuration again, and none that nobody means as an end is one.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use access::Token;
use serde_json::{Value, json};

use crate::harness::{Daemon, OPERATOR, PUBLISHER, block, portcullis, wait_until};
use crate::node::Running;

const NEXT: &str = "pct_another-token-for-the-tests-0123456789abcde";

fn config(daemon: &Daemon) -> String {
    std::fs::read_to_string(daemon.directory.path().join("portcullis.toml")).unwrap()
}

/// Puts a configuration in place, tells the daemon, and waits until it has said so often that it
/// has read it.
fn reload(daemon: &Daemon, text: &str, result: &str) {
    let sample = format!("portcullis_config_reloads_total{{result=\"{result}\"}}");
    let before = daemon.metric(&sample);
    std::fs::write(daemon.directory.path().join("portcullis.toml"), text).unwrap();
    daemon.process.signal("-HUP");
    wait_until("the configuration to be read", || daemon.metric(&sample) > before);
}

fn is_let_in(daemon: &Daemon, token: &str) -> bool {
    match daemon.get_as(Some(token), "/v1/status").status {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

fn entry(name: &str, role: &str, token: &str) -> String {
    let hash = Token::parse(token).unwrap().digest();
    format!("\n[[api.tokens]]\nname = \"{name}\"\nrole = \"{role}\"\nhash = \"{hash}\"\n")
}

fn reloads(daemon: &Daemon) -> Vec<Value> {
    let place = daemon.directory.path().join("store/audit");
    let text: String = std::fs::read_dir(place)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|name| name == "jsonl"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["kind"] == "reload").collect()
}

#[test]
fn callers_come_and_go_without_a_restart_and_blocks_stay() {
    let daemon = Daemon::start("");
    let node = Running::start(&daemon, "edge-1", "a");
    assert_eq!(daemon.post(&block("evt-1", "alice")).status, 200);
    let before = config(&daemon);
    assert!(!is_let_in(&daemon, NEXT));
    reload(&daemon, &(before.clone() + &entry("next", "publisher", NEXT)), "loaded");
    assert!(is_let_in(&daemon, NEXT) && is_let_in(&daemon, PUBLISHER));
    // Taken away, with its connections open.
    assert_eq!(daemon.get_as(Some(PUBLISHER), "/v1/status").status, 200);
    let hash = Token::parse(PUBLISHER).unwrap().digest().to_string();
    let other = Token::parse(NEXT).unwrap().digest().to_string();
    reload(&daemon, &before.replace(&hash, &other), "loaded");
    assert!(!is_let_in(&daemon, PUBLISHER) && is_let_in(&daemon, NEXT));
    assert_eq!(daemon.get("/v1/users/alice").json()["blocks"][0]["reason"], "fraud");
    assert_eq!(daemon.post(&block("evt-2", "bob")).status, 200);
    wait_until("the lines", || reloads(&daemon).len() == 2);
    let lines = reloads(&daemon);
    assert_eq!((&lines[0]["fields"], &lines[0]["callers"]), (&json!(["api.tokens"]), &json!(4)));
    assert_ne!(lines[0]["config"], lines[1]["config"]);
    node.stop();
}

#[test]
fn a_callers_bucket_is_not_filled_by_reading_its_limit_again() {
    let daemon = Daemon::start("");
    let rate = "rate = { max_tokens = 3, tokens_per_fill = 1, fill_interval = \"1h\" }\n";
    let text = config(&daemon) + &entry("slow", "auditor", NEXT) + rate;
    reload(&daemon, &text, "loaded");
    let statuses = |count| -> Vec<u16> {
        (0..count).map(|_| daemon.get_as(Some(NEXT), "/v1/status").status).collect()
    };
    assert_eq!(statuses(4), [200, 200, 200, 429]);
    reload(&daemon, &(text.clone() + "# Nothing else.\n"), "loaded");
    assert_eq!(statuses(1), [429]);
    reload(&daemon, &text.replace("max_tokens = 3", "max_tokens = 5"), "loaded");
    assert_eq!(statuses(1), [200], "another rate is another bucket");
}

#[test]
fn what_needs_a_restart_is_named_and_not_taken_over() {
    let daemon = Daemon::start("");
    let before = config(&daemon);
    let more = "poll.hold = \"500ms\"\nlimits.nodes_max = 1\nlog.level = \"debug\"\n";
    reload(&daemon, &format!("{more}{before}").replace("a-secret-for", "b-secret-for"), "loaded");
    let named = "\"fields\":\"limits.nodes_max, poll.hold, poll.secret\"";
    wait_until("the line", || daemon.log().contains(named));
    assert_eq!(daemon.metric("portcullis_config_waiting_fields"), 3.0);
    wait_until("the line", || reloads(&daemon).len() == 1);
    let line = &reloads(&daemon)[0];
    assert_eq!(line["fields"], json!(["log.level"]));
    assert_eq!(line["waiting"], json!(["limits.nodes_max", "poll.hold", "poll.secret"]));
    let node = Running::start(&daemon, "edge-1", "a");
    node.stop();
    // Said again until it is done, or put back.
    reload(&daemon, &before, "loaded");
    assert_eq!(daemon.metric("portcullis_config_waiting_fields"), 0.0);
    assert!(!daemon.log().contains("b-secret-for"));
}

#[test]
fn a_configuration_that_is_wrong_changes_nothing_and_all_that_is_wrong_is_said() {
    let daemon = Daemon::start("");
    let wrong = config(&daemon).replace("test-publisher", "a name") + "[log]\nlevel = \"loud\"\n";
    reload(&daemon, &wrong, "failed");
    for field in ["api.tokens[1].name", "log.level"] {
        let said = format!("\"field\":\"{field}\"");
        wait_until("the line", || daemon.log().contains(&said));
    }
    assert!(is_let_in(&daemon, PUBLISHER));
    std::fs::remove_file(daemon.directory.path().join("portcullis.toml")).unwrap();
    daemon.process.signal("-HUP");
    wait_until("the line", || daemon.log().contains("cannot read"));
    wait_until("the audit lines", || reloads(&daemon).len() == 2);
    assert_eq!(reloads(&daemon)[0]["result"], "failed");
    assert_eq!(daemon.post(&block("evt-1", "alice")).status, 202);
}

#[test]
fn callers_wait_for_a_restart_together_with_tls() {
    let daemon = Daemon::start("");
    let tls = "api.tls = { cert_file = \"/nowhere.pem\", key_file = \"/nowhere.key\" }\n";
    let before = config(&daemon);
    reload(&daemon, &(tls.to_owned() + &before + &entry("next", "publisher", NEXT)), "loaded");
    assert!(!is_let_in(&daemon, NEXT));
    assert_eq!(daemon.metric("portcullis_config_waiting_fields"), 3.0);
}

#[test]
fn the_level_of_the_log_can_be_changed() {
    let daemon = Daemon::start("");
    // Who was named before is logged at once, and not only when the audit log has its line.
    daemon.post(&block("evt-first", "alice"));
    wait_until("the line", || daemon.log().contains("evt-first"));
    reload(&daemon, &format!("log.level = \"error\"\n{}", config(&daemon)), "loaded");
    daemon.post(&block("evt-quiet", "alice"));
    reload(&daemon, &config(&daemon).replace("\"error\"", "\"info\""), "loaded");
    daemon.post(&block("evt-loud", "bob"));
    wait_until("the line", || daemon.log().contains("evt-loud"));
    assert!(!daemon.log().contains("evt-quiet"));
}

#[test]
fn no_signal_ends_the_daemon_but_those_that_mean_it() {
    let mut daemon = Daemon::start("");
    let node = Running::start(&daemon, "edge-1", "a");
    for (number, signal) in ["-USR1", "-USR2", "-HUP", "-PIPE", "-USR1", "-HUP"].iter().enumerate()
    {
        daemon.process.signal(signal);
        let id = format!("evt-{number}");
        assert_eq!(daemon.post(&block(&id, "alice")).status, 200, "{signal}");
    }
    wait_until("the lines", || daemon.log().contains("have no meaning here"));
    node.stop();
    daemon.process.signal("-INT");
    assert_eq!(daemon.process.exit_code(), Some(0));
    assert!(daemon.log().contains("daemon stopped"));
}

#[test]
fn a_signal_before_it_has_started_waits_until_it_has() {
    let daemon = Daemon::spawn("", tempfile::tempdir().unwrap());
    // As soon as there is a handler of it.
    let status = format!("/proc/{}/status", daemon.process.0.id());
    let catches_hangup = || {
        let text = std::fs::read_to_string(&status).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap() & 1 == 1
    };
    wait_until("a handler of SIGHUP", catches_hangup);
    daemon.process.signal("-HUP");
    daemon.wait_for_health();
    let sample = "portcullis_config_reloads_total{result=\"loaded\"}";
    wait_until("the configuration to be read", || daemon.metric(sample) == 1.0);
}

#[test]
fn a_log_that_nobody_reads_any_more_ends_nothing() {
    let daemon = Daemon::start("");
    let config = daemon.directory.path().join("portcullis.toml");
    let directory = tempfile::tempdir().unwrap();
    let port = crate::harness::free_port();
    let text = std::fs::read_to_string(&config).unwrap();
    let old = daemon.directory.path().display().to_string();
    let text = text.replace(&old, &directory.path().display().to_string());
    let text = text.replace(daemon.api.rsplit(':').next().unwrap(), &port.to_string());
    let config = crate::harness::file(directory.path(), "portcullis.toml", &text);
    let mut command = portcullis();
    command.args(["run", "--config"]).arg(config).stderr(Stdio::piped());
    let mut child = crate::harness::Process(command.spawn().unwrap());
    let api = format!("http://127.0.0.1:{port}");
    let bearer = format!("Bearer {OPERATOR}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let mut stderr = child.0.stderr.take().unwrap();
    let mut some = [0; 64];
    assert!(stderr.read(&mut some).unwrap() > 0);
    wait_until("it to listen", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    drop(stderr);
    let begun = Instant::now();
    for number in 0..20 {
        let event = block(&format!("evt-{number}"), "alice");
        let answer = crate::harness::request(&api, "POST", "/v1/invalidations", &headers, &event);
        assert_eq!(answer.status, 202);
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    child.signal("-TERM");
    assert_eq!(child.exit_code(), Some(0));
}
