//! Who a request is from: the configured sources, in order, until one of them names somebody.
//!
//! A client can send a header or a cookie twice, and the upstream may read either. So every value
//! counts: whoever is blocked under one of them is blocked, and each of them has its bucket.

mod headers;

pub use headers::{Ambiguous, Headers};

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use percent_encoding::percent_decode;

use crate::config::Source;
use crate::subject::Kind;

/// The most different ids of one sort in one request.
pub const IDENTITIES_MAX: usize = 4;

/// What can be asked about a request. Each question may cost a crossing into the proxy, so each is
/// asked only when the answer is needed.
pub trait Request {
    /// Every header line.
    fn headers(&self) -> &Headers;

    /// A claim of the verified token, as text.
    fn jwt_claim(&self, payload: &str, claim: &str) -> Option<Vec<u8>>;

    /// The address the request came from, with or without a port.
    fn client_address(&self) -> Option<Vec<u8>>;
}

/// Somebody, found in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    pub(crate) id: Vec<u8>,
}

/// More different ids than [`IDENTITIES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyIdentities;

/// Everybody that the first source which names anybody names. An empty id names nobody.
pub(crate) fn identify(
    request: &impl Request,
    kind: &Kind,
    sources: &[Source],
) -> Result<Vec<Found>, TooManyIdentities> {
    for source in sources {
        let found = match source {
            Source::JwtClaim { payload, claim } => {
                distinct(kind, request.jwt_claim(payload, claim).map(Cow::Owned))
            }
            Source::Header(name) => distinct(kind, request.headers().all(name).map(Cow::Borrowed)),
            Source::Cookie(name) => {
                let lines = request.headers().all("cookie");
                distinct(kind, lines.flat_map(|line| cookies(line, name)))
            }
            // An address is never taken for a user's id, whatever the id looks like.
            Source::ClientIp => distinct(&Kind::ClientIp, client_ip(request).map(Cow::Owned)),
        }?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn distinct<'a>(
    kind: &Kind,
    ids: impl IntoIterator<Item = Cow<'a, [u8]>>,
) -> Result<Vec<Found>, TooManyIdentities> {
    let mut found: Vec<Found> = Vec::new();
    for id in ids {
        if id.is_empty() || found.iter().any(|known| known.id == *id) {
            continue;
        }
        if found.len() >= IDENTITIES_MAX {
            return Err(TooManyIdentities);
        }
        found.push(Found { kind: kind.clone(), id: id.into_owned() });
    }
    Ok(found)
}

/// The client's address without its port, in the one canonical spelling.
pub(crate) fn client_ip(request: &impl Request) -> Option<Vec<u8>> {
    client_address(request).map(|ip| ip.to_string().into_bytes())
}

/// The client's address; an IPv4 address in IPv6 is an IPv4 address.
pub(crate) fn client_address(request: &impl Request) -> Option<IpAddr> {
    let address = request.client_address()?;
    let text = std::str::from_utf8(&address).ok()?;
    let with_port = text.parse::<SocketAddr>().map(|address| address.ip());
    let ip = with_port.or_else(|_| text.parse::<IpAddr>()).ok()?;
    Some(ip.to_canonical())
}

/// The values of the cookies of this name (RFC 6265, section 4.2.1), as most upstreams read them:
/// without white space and quotes around them, and percent-decoded.
fn cookies<'a>(line: &'a [u8], name: &'a str) -> impl Iterator<Item = Cow<'a, [u8]>> {
    line.split(|byte| *byte == b';').filter_map(move |pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = pair.split_at_checked(equals)?;
        if key.trim_ascii() != name.as_bytes() {
            return None;
        }
        let value = value.strip_prefix(b"=")?.trim_ascii();
        let unquoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        Some(Cow::from(percent_decode(unquoted.unwrap_or(value))))
    })
}

#[cfg(test)]
pub(crate) mod testing {
    //! A request that is only what a test says it is.

    use std::collections::HashMap;

    use super::{Headers, Request};

    #[derive(Clone, Default)]
    pub(crate) struct Plain {
        pub(crate) headers: Headers,
        pub(crate) claims: HashMap<String, Vec<u8>>,
        pub(crate) address: Option<Vec<u8>>,
    }

    impl Plain {
        pub(crate) fn get(path: &str) -> Self {
            Self::default().with(":method", "GET").with(":path", path)
        }

        /// With this header, and no other of its name.
        pub(crate) fn with(mut self, header: &str, value: &str) -> Self {
            let others = self.headers.lines().filter(|(name, _)| *name != header.as_bytes());
            self.headers = others.collect();
            self.and(header, value)
        }

        /// With one more header.
        pub(crate) fn and(mut self, header: &str, value: &str) -> Self {
            let one = (header.as_bytes(), value.as_bytes());
            self.headers = self.headers.lines().chain([one]).collect();
            self
        }

        pub(crate) fn from(mut self, address: &str) -> Self {
            self.address = Some(address.into());
            self
        }

        pub(crate) fn claiming(mut self, claim: &str, value: &str) -> Self {
            self.claims.insert(claim.into(), value.into());
            self
        }
    }

    impl Request for Plain {
        fn headers(&self) -> &Headers {
            &self.headers
        }

        fn jwt_claim(&self, _payload: &str, claim: &str) -> Option<Vec<u8>> {
            self.claims.get(claim).cloned()
        }

        fn client_address(&self) -> Option<Vec<u8>> {
            self.address.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Plain;
    use super::*;

    fn users(request: &Plain, sources: &[Source]) -> Vec<(Kind, String)> {
        let found = identify(request, &Kind::User, sources).unwrap().into_iter();
        found.map(|found| (found.kind, String::from_utf8(found.id).unwrap())).collect()
    }

    fn sources() -> [Source; 4] {
        [
            Source::JwtClaim { payload: "p".into(), claim: "sub".into() },
            Source::Header("x-user-id".into()),
            Source::Cookie("uid".into()),
            Source::ClientIp,
        ]
    }

    #[test]
    fn the_first_source_that_names_somebody_wins() {
        let mut request = Plain::get("/").from("192.0.2.1:4711");
        assert_eq!(users(&request, &sources()), [(Kind::ClientIp, "192.0.2.1".into())]);
        request = request.with("cookie", "a=1; uid=\"carol\"");
        assert_eq!(users(&request, &sources()), [(Kind::User, "carol".into())]);
        request = request.with("x-user-id", "bob");
        assert_eq!(users(&request, &sources()), [(Kind::User, "bob".into())]);
        request = request.claiming("sub", "alice");
        assert_eq!(users(&request, &sources()), [(Kind::User, "alice".into())]);
    }

    #[test]
    fn everybody_whom_a_source_names_counts() {
        let request = Plain::get("/")
            .and("x-user-id", "")
            .and("x-user-id", "alice")
            .and("x-user-id", "bob")
            .and("x-user-id", "alice");
        let both = [(Kind::User, "alice".into()), (Kind::User, "bob".into())];
        assert_eq!(users(&request, &sources()), both);
        let request = Plain::get("/").and("cookie", "a=1").and("cookie", "uid=alice; uid = %62ob");
        assert_eq!(users(&request, &sources()), both);
        let crowd = (0..5).fold(Plain::get("/"), |r, i| r.and("x-user-id", &format!("u{i}")));
        assert_eq!(identify(&crowd, &Kind::User, &sources()), Err(TooManyIdentities));
    }

    #[test]
    fn an_empty_id_names_nobody_and_a_long_one_somebody() {
        let sources = [Source::Header("x-user-id".into())];
        assert_eq!(users(&Plain::get("/"), &sources), []);
        assert_eq!(users(&Plain::get("/").with("x-user-id", ""), &sources), []);
        let long = "x".repeat(10_000);
        let request = Plain::get("/").with("x-user-id", &long);
        assert_eq!(users(&request, &sources), [(Kind::User, long)]);
    }

    #[test]
    fn cookies_match_by_their_whole_name() {
        let read = |line: &'static str| -> Vec<_> { cookies(line.as_bytes(), "uid").collect() };
        assert_eq!(read("xuid=1; uid=2"), [&b"2"[..]]);
        assert_eq!(read("uidx=1;uid="), [&b""[..]]);
        assert!(read("uid").is_empty());
        assert_eq!(read("uid=a=b;=;;"), [&b"a=b"[..]]);
        assert_eq!(read("uid = \"a b\" "), [&b"a b"[..]]);
        assert_eq!(read("uid=%zz%61%"), [&b"%zza%"[..]]);
    }

    #[test]
    fn addresses_have_one_spelling() {
        let ip = |text: &str| client_ip(&Plain::default().from(text)).map(String::from_utf8);
        assert_eq!(ip("10.0.0.1:80"), Some(Ok("10.0.0.1".into())));
        assert_eq!(ip("10.0.0.1"), Some(Ok("10.0.0.1".into())));
        assert_eq!(ip("[2001:DB8::1]:443"), Some(Ok("2001:db8::1".into())));
        assert_eq!(ip("[::ffff:10.0.0.1]:80"), Some(Ok("10.0.0.1".into())));
        assert_eq!(ip("/tmp/socket"), None);
    }
}
