//! Every rule of the configuration, by the message that its breach gives.

mod store;

use std::time::Duration;

use secrecy::ExposeSecret;

use super::*;

const POLL: &str = "[poll]\nlisten = \"unix:/run/poll.sock\"\nsecret = \"0123456789abcdef\"\n\
                    [store]\ndirectory = \"/var/lib/portcullis\"\n";
/// Somebody who may call, as lines to stand after all others.
const TOKENS: &str = "\n[[api.tokens]]\nname = \"ops\"\nrole = \"operator\"\nhash = \
    \"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n";

fn error(text: &str) -> String {
    Config::parse(&format!("{text}{TOKENS}")).map(|_| "no error").unwrap_err().to_string()
}

/// The message for the usual `[poll]` and some more.
fn error_with(more: &str) -> String {
    error(&format!("{POLL}{more}"))
}

#[test]
fn the_least_configuration_has_the_documented_defaults() {
    let config = Config::parse(&format!("{POLL}{TOKENS}")).unwrap();
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:7700");
    assert_eq!(config.api.ack_timeout, Duration::from_secs(2));
    assert_eq!(config.poll.listen, Listen::Unix { path: "/run/poll.sock".into(), mode: 0o600 });
    assert_eq!(config.poll.hold, Duration::from_secs(1));
    assert!(config.sources.embedded.is_some() && config.sources.redis.is_none());
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, LevelFilter::INFO);
}

#[test]
fn the_full_configuration_is_taken_as_written() {
    let config = Config::parse(
        r#"
        [api]
        listen = "[::1]:7700"
        ack_timeout = "500ms"
        [poll]
        listen = "127.0.0.1:7701"
        secret = "0123456789abcdef"
        hold = "100ms"
        [store]
        directory = "/var/lib/portcullis"
        [sources.embedded]
        enabled = false
        [sources.redis]
        url = "rediss://user:pass@redis.example:6380/2"
        channel = "other"
        ping_interval = "200ms"
        dead_after = "600ms"
        [limits]
        subjects_max = 10
        log_entries_max = 11
        event_ids_max = 12
        nodes_max = 13
        api_requests_max = 14
        [log]
        format = "text"
        level = "debug"
        pseudonym_key = "fedcba9876543210"
        [[api.tokens]]
        name = "risk-engine"
        role = "publisher"
        hash = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
        not_after = 2027-01-01T00:00:00Z
        rate = { max_tokens = 20, tokens_per_fill = 10, fill_interval = "1m" }
        "#,
    )
    .unwrap();
    assert_eq!(config.poll.listen, Listen::Tcp("127.0.0.1:7701".parse().unwrap()));
    assert_eq!(config.limits.engine.nodes_max, 13);
    let redis = config.sources.redis.unwrap();
    assert_eq!(redis.channel, "other");
    assert_eq!(redis.dead_after, Duration::from_millis(600));
}

#[test]
fn secrets_come_from_files_and_the_environment_and_are_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("secret");
    std::fs::write(&path, "from-a-file-0123456789\n").unwrap();
    let text = |secret: &str| {
        let store = "[store]\ndirectory = \"/x\"";
        format!("{store}\n[poll]\nlisten = \"127.0.0.1:1\"\nsecret = {secret}\n{TOKENS}")
    };
    let config = Config::parse(&text(&format!("{{ file = {path:?} }}"))).unwrap();
    assert_eq!(config.poll.secret.expose_secret(), "from-a-file-0123456789");
    assert!(!format!("{config:?}").contains("from-a-file"));
    // Set by Cargo for every test.
    let config = Config::parse(&text("{ env = \"CARGO_MANIFEST_DIR\" }")).unwrap();
    assert_eq!(config.poll.secret.expose_secret(), env!("CARGO_MANIFEST_DIR"));
    let cases = [
        ("{ env = \"PORTCULLIS_UNSET\" }", "poll.secret: environment variable PORTCULLIS_UNSET"),
        ("{ file = \"/nowhere\" }", "poll.secret: cannot read /nowhere: No such file"),
        ("{ file = \"/x\", env = \"Y\" }", "poll.secret: must be a string, { file"),
        ("7", "poll.secret: must be a string, { file"),
    ];
    for (secret, message) in cases {
        let error = Config::parse(&text(secret)).unwrap_err().to_string();
        assert!(error.starts_with(message), "{secret}: {error}");
    }
}

#[test]
fn every_broken_rule_is_named_with_its_field() {
    let cases = [
        ("[api]\nlisten = \"0.0.0.0:7700\"", "api.listen: must be a loopback address"),
        ("[api]\nlisten = \"7700\"", "api.listen: must be a loopback address"),
        ("[api]\nack_timeout = \"1\"", "api.ack_timeout: must be a whole number and a unit"),
        ("[api]\nack_timeout = 1", "api.ack_timeout: invalid type: integer"),
        ("[api]\nack_timeout = \"1ms\"", "api.ack_timeout: must be between 10ms and 30s"),
        ("[api]\nport = 1", "api.port: unknown field `port`, expected one of `listen`"),
        ("[apis]", "apis: unknown field `apis`, expected one of"),
        ("[sources.kafka]", "sources.kafka: unknown field `kafka`"),
        ("[sources.embedded]\nenabled = false", "sources: at least one source has to be enabled"),
        ("[sources.redis]", "sources.redis.url: must be given"),
        ("[sources.redis]\nurl = \"http://x\"", "sources.redis.url: must be redis://"),
        ("[sources.redis]\nurl = \"redis://\"", "sources.redis.url: must be redis://"),
        (
            "[sources.redis]\nurl = \"redis://x\"\nchannel = \"\"",
            "sources.redis.channel: must be 1 to 256 bytes",
        ),
        (
            "[sources.redis]\nurl = \"redis://x\"\ndead_after = \"1s\"",
            "sources.redis.dead_after: must be longer than ping_interval",
        ),
        (
            "[sources.redis]\nurl = \"redis://x\"\nping_interval = \"2m\"",
            "sources.redis.ping_interval: must be between 10ms and 60s",
        ),
        (
            "[sources.redis]\nurl = \"redis://x\"\ntls_ca_file = \"/ca\"",
            "sources.redis.tls_ca_file: belongs to a rediss:// url only",
        ),
        (
            "[sources.redis]\nurl = \"rediss://x\"\ntls_ca_file = \"/nowhere\"",
            "sources.redis.tls_ca_file: cannot read /nowhere",
        ),
        ("[limits]\nsubjects_max = 0", "limits.subjects_max: must be 1 to 100000000"),
        ("[limits]\nnodes_max = -1", "limits.nodes_max: invalid value: integer `-1`"),
        ("[limits]\nlog_entries_max = 99999999", "limits.log_entries_max: must be 1 to 16777216"),
        ("[limits]\nevent_ids_max = 0", "limits.event_ids_max: must be 1 to 16777216"),
        ("[limits]\napi_requests_max = 0", "limits.api_requests_max: must be 1 to 65536"),
        ("[log]\nlevel = \"loud\"", "log.level: must be error, warn, info, debug or trace"),
        ("[log]\nformat = \"xml\"", "log.format: unknown variant `xml`, expected `json` or `text`"),
        ("[log]\npseudonym_key = \"short\"", "log.pseudonym_key: must be at least 16 bytes"),
        ("log", "config line 6: "),
    ];
    for (more, message) in cases {
        let error = error_with(more);
        assert!(error.starts_with(message), "{more:?}: {error}");
    }
}

#[test]
fn callers_have_rules_of_their_own() {
    let hash = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
    let token = |name: &str, role: &str, hash: &str, more: &str| {
        let who = format!("name = \"{name}\"\nrole = \"{role}\"");
        format!("[[api.tokens]]\n{who}\nhash = \"{hash}\"\n{more}\n")
    };
    let one = |more: &str| token("one", "auditor", hash, more);
    let cases = [
        (token("One", "auditor", hash, ""), "api.tokens[0].name: must be 1 to 64 characters"),
        (token("one", "king", hash, ""), "api.tokens[0].role: unknown variant `king`, expected"),
        (token("one", "auditor", "sha256:00", ""), "api.tokens[0].hash: must be \"sha256:\" and"),
        (token("one", "auditor", "pct_hunter2", ""), "api.tokens[0].hash: must be \"sha256:\""),
        (one("not_after = \"soon\""), "api.tokens[0].not_after: must be an RFC 3339 time"),
        (one("until = \"2027\""), "api.tokens[0].until: unknown field"),
        (one("rate = 5"), "api.tokens[0].rate: invalid type: integer"),
        (
            one("rate = { max_tokens = 0, tokens_per_fill = 1 }"),
            "api.tokens[0].rate.max_tokens: must be at least 1",
        ),
        (
            one("rate = { max_tokens = 1, tokens_per_fill = 1, fill_interval = \"2h\" }"),
            "api.tokens[0].rate.fill_interval: must be between 1ms and 3600s",
        ),
        (one("") + &one(""), "api.tokens[1].hash: is the hash of another token already"),
    ];
    for (more, message) in cases {
        let error = error_with(&more);
        assert!(error.starts_with(message), "{more}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let tls = "[api.tls]\ncert_file = \"/c\"\nkey_file = \"/k\"\n";
    let client = |name: &str| format!("[[api.clients]]\nname = \"{name}\"\nrole = \"operator\"\n");
    let ca = "client_ca_file = \"/ca\"\n";
    let cases = [
        (client("one"), "api.clients: belong to client certificates: api.tls.client_ca_file"),
        (tls.to_owned() + &client("one"), "api.clients: belong to client certificates"),
        (format!("{tls}{ca}{}", client("")), "api.clients[0].name: must be 1 to 256 visible"),
        (format!("{tls}{ca}{}", client("ä")), "api.clients[0].name: must be 1 to 256 visible"),
        (format!("{tls}{ca}{0}{0}", client("one")), "api.clients[1].name: one stands in another"),
        (
            format!("{tls}{ca}{}", client("ops").replace("operator", "auditor")),
            "api.clients[0].role",
        ),
        (
            format!("{tls}client_certificates = \"required\""),
            "api.tls.client_certificates: needs client_ca_file",
        ),
        ("[api.tls]\ncert_file = \"/c\"".to_owned(), "api.tls: missing field `key_file`"),
        (format!("[api]\nlisten = \"here\"\n{tls}"), "api.listen: must be an address and a port"),
    ];
    for (more, message) in cases {
        let error = error_with(&more);
        assert!(error.starts_with(message), "{more}: {error}");
    }
    let open = format!("{POLL}[api]\nlisten = \"0.0.0.0:7700\"\n{tls}{ca}{}", client("one"));
    let config = Config::parse(&open).unwrap();
    assert!(config.api.tls.is_some_and(|files| !files.required));
    let error = Config::parse(POLL).unwrap_err().to_string();
    assert!(error.starts_with("api.tokens: somebody has to be let in"), "{error}");
}

#[test]
fn the_poll_table_has_rules_of_its_own() {
    let cases = [
        ("", "config: missing field `poll`"),
        ("[poll]\nlisten = \"127.0.0.1:1\"", "poll: missing field `secret`"),
        ("[poll]\nsecret = \"0123456789abcdef\"", "poll: missing field `listen`"),
        (
            "[poll]\nlisten = \"127.0.0.1:1\"\nsecret = \"short\"",
            "poll.secret: must be at least 16 visible ASCII characters without spaces",
        ),
        (
            "[poll]\nlisten = \"127.0.0.1:1\"\nsecret = \"with spaces in the middle\"",
            "poll.secret: must be at least 16",
        ),
        (
            "[poll]\nlisten = \"here\"\nsecret = \"0123456789abcdef\"",
            "poll.listen: must be \"unix:/absolute/path\" or an address",
        ),
        (
            "[poll]\nlisten = \"unix:here\"\nsecret = \"0123456789abcdef\"",
            "poll.listen: must name an absolute path of at most 107 bytes",
        ),
        (
            "[poll]\nlisten = \"127.0.0.1:1\"\nsecret = \"0123456789abcdef\"\n\
             socket_mode = \"0600\"",
            "poll.socket_mode: belongs to a unix: address only",
        ),
        (
            "[poll]\nlisten = \"unix:/x\"\nsecret = \"0123456789abcdef\"\nsocket_mode = \"0060\"",
            "poll.socket_mode: must be an octal string",
        ),
        (
            "[poll]\nlisten = \"unix:/x\"\nsecret = \"0123456789abcdef\"\nhold = \"1m\"",
            "poll.hold: must be between 10ms and 2s",
        ),
    ];
    for (text, message) in cases {
        let error = error(&format!("{text}\n[store]\ndirectory = \"/x\"\n"));
        assert!(error.starts_with(message), "{text:?}: {error}");
        assert!(!error.contains("0123456789abcdef"), "{error}");
    }
}

#[test]
fn messages_never_quote_a_secret() {
    let texts = [
        "[poll]\nlisten = \"127.0.0.1:1\"\nsecret = \"0123456789abcdef\" oops",
        "[poll]\nlisten = \"127.0.0.1:1\"\nsecret = [\"0123456789abcdef\"]",
        "[poll]\nlisten = \"127.0.0.1:1\"\nsecret = { value = \"0123456789abcdef\" }",
        "[poll]\nlisten = \"127.0.0.1:1\"\nsecret = \"0123456789abcdef\"\n\
         [sources.redis]\nurl = \"ftp://u:hunter2@x\"",
    ];
    for text in texts {
        let error = error(text);
        assert!(!error.contains("0123456789abcdef") && !error.contains("hunter2"), "{error}");
    }
}
