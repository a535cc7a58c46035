//! Files of the audit log that were torn, changed, full or written by a version before.

use super::*;

#[test]
fn what_was_answered_survives_a_kill_and_a_torn_line_is_said_so() {
    let mut daemon = Daemon::start(ALWAYS);
    let api = daemon.api.clone();
    let answered = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut answered = Vec::new();
            for number in 0..1_000 {
                let id = format!("evt-{number}");
                let event = block(&id, &format!("user-{number}"));
                if daemon.try_post_as("application/json", &event).is_none() {
                    break;
                }
                answered.push(id);
            }
            answered
        });
        wait_until("some events", || {
            content(&directory(&daemon)).matches("\"event\"").count() > 20
        });
        daemon.process.signal("-KILL");
        publisher.join().unwrap()
    });
    assert!(answered.len() > 10, "{api}");
    daemon.process.0.wait().unwrap();
    let text = content(&directory(&daemon));
    for id in &answered {
        assert!(text.contains(&format!("\"event_id\":\"{id}\"")), "{id} was answered");
    }
    let last = files(&directory(&daemon)).pop().unwrap();
    let whole = fs::read_to_string(&last).unwrap();
    let whole = &whole[..=whole.rfind('\n').unwrap()];
    fs::write(&last, format!("{whole}{{\"seq\":99999,\"time\":")).unwrap();
    let kept = std::mem::replace(&mut daemon.directory, tempfile::tempdir().unwrap());
    let next = Daemon::spawn(ALWAYS, kept);
    next.wait_for_health();
    wait_until("the torn line", || of_kind(&next, "torn").len() == 1);
    assert_intact(&next);
    assert_eq!(of_kind(&next, "start").len(), 2);
}

#[test]
fn a_changed_line_and_another_key_are_found_and_named() {
    let mut daemon = Daemon::start(ALWAYS);
    daemon.post(&block("evt-1", "alice"));
    let head = daemon.status()["audit"]["head"].as_str().unwrap().to_owned();
    let directory = daemon.end();
    let daemon = Daemon { directory, ..daemon };
    assert_intact(&daemon);
    assert_eq!(verify(&daemon, &["--expect-head", &head]).status.code(), Some(0));
    let other = head.replace(':', ":0").chars().take(head.len()).collect::<String>();
    assert_eq!(verify(&daemon, &["--expect-head", &other]).status.code(), Some(1));
    assert_eq!(verify(&daemon, &["--expect-head", "1:x"]).status.code(), Some(64));
    let file = files(&self::directory(&daemon)).remove(0);
    let text_before = fs::read_to_string(&file).unwrap();
    let line = text_before.lines().position(|line| line.contains("evt-1")).unwrap() + 1;
    fs::write(&file, text_before.replace("\"applied\"", "\"refused\"")).unwrap();
    let found = verify(&daemon, &[]);
    assert_eq!(found.status.code(), Some(1));
    let name = file.file_name().unwrap().to_str().unwrap();
    let expected = format!("{name}:{line}: seq {line}: changed: ");
    assert!(text(&found.stdout).starts_with(&expected), "{}", text(&found.stdout));
    fs::write(&file, text_before).unwrap();
    let place = self::directory(&daemon);
    let key = private(daemon.directory.path(), "key", "another-key-of-the-log\n");
    let verified = portcullis()
        .args(["audit", "verify", "--directory"])
        .arg(&place)
        .arg("--key-file")
        .arg(key)
        .output()
        .unwrap();
    assert_eq!(verified.status.code(), Some(1));
    assert!(text(&verified.stdout).contains("sealed with hmac-sha256:"));
    let nowhere = portcullis().args(["audit", "verify", "--directory", "/nowhere"]).output();
    assert_eq!(nowhere.unwrap().status.code(), Some(64));
    // The daemon does not go on with another key.
    let restarted = Daemon::spawn("audit.key = \"another-key-of-the-log\"\n", daemon.directory);
    let mut restarted = restarted;
    assert_eq!(restarted.process.exit_code(), Some(64));
    assert!(restarted.log().contains("audit.key: "), "{}", restarted.log());
}

#[test]
fn the_verifier_of_the_documentation_agrees() {
    let mut daemon = Daemon::start(ALWAYS);
    for number in 0..20 {
        daemon.post(&block(&format!("evt-{number}"), "alice"));
    }
    let kept = daemon.end();
    let directory = kept.path().join("store/audit");
    let documentation = include_str!("../../../../docs/reference/audit-log.md");
    let code = documentation.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let run = |key: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", code]).arg(&directory).arg(key).output().unwrap()
    };
    let intact = run("a-key-of-the-audit-log");
    assert!(text(&intact.stdout).starts_with("intact up to "), "{}", text(&intact.stderr));
    assert_eq!(run("another-key").status.code(), Some(1));
    let file = files(&directory).remove(0);
    let removed: Vec<_> = fs::read_to_string(&file).unwrap().lines().map(str::to_owned).collect();
    let without = removed.iter().enumerate().filter(|(index, _)| *index != 3);
    let without: String = without.map(|(_, line)| format!("{line}\n")).collect();
    fs::write(&file, without).unwrap();
    let found = run("a-key-of-the-audit-log");
    assert!(text(&found.stderr).contains(":4: not what was written"), "{}", text(&found.stderr));
}

#[test]
fn a_full_disk_is_an_alarm_and_what_waited_is_written_when_there_is_room() {
    let daemon = Daemon::start(&format!("api.ack_timeout = \"100ms\"\n{ALWAYS}"));
    daemon.post(&block("evt-1", "alice"));
    daemon.limit_files("0");
    assert_eq!(daemon.post(&block("evt-2", "bob")).status, 202);
    wait_until("the alarm", || daemon.status()["audit"]["failing"].is_string());
    assert_eq!(daemon.post(&block("evt-3", "carol")).status, 202);
    assert!(daemon.get("/readyz").text.contains("audit: "));
    assert_eq!(daemon.metric("portcullis_audit_failing"), 1.0);
    assert!(text(&daemon.cli(&["status"]).stdout).contains("NOT WRITABLE"));
    assert!(of_kind(&daemon, "event").len() < 3);
    daemon.limit_files("unlimited");
    wait_until("recovery", || daemon.status()["audit"]["failing"].is_null());
    wait_until("what has waited", || of_kind(&daemon, "event").len() == 3);
    assert_eq!(daemon.metric("portcullis_audit_lost_total"), 0.0);
    assert_intact(&daemon);
}

// --- what was ordered ---------------------------------------------------------------------------

/// A log and its pseudonyms that a daemon before this format has written.
fn of_format_1() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let made = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/audit-format-1");
    let copied = Command::new("cp").args(["-r", made]).arg(directory.path().join("store")).status();
    assert!(copied.unwrap().success());
    directory
}

const OF_FORMAT_1: &str = "a-key-of-the-audit-log";

#[test]
fn a_log_of_the_format_before_is_whole_and_its_calls_are_found() {
    let directory = of_format_1();
    let place = directory.path().join("store/audit");
    let key = private(directory.path(), "key", OF_FORMAT_1);
    let run = |arguments: &[&std::ffi::OsStr]| {
        portcullis().arg("audit").args(arguments).arg("--directory").arg(&place).output().unwrap()
    };
    let verified = run(&["verify".as_ref(), "--key-file".as_ref(), key.as_os_str()]);
    assert!(text(&verified.stdout).starts_with("intact: 10 lines"), "{}", text(&verified.stdout));
    let store = directory.path().join("store");
    let arguments = ["show", "--json", "--user", "alice-4711", "--store"];
    let arguments: Vec<_> = arguments
        .iter()
        .map(|text| std::ffi::OsStr::new(*text))
        .chain([store.as_os_str()])
        .collect();
    let shown = run(&arguments);
    let lines = text(&shown.stdout);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<_> = lines.iter().map(|line| line["seq"].as_u64().unwrap()).collect();
    // Both events about her, the calls that brought them, and the one that looked.
    assert_eq!(numbers, [3, 4, 7, 8, 9]);
}

#[test]
fn a_daemon_goes_on_with_a_log_of_the_format_before_in_a_new_file() {
    let kept = of_format_1();
    // The store of that daemon is not there: only its audit log goes on.
    let (from, to) = (kept.path().join("store/audit"), kept.path().join("audit"));
    fs::rename(from, &to).unwrap();
    fs::remove_dir_all(kept.path().join("store")).unwrap();
    let more = format!("{ALWAYS}audit.directory = \"{}\"\nstore.witness = false\n", to.display());
    let daemon = Daemon::spawn(&more, kept);
    daemon.wait_for_health();
    daemon.post(&block("evt-new", "carol"));
    assert_intact(&daemon);
    let files = files(&to);
    assert_eq!(files.len(), 2);
    let first: Value =
        serde_json::from_str(fs::read_to_string(&files[1]).unwrap().lines().next().unwrap())
            .unwrap();
    assert_eq!((&first["format"], &first["cause"]), (&json!(3), &json!("format")));
    assert_eq!(first["after"], "audit-000000000001.jsonl");
    // Once only.
    let mut daemon = daemon;
    let kept = daemon.end();
    let more = format!("{ALWAYS}audit.directory = \"{}\"\n", kept.path().join("audit").display());
    let daemon = Daemon::spawn(&more, kept);
    daemon.wait_for_health();
    assert_eq!(self::files(&daemon.directory.path().join("audit")).len(), 2);
    assert_intact(&daemon);
}
