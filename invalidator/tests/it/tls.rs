//! TLS of the API, with real certificates: who is let in, rotation, and the command line.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType,
    date_time_ymd,
};
use rustls::crypto::ring;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::harness::{
    AUDITOR, Answer, Daemon, PATIENCE, PUBLISHER, answer, file, portcullis, private, text,
    wait_until,
};

/// An authority, or a certificate with its key, both as PEM.
struct Pair {
    cert: String,
    key: String,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of this authority, with a common name and other names; valid for `span` at most.
fn issue(by: &Authority, common: &str, names: &[&str], span: Option<Duration>) -> Pair {
    let (uris, names): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
    let names: Vec<_> = names.into_iter().map(str::to_owned).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let uris = uris.into_iter().map(|uri| SanType::URI(uri.try_into().unwrap()));
    params.subject_alt_names.extend(uris);
    params.distinguished_name.push(DnType::CommonName, common);
    if let Some(span) = span {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        params.not_after = date_time_ymd(1970, 1, 1) + now + span;
    }
    let key = KeyPair::generate().unwrap();
    let cert = params.signed_by(&key, by).unwrap();
    Pair { cert: cert.pem(), key: key.serialize_pem() }
}

fn server(by: &Authority) -> Pair {
    issue(by, "daemon", &["localhost", "127.0.0.1"], None)
}

fn agent(roots: &Authority, client: Option<&Pair>) -> ureq::Agent {
    let certificate = |pem: &str| Certificate::from_pem(pem.as_bytes()).unwrap();
    let own = client.map(|pair| {
        let key = PrivateKey::from_pem(pair.key.as_bytes()).unwrap();
        ClientCert::new_with_certs(&[certificate(&pair.cert)], key)
    });
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&[certificate(&roots.pem())]))
        .client_cert(own)
        .build();
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.tls_config(tls).timeout_global(Some(PATIENCE)).build().into()
}

/// A daemon with the certificate of the authority, and some more configuration.
fn daemon(by: &Authority, more: impl Fn(&Path) -> String) -> Daemon {
    let directory = tempfile::tempdir().unwrap();
    let pair = server(by);
    file(directory.path(), "api.pem", &pair.cert);
    private(directory.path(), "api.key", &pair.key);
    let tls = format!(
        "[api.tls]\ncert_file = \"{0}/api.pem\"\nkey_file = \"{0}/api.key\"\n",
        directory.path().display()
    );
    let more = more(directory.path());
    let mut daemon = Daemon::spawn(&(tls + &more), directory);
    daemon.api = daemon.api.replace("http://127.0.0.1", "https://localhost");
    daemon.agent = agent(by, None);
    daemon
}

/// The same, and it asks for certificates of clients.
fn daemon_for(by: &Authority, clients: &Authority, how: &str) -> Daemon {
    daemon(by, |directory| {
        let ca = file(directory, "clients.pem", &clients.pem());
        let client = |name: &str, role: &str| {
            format!("[[api.clients]]\nname = \"{name}\"\nrole = \"{role}\"\n")
        };
        format!("client_ca_file = {ca:?}\nclient_certificates = \"{how}\"\n")
            + &client("risk engine", "publisher")
            + &client("ops.example", "operator")
            + &client("spiffe://example/audit", "auditor")
    })
}

fn ask(agent: &ureq::Agent, daemon: &Daemon, path: &str) -> Option<Answer> {
    answer(agent.get(format!("{}{path}", daemon.api)).call())
}

fn status(agent: &ureq::Agent, daemon: &Daemon, path: &str) -> u16 {
    ask(agent, daemon, path).expect("no answer").status
}

#[test]
fn tokens_work_over_tls_and_nothing_works_without_it() {
    let by = authority();
    let daemon = daemon(&by, |_| String::new());
    daemon.wait_for_health();
    assert_eq!(daemon.get("/v1/status").status, 200);
    assert_eq!(daemon.get_as(Some(AUDITOR), "/v1/users/nobody").status, 404);
    assert_eq!(daemon.get_as(Some(PUBLISHER), "/v1/users/nobody").status, 403);
    assert_eq!(daemon.get_as(None, "/v1/status").status, 401);
    let clear = daemon.api.replace("https", "http");
    assert!(ureq::get(format!("{clear}/healthz")).call().is_err());
    assert!(ask(&agent(&authority(), None), &daemon, "/healthz").is_none(), "not this daemon");
    assert!(daemon.metric("portcullis_tls_not_after_seconds{listener=\"api\"}") > 1.8e9);
    assert_eq!(daemon.metric("portcullis_tls_broken{listener=\"api\"}"), 0.0);
    assert!(daemon.metric("portcullis_tls_handshake_failures_total{listener=\"api\"}") >= 1.0);
    // The certificate says whom a client wanted: the name in the request does not matter.
    let request = daemon.agent.get(format!("{}/healthz", daemon.api)).header("host", "x.example");
    assert_eq!(request.call().unwrap().status(), 200);
}

#[test]
fn certificates_stand_for_the_callers_that_their_names_name() {
    let (by, clients) = (authority(), authority());
    let daemon = daemon_for(&by, &clients, "optional");
    daemon.wait_for_health();
    let agent_of = |common, names: &[&str]| agent(&by, Some(&issue(&clients, common, names, None)));
    // To the status, to a user, and to the metrics.
    let cases = [
        (agent_of("risk engine", &[]), [200, 403, 403]),
        (agent_of("x", &["y.example", "ops.example"]), [200, 404, 200]),
        (agent_of("x", &["spiffe://example/audit"]), [200, 404, 200]),
        (agent_of("x", &["OPS.example", "spiffe://example/audit/x"]), [401, 401, 401]),
        (agent_of("operator", &[]), [401, 401, 401]),
    ];
    for (agent, expected) in cases {
        let paths = ["/v1/status", "/v1/users/nobody", "/metrics"];
        assert_eq!(paths.map(|path| status(&agent, &daemon, path)), expected);
    }
    let sample = "portcullis_api_auth_failures_total{cause=\"unknown_certificate\"}";
    assert_eq!(daemon.metric(sample), 6.0);
    let strangers = authority();
    let stranger = agent(&by, Some(&issue(&strangers, "risk engine", &[], None)));
    assert!(ask(&stranger, &daemon, "/healthz").is_none(), "of another authority");
    let late = issue(&clients, "risk engine", &[], Some(Duration::ZERO));
    wait_until("its end", || ask(&agent(&by, Some(&late)), &daemon, "/healthz").is_none());
    assert_eq!(daemon.get("/v1/status").status, 200, "a token does as well");
}

#[test]
fn with_required_certificates_nobody_is_let_in_without_one() {
    let (by, clients) = (authority(), authority());
    let mut daemon = daemon_for(&by, &clients, "required");
    let without = daemon.agent.clone();
    daemon.agent = agent(&by, Some(&issue(&clients, "ops.example", &[], None)));
    daemon.wait_for_health();
    assert!(ask(&without, &daemon, "/healthz").is_none());
    assert_eq!(status(&daemon.agent, &daemon, "/v1/status"), 200);
    assert_eq!(daemon.get_as(Some(PUBLISHER), "/v1/users/x").status, 403, "the token counts");
}

#[test]
fn a_certificate_that_expires_ends_what_its_open_connection_may() {
    let (by, clients) = (authority(), authority());
    let daemon = daemon_for(&by, &clients, "optional");
    daemon.wait_for_health();
    let short = issue(&clients, "ops.example", &[], Some(Duration::from_secs(3)));
    let agent = agent(&by, Some(&short));
    assert_eq!(status(&agent, &daemon, "/v1/status"), 200);
    wait_until("its end", || status(&agent, &daemon, "/v1/status") == 401);
    let sample = "portcullis_api_auth_failures_total{cause=\"expired_certificate\"}";
    assert_eq!(daemon.metric(sample), 1.0);
}

#[test]
fn changed_certificates_are_used_without_a_restart_and_broken_ones_are_not() {
    let by = authority();
    let mut daemon = daemon(&by, |_| String::new());
    daemon.wait_for_health();
    let place = daemon.directory.path().to_owned();
    let (kept, next) = (daemon.agent.clone(), authority());
    assert_eq!(daemon.get("/v1/status").status, 200);
    let pair = server(&next);
    // Between the writing of the certificate and of its key they do not fit.
    file(&place, "api.pem", &pair.cert);
    wait_until("the failure", || daemon.metric("portcullis_tls_broken{listener=\"api\"}") == 1.0);
    assert!(daemon.log().contains("api.tls.key_file: does not fit cert_file"), "{}", daemon.log());
    assert_eq!(ask(&agent(&by, None), &daemon, "/healthz").unwrap().status, 200);
    private(&place, "api.key", &pair.key);
    daemon.agent = agent(&next, None);
    daemon.wait_for_health();
    assert_eq!(daemon.metric("portcullis_tls_broken{listener=\"api\"}"), 0.0);
    assert_eq!(daemon.metric("portcullis_tls_reloads_total{listener=\"api\"}"), 1.0);
    let last = kept.get(format!("{}/healthz", daemon.api)).call();
    assert!(last.is_err() || last.unwrap().headers()["connection"] == "close", "one more at most");
    assert!(ask(&kept, &daemon, "/healthz").is_none(), "it does not trust the new authority");
    assert!(!daemon.log().contains("PRIVATE KEY"));
}

#[test]
fn an_authority_that_is_replaced_takes_its_clients_with_it() {
    let (by, clients) = (authority(), authority());
    let daemon = daemon_for(&by, &clients, "optional");
    daemon.wait_for_health();
    let pair = issue(&clients, "ops.example", &[], None);
    assert_eq!(status(&agent(&by, Some(&pair)), &daemon, "/v1/status"), 200);
    file(daemon.directory.path(), "clients.pem", &authority().pem());
    wait_until("the refusal", || ask(&agent(&by, Some(&pair)), &daemon, "/v1/status").is_none());
}

#[test]
fn who_connects_and_does_not_speak_tls_is_sent_away() {
    let daemon = daemon(&authority(), |_| String::new());
    let address = daemon.api.strip_prefix("https://").unwrap();
    wait_until("the listener", || TcpStream::connect(address).is_ok());
    for sent in [&b""[..], b"\x16\x03\x01", b"GET /healthz HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(sent).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(!answer.starts_with(b"HTTP"));
    }
}

#[test]
fn files_that_cannot_be_used_end_the_start_and_fail_the_check() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    let (one, other) = (server(&authority()), server(&authority()));
    let cert = file(place, "cert.pem", &one.cert);
    let key = private(place, "key.pem", &one.key);
    let strange = private(place, "strange.pem", &other.key);
    let open = file(place, "open.pem", &one.key);
    let none = private(place, "none.pem", "nothing\n");
    let absent = place.join("absent.pem");
    let cases = [
        (&absent, &key, None, "api.tls.cert_file: cannot read"),
        (&none, &key, None, "api.tls.cert_file: must hold at least one certificate in PEM"),
        (&cert, &none, None, "api.tls.key_file: must hold a private key in PEM"),
        (&cert, &cert, None, "api.tls.key_file: "),
        (&cert, &strange, None, "api.tls.key_file: does not fit cert_file"),
        (&cert, &open, None, "api.tls.key_file: "),
        (&cert, &key, Some(&none), "api.tls.client_ca_file: must hold at least one certificate"),
    ];
    for (cert, key, ca, message) in cases {
        let ca = ca.map(|ca| format!("client_ca_file = {ca:?}\n")).unwrap_or_default();
        let config = format!(
            "[poll]\nlisten = \"127.0.0.1:1\"\nsecret = \"0123456789abcdef\"\n\
             [store]\ndirectory = \"/x\"\n\
             [api.tls]\ncert_file = {cert:?}\nkey_file = {key:?}\n{ca}{}",
            crate::harness::tokens()
        );
        let path = file(place, "portcullis.toml", &config);
        let mut check = portcullis();
        check.args(["run", "--check", "--config"]).arg(&path);
        let output = check.output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{stderr}");
        assert!(stderr.starts_with(&format!("portcullis: {message}")), "{stderr}");
        assert!(!stderr.contains("PRIVATE"));
    }
}

#[test]
fn the_command_line_shows_its_certificate_and_checks_the_daemons() {
    let (by, clients) = (authority(), authority());
    let daemon = daemon_for(&by, &clients, "optional");
    daemon.wait_for_health();
    let place = daemon.directory.path();
    let pair = issue(&clients, "ops.example", &[], None);
    let path = |path: std::path::PathBuf| path.to_str().unwrap().to_owned();
    let ca = path(file(place, "ca.pem", &by.pem()));
    let cert = path(file(place, "me.pem", &pair.cert));
    let key = path(private(place, "me.key", &pair.key));
    let cli = |arguments: &[&str]| -> Output {
        portcullis().env("PORTCULLIS_API", &daemon.api).args(arguments).output().unwrap()
    };
    let own = ["status", "--ca-file", &ca, "--cert-file", &cert, "--key-file", &key];
    let output = cli(&own);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let cases = [
        (&["status", "--ca-file", &ca][..], 77, "the daemon does not know you"),
        (&["status"], 69, "invalid peer certificate"),
        (&["status", "--ca-file", &key], 64, "--ca-file: must hold at least one certificate"),
        (&["status", "--ca-file", "/nowhere"], 64, "--ca-file: cannot read /nowhere"),
        (&["status", "--cert-file", &cert], 64, "--key-file <FILE>"),
        (&["status", "--ca-file", &ca, "--api", "http://localhost:1"], 64, "--api: must be https:"),
    ];
    for (arguments, code, message) in cases {
        let output = cli(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(message), "{stderr}");
    }
    let mut leaking = portcullis();
    leaking
        .args(["status", "--api", "http://daemon.example:7700"])
        .env("PORTCULLIS_TOKEN", AUDITOR);
    let output = leaking.output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("the token would cross the network"));
}
