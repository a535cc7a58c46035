//! Every example in the documents for partners and operators is run, and prints what they say.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use signing::Profile;

use crate::harness::{file, portcullis, private, text, tokens};

/// What the examples sign with.
const SECRET: &str = "whsec_cG9ydGN1bGxpcyBkb2N1bWVudGF0aW9uIGtleSAx";
const KEY_ID: &str = "acme-1";
const BODY: &str = r#"{"order":7,"amount":"12.50"}"#;
const TIMESTAMP: &str = "1795348800";
const PATH: &str = "/orders?source=web";

/// The fenced blocks of one section of a document, by language, in order.
fn blocks(document: &str, section: &str) -> BTreeMap<String, Vec<String>> {
    let path = format!("{}/../docs/{document}", env!("CARGO_MANIFEST_DIR"));
    let whole = std::fs::read_to_string(path).unwrap();
    let start = format!("\n## {section}\n");
    let section = whole.split(&start).nth(1).unwrap_or_else(|| panic!("no section{start}"));
    let section = section.split("\n## ").next().unwrap();
    let mut blocks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for block in section.split("```").skip(1).step_by(2) {
        let (information, code) = block.split_once('\n').unwrap();
        // What stands behind the language is for tests/test_docs.py.
        let language = information.split(' ').next().unwrap();
        blocks.entry(language.to_owned()).or_default().push(code.to_owned());
    }
    blocks
}

fn run(interpreter: &[&str], code: &str) -> String {
    let mut child = Command::new(interpreter[0])
        .args(&interpreter[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} is needed: {error}", interpreter[0]));
    child.stdin.take().unwrap().write_all(code.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{interpreter:?} fails on:\n{code}");
    text(&output.stdout)
}

/// The files that the examples name.
fn scene(directory: &Path) {
    private(directory, "secret", &format!("{SECRET}\n"));
    let keys = format!(
        "[[keys]]\nid = \"{KEY_ID}\"\npartner = \"acme\"\nsecret = {{ file = \"{}\" }}\n",
        directory.join("secret").display()
    );
    private(directory, "keys.toml", &keys);
    file(directory, "order.json", BODY);
}

/// Runs the commands of a console block in the scene, and compares what they print.
fn check_console(directory: &Path, block: &str) {
    let block = block.replace("\\\n", "\\\r");
    let commands = block.strip_prefix("$ ").expect("a console block begins with a command");
    for step in commands.split("\n$ ") {
        let (command, expected) = step.split_once('\n').unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_portcullis")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("sh");
        shell.args(["-c", &command.replace("\\\r", "\\\n")]).current_dir(directory);
        let output = shell.env("PATH", path).stdin(Stdio::null()).output().unwrap();
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(printed, expected, "{command}");
    }
}

#[test]
fn every_signing_example_makes_the_documented_headers_and_is_accepted() {
    let directory = tempfile::tempdir().unwrap();
    scene(directory.path());
    for profile in Profile::ALL {
        let blocks = blocks("how-to/sign-requests.md", profile.as_str());
        let expected = &blocks["http"][0];
        for (language, interpreter) in
            [("sh", &["sh", "-eu"][..]), ("python", &["python3", "-"]), ("js", &["node", "-"])]
        {
            assert_eq!(blocks[language].len(), 1, "{profile} {language}");
            assert_eq!(&run(interpreter, &blocks[language][0]), expected, "{profile} {language}");
        }
        check_against_our_own(directory.path(), profile, expected);
    }
}

/// `sign` makes the same headers, and `verify` accepts them.
fn check_against_our_own(directory: &Path, profile: Profile, headers: &str) {
    let value =
        |name: &str| headers.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let nonce = ["x-request-id", "webhook-id", "x-github-delivery"].into_iter().find_map(value);
    let in_parameters = || value("signature-input")?.split("nonce=\"").nth(1)?.split('"').next();
    let nonce = nonce.or_else(in_parameters);
    let mut sign = portcullis();
    sign.current_dir(directory)
        .args(["sign", "--profile", profile.as_str(), "--key-id", KEY_ID, "--secret-file"])
        .args(["secret", "--url", &format!("https://api.example{PATH}"), "--body-file"])
        .args(["order.json", "--timestamp", TIMESTAMP])
        .args(nonce.iter().flat_map(|nonce| ["--nonce", nonce]));
    let output = sign.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let ours = text(&output.stdout);
    assert_eq!(ours.split("\n\n").next().unwrap(), headers.trim_end(), "{profile}");
    let length = BODY.len();
    let request = format!(
        "POST {PATH} HTTP/1.1\nhost: api.example\ncontent-length: {length}\n{headers}\n{BODY}"
    );
    file(directory, "request.http", &request);
    let mut verify = portcullis();
    verify.current_dir(directory).args(["verify", "--profile", profile.as_str()]);
    verify.args(["--request-file", "request.http", "--keys-file", "keys.toml"]);
    let output = verify.args(["--at", TIMESTAMP]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stdout));
}

#[test]
fn the_commands_for_partners_print_what_the_document_says() {
    let directory = tempfile::tempdir().unwrap();
    scene(directory.path());
    let headers = &blocks("how-to/sign-requests.md", "stripe")["http"][0];
    file(directory.path(), "late.http", &format!("POST /orders HTTP/1.1\n{headers}\n{BODY}"));
    for block in &blocks("how-to/sign-requests.md", "When a signature is refused")["console"] {
        check_console(directory.path(), block);
    }
}

#[test]
fn the_names_of_the_profiles_lead_to_their_sections() {
    let path = format!("{}/../docs/how-to/sign-requests.md", env!("CARGO_MANIFEST_DIR"));
    let document = std::fs::read_to_string(path).unwrap();
    for profile in Profile::ALL {
        assert!(document.contains(&format!("| [`{profile}`](#{profile}) |")), "{profile}");
    }
}

#[test]
fn the_keys_file_and_the_commands_for_operators_are_as_documented() {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path).display().to_string();
    let here = |text: &str| {
        let text = text.replace("/etc/portcullis/keys.toml", &at("keys.toml"));
        text.replace("/run/secrets/globex", &at("globex"))
    };
    let files = &blocks("reference/keys-file.md", "Where keys are")["toml"];
    private(directory.path(), "globex", "another-secret-of-globex");
    private(directory.path(), "keys.toml", &here(&files[1]));
    let poll = "[poll]\nlisten = \"unix:/run/x.sock\"\nsecret = \"0123456789abcdef\"\n\
                [store]\ndirectory = \"/x\"\n";
    file(directory.path(), "portcullis.toml", &(poll.to_owned() + &here(&files[0]) + &tokens()));
    let mut check = portcullis();
    check.current_dir(directory.path()).args(["run", "--check", "--config", "portcullis.toml"]);
    assert!(check.output().unwrap().status.success());
    check_console(
        directory.path(),
        &here(&blocks("reference/keys-file.md", "How keys reach Envoy")["console"][0]),
    );

    let console = here(&blocks("how-to/rotate-keys.md", "Replacing a key")["console"][0]);
    let (command, expected) = console.split_once('\n').unwrap();
    let arguments = command.strip_prefix("$ portcullis ").unwrap().split(' ');
    let printed = text(&portcullis().args(arguments).output().unwrap().stdout);
    // What follows is random, or the time.
    let shape = |line: &str| (line[..8].to_owned(), line.len());
    let shapes = |text: &str| text.lines().map(shape).collect::<Vec<_>>();
    assert_eq!(shapes(&printed), shapes(expected), "{printed}");
}
