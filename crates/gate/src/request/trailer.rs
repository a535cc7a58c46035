//! Header lines that come after a body.
//!
//! Nothing is decided by them: they come when a request that needs no body is long with the upstream.
//! But some servers put them among the headers, once the body is there. So a line that means something to
//! the gate, or that only the gate may write, must not come in at the back.

use signing::headers::is_alias;

use crate::config::{Config, IdSource};

/// Whether a trailer, by its name in lower case, could be taken for a header that says who the request is
/// from: one that only the gate may set, one that names somebody, or one that a limit counts.
#[must_use]
pub fn is_forged_trailer(name: &[u8], config: &Config) -> bool {
    let is_same = |known: &str| name == known.as_bytes() || is_alias(name, known);
    let identity = &config.identity;
    let mut sources = identity.user.iter().chain(&identity.session).chain(&identity.partner);
    let is_source = |source: &IdSource| match source {
        IdSource::Header(header) => is_same(header),
        IdSource::Cookie(_) => name == b"cookie",
        IdSource::JwtClaim { .. } | IdSource::ClientIp => false,
    };
    let mut counted = config.limits.iter().filter_map(|limit| limit.key.header_name());
    signing::is_reserved(name) || sources.any(is_source) || counted.any(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_who_the_request_is_from_is_no_trailer() {
        let config = Config::parse(
            br#"{
                "identity": {
                    "user": [{"header": "x-user-id"}],
                    "session": [{"cookie": "sid"}],
                    "partner": [{"header": "x-partner"}],
                    "missing_user": "allow"
                },
                "limits": [{"name": "l", "key": {"header": "x-api-key"}, "max_tokens": 1,
                    "tokens_per_fill": 1, "fill_interval": "1s"}],
                "fail_policy": {"slab_full": "deny", "contention": "deny"}
            }"#,
        )
        .unwrap();
        for forged in [
            "x-user-id",
            "x_user-id",
            "cookie",
            "x-partner",
            "x-api-key",
            "x_api_key",
            "x-portcullis-partner",
            "x_portcullis_key_id",
        ] {
            assert!(is_forged_trailer(forged.as_bytes(), &config), "{forged}");
        }
        for other in ["grpc-status", "x-amz-checksum-crc32", "x-user-ids", "authorization", ""] {
            assert!(!is_forged_trailer(other.as_bytes(), &config), "{other}");
        }
        let config = Config::parse(
            br#"{"limits": [{"name": "l", "key": "client_ip", "max_tokens": 1, "tokens_per_fill": 1,
                "fill_interval": "1s"}], "fail_policy": {"slab_full": "deny", "contention": "deny"}}"#,
        )
        .unwrap();
        assert!(is_forged_trailer(b"x-portcullis-partner", &config));
        assert!(!is_forged_trailer(b"cookie", &config));
    }
}
