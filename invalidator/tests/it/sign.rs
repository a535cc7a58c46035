//! `portcullis sign` and `verify`: what is signed is accepted, and what is not is explained.

use std::path::Path;
use std::process::Output;

use serde_json::Value;
use signing::Profile;
use tempfile::TempDir;

use crate::harness::{file, portcullis, private, text};

const SECRET: &str = "whsec_cG9ydGN1bGxpcyBkb2N1bWVudGF0aW9uIGtleSAx";
const OTHER: &str = "whsec_YW5vdGhlciBzZWNyZXQgb2YgYW5vdGhlciBwYXJ0bmVy";
const BODY: &str = "{\"order\":7}";
const NOW: u64 = 1_795_348_800;

/// A directory with secrets and keys.
fn scene() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    private(directory.path(), "secret", SECRET);
    private(directory.path(), "other", OTHER);
    file(directory.path(), "body", BODY);
    let key = |id: &str, partner: &str, secret: &str, more: &str| {
        format!("[[keys]]\nid = \"{id}\"\npartner = \"{partner}\"\nsecret = \"{secret}\"\n{more}\n")
    };
    let keys = [
        key("k1", "acme", SECRET, "integrations = [\"payments\"]"),
        key("old", "acme", SECRET, "not_after = \"2026-11-01T00:00:00Z\""),
        key("next", "acme", SECRET, "not_before = \"2027-01-01T00:00:00Z\""),
    ];
    private(directory.path(), "keys.toml", &keys.concat());
    directory
}

fn portcullis_in(directory: &Path, arguments: &[&str]) -> Output {
    portcullis().current_dir(directory).args(arguments).output().unwrap()
}

/// A request as `sign` makes it, as it goes over the wire.
fn signed(directory: &Path, profile: &str, more: &[&str]) -> String {
    let mut arguments = vec!["sign", "--profile", profile, "--url", "https://x.example/a?b=c"];
    arguments.extend(["--json", "--body-file", "body"]);
    let at = NOW.to_string();
    for (name, default) in
        [("--key-id", "k1"), ("--secret-file", "secret"), ("--timestamp", at.as_str())]
    {
        if !more.contains(&name) {
            arguments.extend([name, default]);
        }
    }
    arguments.extend(more);
    let output = portcullis_in(directory, &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    let headers = printed["headers"].as_object().unwrap().iter();
    let headers: String =
        headers.map(|(name, value)| format!("{name}: {}\r\n", value.as_str().unwrap())).collect();
    let length = BODY.len();
    format!(
        "POST /a?b=c HTTP/1.1\r\nhost: x.example\r\ncontent-length: {length}\r\n{headers}\r\n{BODY}"
    )
}

/// Whether a request is accepted, and the explanation.
fn verified(directory: &Path, profile: &str, request: &str, more: &[&str]) -> (bool, String) {
    file(directory, "request", request);
    let at = NOW.to_string();
    let mut arguments = vec!["verify", "--profile", profile, "--request-file", "request"];
    arguments.extend(["--keys-file", "keys.toml"]);
    if !more.contains(&"--at") {
        arguments.extend(["--at", at.as_str()]);
    }
    arguments.extend(more);
    let output = portcullis_in(directory, &arguments);
    assert_eq!(text(&output.stderr), "");
    let code = output.status.code();
    assert!(matches!(code, Some(0 | 1)), "{code:?}");
    (code == Some(0), text(&output.stdout))
}

#[test]
fn what_is_signed_is_accepted_for_every_profile_and_framing() {
    let scene = scene();
    for profile in Profile::ALL.map(Profile::as_str) {
        let request = signed(scene.path(), profile, &[]);
        let (accepted, shown) = verified(scene.path(), profile, &request, &[]);
        assert!(accepted && shown.contains("accepted, unless it was used before"), "{shown}");
        let framing = format!("content-length: {}", BODY.len());
        let chunked = request.replace(&framing, "transfer-encoding: chunked");
        let chunked = chunked.replace(BODY, "1\r\n{\r\na\r\n\"order\":7}\r\n0\r\n\r\n");
        assert!(verified(scene.path(), profile, &chunked, &[]).0, "{chunked}");
        let changed = request.replace(":7}", ":8}");
        let (accepted, shown) = verified(scene.path(), profile, &changed, &[]);
        assert!(!accepted && shown.contains("FAIL  signature"), "{shown}");
        let json = verified(scene.path(), profile, &changed, &["--json"]).1;
        let json: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["accepted"], false);
        assert_eq!(json["steps"].as_array().unwrap().last().unwrap()["name"], "signature");
        for shown in [shown, json.to_string()] {
            assert!(!shown.contains(SECRET) && !shown.contains("v1="), "{shown}");
        }
    }
}

#[test]
fn each_failure_is_explained_at_its_step() {
    let scene = scene();
    let sign = |more: &[&str]| signed(scene.path(), "portcullis", more);
    let good = sign(&[]);
    let without = |name: &str| -> String {
        good.split_inclusive("\r\n").filter(|line| !line.starts_with(name)).collect()
    };
    let twice = good.replacen("x-timestamp:", "x-timestamp: 1\r\nx-timestamp:", 1);
    let short = good.replace("v1=", "v1=0");
    let late = (NOW + 301).to_string();
    let early = (NOW - 301).to_string();
    let cases: [(&str, String, &[&str]); 11] = [
        ("headers", without("x-signature"), &[]),
        ("headers", twice, &[]),
        ("headers", short, &[]),
        ("key", sign(&["--key-id", "k9"]), &[]),
        ("key", sign(&["--key-id", "old"]), &[]),
        ("key", sign(&["--key-id", "next"]), &[]),
        ("key", good.clone(), &["--integration", "reports"]),
        ("key", good.clone(), &["--partner", "beta"]),
        ("time", good.clone(), &["--at", &late]),
        ("time", good.clone(), &["--at", &early]),
        ("signature", sign(&["--secret-file", "other"]), &[]),
    ];
    for (step, request, more) in cases {
        let (accepted, shown) = verified(scene.path(), "portcullis", &request, more);
        let failed: Vec<_> = shown.lines().filter(|line| line.starts_with("FAIL")).collect();
        assert!(!accepted && failed.len() == 1, "{more:?}: {shown}");
        assert!(failed[0].starts_with(&format!("FAIL  {step} ")), "{more:?}: {shown}");
        assert!(shown.ends_with(&format!("refused: {step}\n")), "{shown}");
        assert!(!shown.contains(SECRET), "{shown}");
    }
    let (accepted, shown) =
        verified(scene.path(), "portcullis", &sign(&["--no-nonce"]), &["--nonce-required"]);
    assert!(!accepted && shown.contains("x-request-id: is required"), "{shown}");
    let moved = good.replace("/a?b=c", "/a?b=d");
    for (request, word) in [(moved, "wrong"), (good.replace("POST", "PUT"), "wrong")] {
        let (accepted, shown) = verified(scene.path(), "portcullis", &request, &[]);
        assert!(!accepted && shown.contains(word), "{shown}");
    }
    for inside in [NOW + 300, NOW - 300] {
        let inside = inside.to_string();
        assert!(verified(scene.path(), "portcullis", &good, &["--at", &inside]).0);
    }
    assert!(verified(scene.path(), "portcullis", &good, &["--integration", "payments"]).0);
}

#[test]
fn a_key_that_has_no_id_on_the_wire_may_be_any_of_several() {
    let scene = scene();
    let request = signed(scene.path(), "stripe", &[]);
    assert!(verified(scene.path(), "stripe", &request, &["--partner", "acme"]).0);
    let (accepted, _) = verified(scene.path(), "stripe", &request, &["--partner", "beta"]);
    assert!(!accepted);
}

#[test]
fn what_cannot_be_signed_or_read_exits_64_and_says_why() {
    let scene = scene();
    file(scene.path(), "short", "too short");
    file(scene.path(), "text", "\"hello\"");
    let sign = ["sign", "--url", "https://x.example/", "--profile"];
    let verify = ["verify", "--profile", "stripe", "--keys-file", "keys.toml", "--request-file"];
    let cases: [(&[&str], &[&str], &str); 11] = [
        (&sign, &["stripe"], "--secret-file <FILE>|--secret-env <NAME>"),
        (&sign, &["body", "--secret-file", "secret"], "--key-id is required: profile body"),
        (&sign, &["hmac", "--secret-file", "secret"], "must be one of portcullis, body"),
        (&sign, &["stripe", "--secret-file", "short"], "secret: must be 16 to 1024 bytes"),
        (&sign, &["stripe", "--secret-env", "PORTCULLIS_UNSET"], "PORTCULLIS_UNSET is not set"),
        (&sign, &["stripe", "--secret-file", "secret", "--nonce", "x"], "profile stripe has none"),
        (&sign, &["github", "--secret-file", "secret", "--no-nonce"], "nonce: is required"),
        (&["sign"], &["--url", "/a", "--profile", "stripe", "--secret-file", "secret"], "whole"),
        (&verify, &["nowhere"], "cannot read nowhere"),
        (&verify, &["text"], "request: not HTTP/1.1"),
        (&verify, &["text", "--tolerance", "2h"], "between 1s and 1h"),
    ];
    for (command, more, message) in cases {
        let output = portcullis_in(scene.path(), &[command, more].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{more:?}: {stderr}");
        assert!(stderr.contains(message), "{more:?}: {stderr}");
    }
}

#[test]
fn the_curl_line_survives_a_shell() {
    let scene = scene();
    file(scene.path(), "it's a body", BODY);
    let url = "https://x.example/a'b?c=$(d)&e=%20";
    let arguments =
        ["sign", "--profile", "portcullis", "--key-id", "k1", "--secret-file", "secret"];
    let more = ["--body-file", "it's a body", "--nonce", "a'b\"$c`d", "--url", url];
    let output = portcullis_in(scene.path(), &[&arguments[..], &more].concat());
    let stdout = text(&output.stdout);
    let (headers, curl) = stdout.trim_end().split_once("\n\n").unwrap();
    let words = format!("curl() {{ printf '%s\\n' \"$@\"; }}; {curl}");
    let shell = std::process::Command::new("sh").args(["-c", &words]).output().unwrap();
    let words = text(&shell.stdout);
    for expected in headers.lines().chain([url, "@it's a body"]) {
        assert!(words.lines().any(|word| word == expected), "{expected}: {words}");
    }
}
