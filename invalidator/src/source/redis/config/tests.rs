//! Every rule of `[sources.redis]`, by the message that its breach gives.

use access::Authority;

use super::*;
use crate::config;

const POLL: &str = "[poll]\nlisten = \"unix:/run/p.sock\"\nsecret = \"0123456789abcdef\"\n";

/// What else a configuration has to have; tables may stand in any order.
const REST: &str = "[store]\ndirectory = \"/x\"\n[[api.tokens]]\nname = \"ops\"\n\
    role = \"operator\"\nhash = \
    \"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n";

fn redis(text: &str) -> Result<Config, String> {
    let text = format!("{POLL}{REST}[sources.redis]\n{text}");
    config::Config::parse(&text)
        .map(|config| config.sources.redis.unwrap())
        .map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_those_that_the_readme_names() {
    let redis = redis("url = \"redis://localhost\"").unwrap();
    assert_eq!(redis.mode, RedisMode::Standalone);
    assert_eq!((redis.prefix.as_str(), redis.stream_entries_max), ("portcullis", 100_000));
    assert_eq!(redis.digest_interval, Duration::from_secs(30));
    assert!(redis.user.is_none() && redis.password.is_none());
}

#[test]
fn every_mode_is_taken_as_written() {
    let sentinel = redis(
        "mode = \"sentinel\"\nurls = [\"redis://a:26379\", \"redis://b:26379\"]\n\
         sentinel.master_name = \"mymaster\"\nuser = \"portcullis\"\npassword = \"pw\"",
    );
    let sentinel = sentinel.unwrap();
    assert_eq!(sentinel.mode, RedisMode::Sentinel { master_name: "mymaster".to_owned() });
    assert_eq!((sentinel.urls.len(), sentinel.user.as_deref()), (2, Some("portcullis")));
    assert!(!format!("{sentinel:?}").contains("pw"));
    let cluster = redis("mode = \"cluster\"\nurls = [\"rediss://a\", \"rediss://b\"]").unwrap();
    assert_eq!(cluster.mode, RedisMode::Cluster);
}

fn many_inboxes() -> String {
    (0..=16).map(|number| format!("[[sources.redis.inboxes]]\nname = \"i{number}\"\n")).collect()
}

#[test]
fn an_inbox_has_a_name_and_perhaps_bounds() {
    let none = redis("url = \"redis://localhost\"").unwrap();
    assert!(none.inboxes.is_empty());
    let text = "url = \"redis://localhost\"\n[[sources.redis.inboxes]]\nname = \"fraud-desk\"\n\
                allow = { actions = [\"block\"], reasons = [\"fraud\"] }\n\
                [[sources.redis.inboxes]]\nname = \"compliance\"";
    let inboxes = redis(text).unwrap().inboxes;
    let names: Vec<_> = inboxes.iter().map(|inbox| inbox.name.as_str()).collect();
    assert_eq!(names, ["fraud-desk", "compliance"]);
    assert_ne!(inboxes[0].authority, Authority::default());
    assert_eq!(inboxes[1].authority, Authority::default());
}

#[test]
fn every_breach_names_field_and_rule_and_no_url() {
    let url = "url = \"redis://u:hunter2@x\"\n";
    let cluster = "mode = \"cluster\"\n";
    let cases = [
        ("", "url: must be given"),
        ("mode = \"ring\"", "mode: unknown variant `ring`"),
        ("mode = \"cluster\"", "urls: must be given with this mode"),
        (&format!("{url}urls = [\"redis://x\"]"), "urls: belongs to mode sentinel or cluster"),
        (&format!("{cluster}{url}"), "url: belongs to mode standalone only"),
        (&format!("{cluster}urls = []"), "urls: must be 1 to 32 URLs"),
        (&format!("{cluster}urls = [\"hunter2\"]"), "urls: must be redis://"),
        (&format!("{cluster}urls = [\"redis://x/3\"]"), "urls: must not name a database"),
        (
            &format!("{cluster}urls = [\"redis://u:hunter2@x\", \"redis://y\"]"),
            "urls: must have the same user and password all",
        ),
        (
            &format!("{cluster}urls = [\"redis://x\", \"rediss://y\"]"),
            "urls: must be rediss:// all, or none",
        ),
        ("mode = \"sentinel\"\nurls = [\"redis://x\"]", "sentinel.master_name: must be given"),
        (
            "mode = \"sentinel\"\nurls = [\"redis://x\"]\nsentinel.master_name = \"\"",
            "sentinel.master_name: must be 1 to 1024 bytes",
        ),
        (&format!("{url}sentinel.master_name = \"m\""), "sentinel: belongs to mode sentinel"),
        (&format!("{url}user = \"u\""), "user: must have a password beside it"),
        (&format!("{url}password = \"\""), "password: must be 1 to 1024 bytes"),
        (&format!("{url}prefix = \"a{{b}}\""), "prefix: must be 1 to 64 characters"),
        (&format!("{url}stream_entries_max = 1"), "stream_entries_max: must be 1000 to"),
        (&format!("{url}digest_interval = \"2h\""), "digest_interval: must be between"),
        (
            &format!("{url}[[sources.redis.inboxes]]\nname = \"A\""),
            "inboxes[0].name: must be 1 to 64",
        ),
        (&format!("{url}[[sources.redis.inboxes]]"), "inboxes[0]: missing field `name`"),
        (
            &format!("{url}{}", "[[sources.redis.inboxes]]\nname = \"desk\"\n".repeat(2)),
            "inboxes[1].name: desk is the name of another inbox already",
        ),
        (
            &format!("{url}[[sources.redis.inboxes]]\nname = \"desk\"\nallow.reasons = []"),
            "inboxes[0].allow.reasons: must be 1 to 64 names",
        ),
        (
            &format!("{url}[[sources.redis.inboxes]]\nname = \"desk\"\nallow.actions = [\"ban\"]"),
            "inboxes[0].allow.actions",
        ),
        (
            &format!("{url}[[sources.redis.inboxes]]\nname = \"desk\"\nrole = \"x\""),
            "inboxes[0].role",
        ),
        (&format!("{url}{}", many_inboxes()), "inboxes: must be at most 16"),
        (&format!("{url}tls_key_file = \"/x\""), "tls_key_file: belongs to a rediss:// url"),
        (
            "url = \"rediss://u:hunter2@x\"\ntls_cert_file = \"/dev/null\"",
            "tls_key_file: belongs to tls_cert_file",
        ),
    ];
    for (text, message) in cases {
        let error = redis(text).unwrap_err();
        assert!(error.starts_with(&format!("sources.redis.{message}")), "{text}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
