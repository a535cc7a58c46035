//! What a node stores and does nothing about: whoever publishes it must not be told that it is enforced.

use model::push::idle;
use model::subject::Kind;

use super::Config;

impl Config {
    /// What is said to be idle in polls.
    #[must_use]
    pub fn idle(&self) -> Vec<String> {
        let counts = |key: &Kind| self.limits.iter().any(|one| one.key == *key && !one.shadow);
        let all = [
            (idle::USERS, self.identity.user.is_empty()),
            (idle::SESSIONS, self.identity.session.is_empty()),
            (idle::BLOCKS, self.blocks_shadow),
            (idle::USER_BUCKETS, !counts(&Kind::User)),
            (idle::SESSION_BUCKETS, !counts(&Kind::Session)),
        ];
        all.into_iter().filter(|(_, is_idle)| *is_idle).map(|(name, _)| name.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a configuration with a limit of users that counts, and one of sessions that does not.
    fn idle(config: &str) -> Vec<String> {
        let limit = |name: &str, key: &str, shadow: bool| {
            format!(
                r#"{{"name": "{name}", "key": "{key}", "shadow": {shadow}, "max_tokens": 1,
                    "tokens_per_fill": 1, "fill_interval": "1s"}}"#
            )
        };
        let limits = [limit("u", "user", false), limit("s", "session", true)].join(", ");
        let text = format!(
            r#"{{"limits": [{limits}], "fail_policy": {{"slab_full": "deny", "contention": "deny"}}{config}}}"#
        );
        Config::parse(text.as_bytes()).unwrap().idle()
    }

    #[test]
    fn what_has_no_source_no_bucket_or_only_counts_is_idle() {
        let user = r#""user": [{"header": "a"}], "missing_user": "allow""#;
        let both = format!(r#", "identity": {{{user}, "session": [{{"cookie": "b"}}]}}"#);
        assert_eq!(idle(&both), ["session-buckets"]);
        let counted = format!(r#"{both}, "blocks": {{"shadow": true}}"#);
        assert_eq!(idle(&counted), ["blocks", "session-buckets"]);
        let shadow = format!(r#"{both}, "shadow": true"#);
        assert_eq!(idle(&shadow), ["blocks", "user-buckets", "session-buckets"]);
        let nothing = Config::parse(
            br#"{"limits": [{"name": "l", "key": "client_ip", "max_tokens": 1, "tokens_per_fill": 1,
                "fill_interval": "1s"}], "fail_policy": {"slab_full": "deny", "contention": "deny"}}"#,
        );
        let all = ["users", "sessions", "user-buckets", "session-buckets"];
        assert_eq!(nothing.unwrap().idle(), all);
    }
}
