//! Who may do what, for every route that there is: tokens, roles, rates.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Output;

use access::{Needs, Permission, Role};
use invalidator::server::api::{self, Route};
use invalidator::source;

use crate::harness::{
    AUDITOR, Answer, Daemon, OPERATOR, PUBLISHER, block, file, portcullis, private, request, text,
    tokens, wait_until,
};
use crate::node::Running;

const STRANGER: &str = "pct_stranger-token-for-the-tests-0123456789abcd";

/// Every route there is.
fn routes() -> Vec<&'static Route> {
    let of_sources: Vec<_> = source::routes().collect();
    api::routes(&of_sources).collect()
}

fn token(role: Role) -> &'static str {
    match role {
        Role::Operator => OPERATOR,
        Role::Publisher => PUBLISHER,
        Role::Auditor => AUDITOR,
    }
}

/// A request with whatever header, to any route; also the headers of its answer.
fn ask(daemon: &Daemon, method: &str, path: &str, authorization: Option<&str>) -> Answer {
    let header = authorization.map(|value| ("authorization", value));
    request(&daemon.api, method, path, header.as_slice(), "{}")
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn every_route_is_for_those_that_the_table_names() {
    let daemon = Daemon::start("");
    for route in routes() {
        let path = route.path.replace("{id}", "somebody");
        let method = route.method.as_str();
        for role in Role::ALL {
            let answer = ask(&daemon, method, &path, Some(&bearer(token(role))));
            let allowed = route.needs.allow(role);
            assert_eq!(answer.status != 403, allowed, "{method} {path} {role}");
            assert!(![401, 405, 429].contains(&answer.status), "{method} {path} {role}");
            if let (Needs::Permission(permission), false) = (route.needs, allowed) {
                let problem = answer.json();
                assert_eq!(problem["type"], "urn:portcullis:problem:forbidden");
                let rule = format!("is {role}, and must be {}", permission.roles_in_words());
                assert_eq!(problem["rule"], rule.as_str());
            }
        }
        for wrong in [None, Some(bearer(STRANGER)), Some("Basic b3A6cHc=".to_owned())] {
            let answer = ask(&daemon, method, &path, wrong.as_deref());
            if route.needs == Needs::Nothing {
                assert_eq!(answer.status, 200, "{path}: whatever is shown does not matter");
                continue;
            }
            assert_eq!(answer.status, 401, "{method} {path} {wrong:?}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
            assert_eq!(answer.header("connection"), "close");
            assert_eq!(answer.json()["type"], "urn:portcullis:problem:unauthenticated");
        }
    }
    let open = routes().into_iter().filter(|route| route.needs == Needs::Nothing);
    assert_eq!(open.map(|route| route.path).collect::<Vec<_>>(), ["/healthz", "/readyz"]);
}

/// A browser with a client certificate would send text for any page that asks it to.
#[test]
fn nothing_is_done_for_a_body_that_any_web_page_could_send() {
    let daemon = Daemon::start("");
    let bearer = bearer(OPERATOR);
    for route in routes().into_iter().filter(|route| route.method == "POST") {
        for form in [Some("text/plain"), Some("application/x-www-form-urlencoded"), None] {
            let form = form.map(|form| ("content-type", form));
            let headers: Vec<_> = form.into_iter().chain([("authorization", &*bearer)]).collect();
            let answer = request(&daemon.api, "POST", route.path, &headers, "{}");
            assert_eq!(answer.status, 415, "{} {form:?}", route.path);
        }
    }
}

#[test]
fn the_document_has_every_route_with_its_roles() {
    let path = format!("{}/../docs/reference/api.md", env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(path).unwrap();
    for route in routes() {
        let name = format!("`{} {}`", route.method, route.path);
        let row = document.lines().find(|line| line.starts_with('|') && line.contains(&name));
        let roles: Vec<_> = Role::ALL.into_iter().filter(|role| route.needs.allow(*role)).collect();
        let roles = match route.needs {
            Needs::Nothing => "anybody".to_owned(),
            _ => roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", "),
        };
        let end = row.unwrap_or_else(|| panic!("no row for {name}")).rsplit(" | ").next().unwrap();
        assert!(end.trim_end_matches(" |").split("; ").next() == Some(&*roles), "{name}: {end}");
    }
}

#[test]
fn who_is_not_known_learns_not_even_what_there_is() {
    let daemon = Daemon::start("");
    for (method, path, known) in
        [("GET", "/nothing", 404), ("GET", "/", 404), ("DELETE", "/v1/status", 405)]
    {
        assert_eq!(ask(&daemon, method, path, None).status, 401, "{method} {path}");
        let answer = ask(&daemon, method, path, Some(&bearer(AUDITOR)));
        assert_eq!(answer.status, known, "{method} {path}");
    }
}

#[test]
fn who_is_refused_gets_the_answer_also_if_the_body_comes_late() {
    let daemon = Daemon::start("");
    let address = daemon.api.strip_prefix("http://").unwrap();
    for (token, status) in [(STRANGER, "401"), (AUDITOR, "403")] {
        let mut stream = TcpStream::connect(address).unwrap();
        let head = "POST /v1/invalidations HTTP/1.1\r\nhost: localhost\r\nconnection: close";
        let head = format!("{head}\r\nauthorization: Bearer {token}\r\ncontent-length: 9000");
        stream.write_all(format!("{head}\r\n\r\n{{").as_bytes()).unwrap();
        // By then the daemon has long seen whom it refuses.
        assert_eq!(daemon.get("/v1/status").status, 200);
        stream.write_all(&[b' '; 8_999]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}

#[test]
fn metrics_are_public_only_if_configured() {
    let daemon = Daemon::start("api.metrics_public = true\n");
    let scraped = ask(&daemon, "GET", "/metrics", None);
    assert_eq!(scraped.status, 200);
    assert!(scraped.text.contains("portcullis_api_auth_failures_total{cause=\"missing\"} 0"));
    assert_eq!(ask(&daemon, "GET", "/v1/status", None).status, 401);
}

#[test]
fn an_expired_token_is_told_so() {
    let expired = "pct_expired-token-for-the-tests-0123456789abcde";
    let hash = access::Token::parse(expired).unwrap().digest();
    let daemon = Daemon::start(&format!(
        "[[api.tokens]]\nname = \"old\"\nrole = \"operator\"\nhash = \"{hash}\"\n\
         not_after = \"2026-01-01T00:00:00Z\"\n"
    ));
    let answer = ask(&daemon, "GET", "/v1/status", Some(&bearer(expired)));
    assert_eq!(answer.status, 401);
    assert_eq!(answer.json()["rule"], "must be a valid token: this one has expired");
    assert_eq!(daemon.metric("portcullis_api_auth_failures_total{cause=\"expired\"}"), 1.0);
    assert!(!daemon.log().contains(expired) && !daemon.log().contains(&hash.to_string()));
}

#[test]
fn failed_attempts_are_throttled_together_and_nobody_else_is() {
    let daemon = Daemon::start("");
    let guess = || ask(&daemon, "GET", "/v1/status", Some(&bearer(STRANGER)));
    let mut last = guess();
    wait_until("the throttle", || {
        assert!([401, 429].contains(&last.status));
        last = guess();
        last.status == 429
    });
    assert_eq!(last.header("retry-after"), "1");
    assert_eq!(last.header("connection"), "close");
    assert_eq!(daemon.get("/v1/status").status, 200, "who is known is not held up");
    let failures = daemon.metric("portcullis_api_auth_failures_total{cause=\"unknown\"}");
    assert!(failures > 100.0, "{failures}");
    let log = daemon.log();
    assert!(log.matches("nobody knows who calls the API").count() < 110, "{log}");
    assert!(!log.contains(STRANGER) && !log.contains(OPERATOR), "{log}");
}

#[test]
fn a_caller_has_a_rate_and_its_reads_do_not_use_up_its_publishing() {
    let slow = "pct_slow-token-for-the-tests-0123456789abcdefgh";
    let hash = access::Token::parse(slow).unwrap().digest();
    let daemon = Daemon::start(&format!(
        "[[api.tokens]]\nname = \"slow\"\nrole = \"publisher\"\nhash = \"{hash}\"\n\
         rate = {{ max_tokens = 3, tokens_per_fill = 1, fill_interval = \"1h\" }}\n"
    ));
    let statuses = |method, path| {
        let ask = |_| ask(&daemon, method, path, Some(&bearer(slow)));
        (0..4).map(ask).map(|answer| answer.status).collect::<Vec<_>>()
    };
    assert_eq!(statuses("GET", "/v1/status"), [200, 200, 200, 429]);
    assert_eq!(statuses("GET", "/v1/users/alice"), [429; 4], "also what it may not");
    assert_eq!(statuses("POST", "/v1/invalidations"), [415, 415, 415, 429]);
    let limited = ask(&daemon, "GET", "/v1/status", Some(&bearer(slow)));
    assert_eq!(limited.header("retry-after").parse::<u32>().unwrap().div_ceil(3600), 1);
    assert_eq!(limited.json()["type"], "urn:portcullis:problem:too_many_requests");
    assert_eq!(daemon.get("/v1/status").status, 200, "others have rates of their own");
    assert_eq!(daemon.metric("portcullis_api_rate_limited_total{lane=\"publishing\"}"), 1.0);
    assert_eq!(ask(&daemon, "GET", "/healthz", Some(&bearer(slow))).status, 200);
}

#[test]
fn without_anybody_who_may_call_the_daemon_does_not_start() {
    let directory = tempfile::tempdir().unwrap();
    let config = "[poll]\nlisten = \"127.0.0.1:1\"\nsecret = \"0123456789abcdef\"\n\
                  [store]\ndirectory = \"/x\"\n";
    let path = file(directory.path(), "closed.toml", config);
    let output = portcullis().args(["run", "--config"]).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("api.tokens: somebody has to be let in: \"portcullis token new"));
    let good = file(directory.path(), "open.toml", &(config.to_owned() + &tokens()));
    let output = portcullis().args(["run", "--check", "--config"]).arg(&good).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_new_token_works_with_the_lines_that_are_printed_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    let mut new = portcullis();
    new.args(["token", "new", "--name", "risk", "--role", "publisher", "--out"]).arg(&path);
    let output = new.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let token = std::fs::read_to_string(&path).unwrap();
    let lines = text(&output.stdout);
    assert!(!lines.contains(token.trim()), "{lines}");
    let daemon = Daemon::start(&lines);
    assert_eq!(daemon.get_as(Some(token.trim()), "/v1/status").status, 200);
    assert_eq!(daemon.get_as(Some(token.trim()), "/v1/users/x").status, 403);
    let again = new.output().unwrap();
    assert_eq!(again.status.code(), Some(64), "an existing file is not overwritten");

    let mut shown = portcullis();
    shown.args(["token", "new", "--name", "risk", "--role", "publisher"]);
    let output =
        text(&shown.args(["--not-after", "2027-01-01T00:00:00Z"]).output().unwrap().stdout);
    assert!(output.starts_with("pct_"), "{output}");
    assert!(output.ends_with("not_after = \"2027-01-01T00:00:00Z\"\n"), "{output}");
}

fn cli(daemon: &Daemon, token: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = portcullis();
    command.env("PORTCULLIS_API", &daemon.api).envs(token.iter().copied());
    command.args(arguments).output().unwrap()
}

#[test]
fn the_command_line_shows_the_token_it_is_given_and_says_what_is_wrong() {
    let daemon = Daemon::start("");
    let _node = Running::start(&daemon, "edge-1", "a");
    let directory = tempfile::tempdir().unwrap();
    let publisher = private(directory.path(), "publisher", &format!("{PUBLISHER}\n"));
    let publisher = publisher.to_str().unwrap();
    let flag: &[&str] = &["block", "alice", "--token-file", publisher];
    assert!(cli(&daemon, &[("PORTCULLIS_TOKEN", AUDITOR)], flag).status.success(), "the file wins");
    let env = [("PORTCULLIS_TOKEN_FILE", publisher)];
    assert!(cli(&daemon, &env, &["unblock", "alice"]).status.success());

    let cases = [
        (&[][..], 77, "the daemon does not know you: authorization: must be a bearer token"),
        (&[("PORTCULLIS_TOKEN", STRANGER)], 77, "must be a token that the daemon knows; check the"),
        (
            &[("PORTCULLIS_TOKEN", AUDITOR)],
            77,
            "not allowed: role: is auditor, and must be publish",
        ),
        (&[("PORTCULLIS_TOKEN", "hunter2")], 64, "PORTCULLIS_TOKEN: must be a token as"),
        (&[("PORTCULLIS_TOKEN_FILE", "/nowhere")], 64, "--token-file: cannot read /nowhere"),
    ];
    for (token, code, message) in cases {
        let output = cli(&daemon, token, &["block", "alice"]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(message) && !stderr.contains("hunter2"), "{stderr}");
    }
}

#[test]
fn nothing_that_is_shown_or_logged_holds_a_token_or_a_hash() {
    let daemon = Daemon::start("[log]\nlevel = \"trace\"\n");
    let _node = Running::start(&daemon, "edge-1", "a");
    daemon.post(&block("evt-1", "alice"));
    let mut shown = daemon.log();
    for route in routes().into_iter().filter(|route| route.method == "GET") {
        shown += &daemon.get(&route.path.replace("{id}", "alice")).text;
    }
    shown += &daemon.log();
    assert!(Permission::ALL.len() > 1 && !shown.contains("pct_") && !shown.contains("sha256:"));
}
