//! `run --check`: whatever would keep the daemon from starting is found without starting it, and
//! nothing is changed by looking.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Output;

use crate::harness::{Daemon, SECRET, file, free_port, portcullis, private, text, tokens};

/// Somebody who owns nothing, to run as if we are root.
const NOBODY: u32 = 65_534;

/// A configuration that is right, and what to put in the place of parts of it.
struct Written {
    directory: tempfile::TempDir,
    poll: String,
    api: String,
    store: String,
    more: String,
}

impl Written {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        Self {
            poll: format!("unix:{}", path("poll.sock")),
            api: format!("127.0.0.1:{}", free_port()),
            store: path("store"),
            more: String::new(),
            directory,
        }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn write(&self) -> std::path::PathBuf {
        let Self { poll, api, store, more, .. } = self;
        let text = format!(
            "poll.listen = \"{poll}\"\npoll.secret = \"{SECRET}\"\napi.listen = \"{api}\"\n\
             store.directory = \"{store}\"\n{more}\n{}",
            tokens()
        );
        file(self.directory.path(), "portcullis.toml", &text)
    }

    fn check(&self, more: &[&str]) -> Output {
        let mut command = portcullis();
        command.args(["run", "--check", "--config"]).arg(self.write()).args(more).output().unwrap()
    }

    /// What is found, without the name of the program.
    fn mistakes(&self) -> Vec<String> {
        let output = self.check(&[]);
        let lines = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{lines}");
        assert!(output.stdout.is_empty());
        lines.lines().map(|line| line.strip_prefix("portcullis: ").unwrap().to_owned()).collect()
    }

    fn assert_only(&self, beginning: &str) {
        let mistakes = self.mistakes();
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
        assert!(mistakes[0].starts_with(beginning), "{mistakes:?}");
        // And it is so: the daemon does not start.
        let mut command = portcullis();
        let output = command.args(["run", "--config"]).arg(self.write()).output().unwrap();
        assert_ne!(output.status.code(), Some(0), "{}", text(&output.stderr));
    }

    fn assert_valid(&self) {
        let output = self.check(&[]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(text(&output.stdout).ends_with("the configuration is valid\n"));
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_good_configuration_is_valid_and_nothing_is_made() {
    let written = Written::new();
    written.assert_valid();
    assert_eq!(names(written.directory.path()), ["portcullis.toml"]);
    // A directory that is there and empty, and a socket that nobody listens on any more.
    fs::create_dir(&written.store).unwrap();
    drop(UnixListener::bind(written.path("poll.sock")).unwrap());
    written.assert_valid();
    assert!(names(Path::new(&written.store)).is_empty());
    assert!(Path::new(&written.path("poll.sock")).exists());
}

#[test]
fn all_mistakes_are_listed_each_with_its_field() {
    let mut written = Written::new();
    written.poll = "unix:/nowhere/poll.sock".to_owned();
    fs::write(written.path("file"), "").unwrap();
    written.store = written.path("file");
    let below = written.path("file/audit");
    written.more = format!(
        "keys.file = \"/nowhere/keys.toml\"\nevents.keys_file = \"/nowhere/e.toml\"\n\
         audit.directory = \"{below}\"\n\
         api.tls = {{ cert_file = \"/nowhere/a.pem\", key_file = \"/nowhere/a.key\" }}\n"
    );
    let taken = TcpListener::bind(&written.api).unwrap();
    let mistakes = written.mistakes();
    let fields: Vec<_> = mistakes.iter().map(|line| line.split(": ").next().unwrap()).collect();
    let expected = [
        "keys.file",
        "events.keys_file",
        "api.tls.cert_file",
        "store.directory",
        "audit.directory",
        "poll.listen",
        "api.listen",
    ];
    assert_eq!(fields, expected, "{mistakes:?}");
    drop(taken);
    // And those that are seen in the text alone, one of each section.
    written.more = "log.level = \"loud\"\nlimits.nodes_max = 0\npoll.hold = \"9s\"\n\
                    audit.fsync = \"often\"\nsources.redis.url = \"amqp://x\"\n"
        .to_owned();
    let mistakes = written.mistakes();
    let fields: Vec<_> = mistakes.iter().map(|line| line.split(": ").next().unwrap()).collect();
    let expected =
        ["sources.redis.url", "audit.fsync", "poll.hold", "limits.nodes_max", "log.level"];
    assert_eq!(fields, expected, "{mistakes:?}");
}

#[test]
fn a_socket_that_cannot_be_made_is_found() {
    let mut written = Written::new();
    written.poll = format!("unix:{}", written.path("none/poll.sock"));
    written.assert_only("poll.listen: the directory of ");
    fs::write(written.path("none"), "").unwrap();
    written.assert_only(&format!("poll.listen: {} is not a directory", written.path("none")));
    written.poll = format!("unix:{}", written.path("none"));
    written.assert_only(&format!("poll.listen: {} is there, and is not", written.path("none")));
    let long = written.path(&"x".repeat(108));
    written.poll = format!("unix:{long}");
    written.assert_only("poll.listen: must name an absolute path of at most 107 bytes");
    written.poll = format!("unix:{}", written.path("used.sock"));
    let used = UnixListener::bind(written.path("used.sock")).unwrap();
    written.assert_only(&format!("poll.listen: {} is in use", written.path("used.sock")));
    drop(used);
    written.assert_valid();
    // The daemon makes this directory before the socket.
    written.poll = format!("unix:{}/poll.sock", written.store);
    written.assert_valid();
}

#[test]
fn addresses_that_are_taken_or_not_ours_are_found() {
    let mut written = Written::new();
    let taken = TcpListener::bind(&written.api).unwrap();
    written.assert_only(&format!("api.listen: cannot listen on {}: Address", written.api));
    drop(taken);
    written.poll = written.api.clone();
    let mistakes = written.mistakes();
    let rule = "must be another address than api.listen";
    assert!(mistakes[0].starts_with(&format!("poll.listen: {rule}")), "{mistakes:?}");
    written.poll = "203.0.113.7:7701".to_owned();
    written.assert_only("poll.listen: cannot listen on 203.0.113.7:7701: Cannot assign");
}

#[test]
fn directories_that_cannot_be_used_are_found() {
    let mut written = Written::new();
    fs::write(written.path("file"), "").unwrap();
    written.store = written.path("file/store");
    let mistakes = written.mistakes();
    assert!(mistakes[0].starts_with(&format!("store.directory: {} cannot", written.store)));
    written.store = written.path("link");
    symlink(written.path("nothing"), &written.store).unwrap();
    written.more = format!("audit.directory = \"{}\"\n", written.path("audit"));
    written.assert_only(&format!("store.directory: {} is a link", written.store));
    fs::remove_file(&written.store).unwrap();
    fs::create_dir_all(Path::new(&written.store).join("state.redb")).unwrap();
    written.assert_only(&format!("store.directory: {}/state.redb is not a file", written.store));
    // Used before, and the store is gone.
    fs::remove_dir(Path::new(&written.store).join("state.redb")).unwrap();
    fs::write(Path::new(&written.store).join("pseudonyms.redb"), "").unwrap();
    written.assert_only(&format!("store.directory: {}/state.redb: missing", written.store));
    // The directory is gone, or empty, and what stands beside it says that there was one.
    fs::remove_dir_all(&written.store).unwrap();
    fs::write(format!("{}.witness", written.store), "").unwrap();
    written.assert_only(&format!("store.directory: {}/state.redb: missing", written.store));
    fs::create_dir_all(&written.store).unwrap();
    written.assert_only(&format!("store.directory: {}/state.redb: missing", written.store));
    written.more = "store.witness = false".to_owned();
    written.assert_valid();
}

#[test]
fn what_others_own_is_found_by_who_runs_it() {
    let written = Written::new();
    let root =
        fs::metadata(written.directory.path()).map(|m| std::os::unix::fs::MetadataExt::uid(&m));
    // Nobody else can be run as without being root.
    if root.unwrap() != 0 {
        return;
    }
    fs::create_dir(&written.store).unwrap();
    fs::set_permissions(&written.store, Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(written.directory.path(), Permissions::from_mode(0o755)).unwrap();
    let config = written.write();
    let mut command = portcullis();
    let output =
        command.args(["run", "--check", "--config"]).arg(config).uid(NOBODY).output().unwrap();
    let lines = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{lines}");
    let fields: Vec<_> = lines.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(fields, ["store.directory", "audit.directory", "poll.listen"], "{lines}");
}

#[test]
fn an_audit_log_of_another_key_is_found() {
    let mut written = Written::new();
    let made = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/audit-format-1/audit");
    // A log elsewhere says that there was a store, too, unless nothing is to.
    let log = |key: &str| format!("audit.directory = \"{made}\"\naudit.key = \"{key}\"\n");
    written.more = log("a-key-of-the-audit-log");
    written.assert_only(&format!("store.directory: {}/state.redb: missing, though", written.store));
    let log = |key: &str| format!("{}store.witness = false\n", log(key));
    written.more = log("another-key-of-the-log");
    let mistakes = written.mistakes();
    assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    assert!(mistakes[0].starts_with("audit.key: audit-000000000001.jsonl is sealed with"));
    written.more = log("a-key-of-the-audit-log");
    written.assert_valid();
}

#[test]
fn files_of_keys_that_others_may_read_are_found() {
    let mut written = Written::new();
    let path = private(written.directory.path(), "keys.toml", "# none\n");
    written.more = format!("keys.file = \"{}\"\n", path.display());
    written.assert_valid();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    written.assert_only("keys.file: ");
    // A pipe would be waited for.
    let pipe = written.path("pipe");
    assert!(
        std::process::Command::new("mkfifo").args(["-m", "600", &pipe]).status().unwrap().success()
    );
    written.more = format!("keys.file = \"{pipe}\"\n");
    written.assert_only(&format!("keys.file: {pipe} is not a file"));
}

#[test]
fn certificates_for_redis_that_are_none_are_found() {
    let mut written = Written::new();
    let path = file(written.directory.path(), "ca.pem", "-----BEGIN CERTIFICATE-----\nx\n");
    written.more = format!(
        "[sources.redis]\nurl = \"rediss://127.0.0.1:1\"\ntls_ca_file = \"{}\"\n",
        path.display()
    );
    written.assert_only("sources.redis.tls_ca_file: must hold certificates");
}

#[test]
fn beside_a_daemon_that_runs_what_it_has_counts_unless_it_is_to_be_restarted() {
    let daemon = Daemon::start("");
    let config = daemon.directory.path().join("portcullis.toml");
    let check = |more: &[&str]| {
        let mut command = portcullis();
        command.args(["run", "--check", "--config"]).arg(&config).args(more).output().unwrap()
    };
    let output = check(&[]);
    let lines = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{lines}");
    let fields: Vec<_> = lines.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(fields, ["store.directory", "audit.directory", "poll.listen", "api.listen"]);
    let pid = daemon.process.0.id();
    assert!(lines.contains(&format!("in use by the process {pid}")), "{lines}");
    let output = check(&["--while-running"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(daemon.get("/healthz").status, 200, "it is as it was");
    assert_eq!(daemon.get("/readyz").status, 200);
}
