//! Starts and stops the daemon, and waits for conditions.

use std::fs::Permissions;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use access::Token;
use model::time::UnixMicros;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::RequestBuilder;

pub(crate) const SECRET: &str = "a-secret-for-the-tests";
/// Tokens of a caller of each role.
pub(crate) const OPERATOR: &str = "pct_operator-token-for-the-tests-0123456789abcd";
pub(crate) const PUBLISHER: &str = "pct_publisher-token-for-the-tests-0123456789abc";
pub(crate) const AUDITOR: &str = "pct_auditor-token-for-the-tests-0123456789abcde";
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the condition holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port that nothing listens on. Below the range of outgoing connections, and never twice, so
/// that nobody takes it before it is used.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number =
            NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(std::process::id().wrapping_mul(97));
        let port = 10_000 + u16::try_from(number % 9_000).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A process that is killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Process {
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// The exit code, once it has ended by itself.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the process to end", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Daemon {
    pub(crate) process: Process,
    pub(crate) directory: TempDir,
    pub(crate) api: String,
    pub(crate) socket: PathBuf,
    /// What the requests of this harness are made with.
    pub(crate) agent: ureq::Agent,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) text: String,
    headers: ureq::http::HeaderMap,
}

impl Answer {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }
}

/// The command line, without what it would take from the environment.
pub(crate) fn portcullis() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
    for name in ["API", "TOKEN", "TOKEN_FILE", "CA_FILE", "CERT_FILE", "KEY_FILE"] {
        command.env_remove(format!("PORTCULLIS_{name}"));
    }
    command.stdin(Stdio::null());
    command
}

/// Lines of a configuration that let the callers of the tests in, to stand after all others.
pub(crate) fn tokens() -> String {
    [("operator", OPERATOR), ("publisher", PUBLISHER), ("auditor", AUDITOR)]
        .map(|(role, token)| {
            let hash = Token::parse(token).unwrap().digest();
            let name = format!("test-{role}");
            format!("\n[[api.tokens]]\nname = \"{name}\"\nrole = \"{role}\"\nhash = \"{hash}\"\n")
        })
        .concat()
}

impl Daemon {
    /// Lets its files grow to so many bytes only, or `unlimited`: "0" is a full disk.
    pub(crate) fn limit_files(&self, bytes: &str) {
        let pid = self.process.0.id().to_string();
        let fsize = format!("--fsize={bytes}:unlimited");
        let set = Command::new("prlimit").args(["--pid", &pid, &fsize]).status().unwrap();
        assert!(set.success(), "prlimit is needed");
    }

    /// With some more configuration after the usual one.
    pub(crate) fn start(more: &str) -> Self {
        let daemon = Self::spawn(more, tempfile::tempdir().unwrap());
        daemon.wait_for_health();
        daemon
    }

    pub(crate) fn wait_for_health(&self) {
        wait_until("the daemon to answer", || self.try_get("/healthz").is_some());
    }

    /// Ends it, and gives its directory for the next one.
    pub(crate) fn end(&mut self) -> TempDir {
        self.process.signal("-TERM");
        self.process.exit_code();
        std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap())
    }

    pub(crate) fn spawn(more: &str, directory: TempDir) -> Self {
        let port = free_port();
        let socket = directory.path().join("poll.sock");
        let config = directory.path().join("portcullis.toml");
        let text = format!(
            "poll.listen = \"unix:{}\"\npoll.secret = \"{SECRET}\"\n\
             api.listen = \"127.0.0.1:{port}\"\nstore.directory = \"{}\"\n{more}{}",
            socket.display(),
            directory.path().join("store").display(),
            tokens()
        );
        std::fs::write(&config, text).unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let child =
            portcullis().args(["run", "--config"]).arg(&config).stderr(log).spawn().unwrap();
        let api = format!("http://127.0.0.1:{port}");
        Self { process: Process(child), directory, api, socket, agent: agent() }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    fn try_get(&self, path: &str) -> Option<Answer> {
        self.try_get_as(Some(OPERATOR), path)
    }

    fn try_get_as(&self, token: Option<&str>, path: &str) -> Option<Answer> {
        answer(showing(token, self.agent.get(format!("{}{path}", self.api))).call())
    }

    /// With the token, or none.
    pub(crate) fn get_as(&self, token: Option<&str>, path: &str) -> Answer {
        self.try_get_as(token, path).expect("no answer")
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.try_get(path).expect("no answer")
    }

    pub(crate) fn post(&self, body: &str) -> Answer {
        self.post_as("application/json", body)
    }

    pub(crate) fn post_as(&self, content_type: &str, body: &str) -> Answer {
        self.try_post_as(content_type, body).expect("no answer")
    }

    /// Nothing if the daemon is gone.
    pub(crate) fn try_post_as(&self, content_type: &str, body: &str) -> Option<Answer> {
        let url = format!("{}/v1/invalidations", self.api);
        let request = showing(Some(OPERATOR), self.agent.post(url).content_type(content_type));
        answer(request.send(body))
    }

    pub(crate) fn status(&self) -> Value {
        self.get("/v1/status").json()
    }

    /// The value of a sample, as `/metrics` writes its name and labels.
    pub(crate) fn metric(&self, sample: &str) -> f64 {
        let text = self.get("/metrics").text;
        let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = portcullis();
        command.env("PORTCULLIS_API", &self.api).env("PORTCULLIS_TOKEN", OPERATOR);
        command.args(arguments).output().unwrap()
    }
}

/// Any request at all; only those with a body have the body.
pub(crate) fn request(
    api: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut request = ureq::http::Request::builder().method(method).uri(format!("{api}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let sent = match method {
        "POST" => agent().run(request.body(body.to_owned()).unwrap()),
        _ => agent().run(request.body(()).unwrap()),
    };
    answer(sent).expect("no answer")
}

/// A request that shows a token.
fn showing<B>(token: Option<&str>, request: RequestBuilder<B>) -> RequestBuilder<B> {
    match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}

pub(crate) fn answer(
    sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Option<Answer> {
    let mut response = sent.ok()?;
    let content_type = response.headers().get("content-type");
    let content_type = content_type.map_or("", |value| value.to_str().unwrap()).to_owned();
    let mut text = String::new();
    response.body_mut().as_reader().read_to_string(&mut text).ok()?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Some(Answer { status, content_type, text, headers })
}

/// Some seconds before the time at which every event of this run occurred. The order of those is
/// that of their ids.
pub(crate) fn occurred_at(seconds_before: u64) -> String {
    static START_S: LazyLock<u64> = LazyLock::new(|| {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    });
    UnixMicros((*START_S - seconds_before) * 1_000_000).to_string()
}

/// An event as a publisher writes it.
pub(crate) fn event(id: &str, user: &str, payload: Value) -> Value {
    json!({
        "event_id": id, "event_type": "test", "schema_version": "1.0",
        "occurred_at": occurred_at(0), "key": { "user_id": user }, "payload": payload,
    })
}

pub(crate) fn block(id: &str, user: &str) -> String {
    event(id, user, json!({ "action": "block", "reason": "fraud" })).to_string()
}

pub(crate) fn text(output: &[u8]) -> String {
    String::from_utf8(output.to_vec()).unwrap()
}

/// A Redis of the system's, in a directory of its own.
pub(crate) struct Redis {
    pub(crate) process: Process,
    pub(crate) port: u16,
    directory: TempDir,
}

impl Redis {
    pub(crate) fn start(port: u16, more: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), port, more)
    }

    /// Kills it; what it has left behind is for the next one.
    pub(crate) fn kill(mut self) -> (u16, TempDir) {
        self.process.signal("-KILL");
        self.process.exit_code();
        (self.port, self.directory)
    }

    pub(crate) fn start_in(directory: TempDir, port: u16, more: &[&str]) -> Self {
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--dir"])
            .arg(directory.path())
            .args(more)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is needed: apt-get install redis-server");
        Self { process: Process(child), port, directory }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection, once it answers.
    pub(crate) fn connect(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = None;
        wait_until("Redis to answer", || {
            connection = client.get_connection_with_timeout(PATIENCE).ok();
            connection.is_some()
        });
        connection.unwrap()
    }

    /// Publishes once somebody listens: to how many.
    pub(crate) fn publish(&self, message: &[u8]) -> u64 {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection_with_timeout(PATIENCE).unwrap();
        let mut publish = redis::cmd("PUBLISH");
        publish.arg("portcullis.invalidations").arg(message);
        publish.query(&mut connection).unwrap()
    }
}

/// Puts a file in place, as a whole, that only its owner can read, and gives its path.
pub(crate) fn private(directory: &Path, name: &str, content: &str) -> PathBuf {
    let draft = file(directory, &format!("{name}.draft"), content);
    std::fs::set_permissions(&draft, Permissions::from_mode(0o600)).unwrap();
    let path = directory.join(name);
    std::fs::rename(draft, &path).unwrap();
    path
}

/// Writes a file and gives its path.
pub(crate) fn file(directory: &Path, name: &str, content: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path
}
