//! Who a request is from: the configured sources, in order, until one of them names somebody.

use std::net::{IpAddr, SocketAddr};

use crate::config::Source;
use crate::subject::{Kind, SUBJECT_ID_BYTES_MAX};

/// What can be asked about a request. Each question may cost a crossing into the proxy, so each is
/// asked only when the answer is needed.
pub trait Request {
    /// The value of a header (or pseudo-header such as `:path`), by lower-case name.
    fn header(&self, name: &str) -> Option<Vec<u8>>;

    /// A claim of the verified token, as text.
    fn jwt_claim(&self, payload: &str, claim: &str) -> Option<Vec<u8>>;

    /// The address the request came from, with or without a port.
    fn client_address(&self) -> Option<Vec<u8>>;

    /// Every header line, so that one that stands twice is noticed.
    fn headers(&self) -> Headers;
}

/// Every header line of a request, pseudo-headers included; names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(Vec<u8>, Vec<u8>)>);

impl Headers {
    /// Every value of a header.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.0.iter().filter(move |(known, _)| known == name.as_bytes());
        lines.map(|(_, value)| value.as_slice())
    }

    /// The value of a header that stands at most once; none if it is not there.
    ///
    /// # Errors
    /// [`Ambiguous`].
    pub fn one<'a>(&'a self, name: &'a str) -> Result<Option<&'a [u8]>, Ambiguous> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(Ambiguous) } else { Ok(first) }
    }
}

/// A header stands twice, and two readers could disagree about which one counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// Somebody, found in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    pub(crate) id: Vec<u8>,
}

/// The first source that names somebody. An id that no event could name (empty, or longer than
/// [`SUBJECT_ID_BYTES_MAX`]) names nobody.
pub(crate) fn identify(request: &impl Request, kind: &Kind, sources: &[Source]) -> Option<Found> {
    sources.iter().find_map(|source| {
        let (kind, id) = match source {
            Source::JwtClaim { payload, claim } => {
                (kind.clone(), request.jwt_claim(payload, claim))
            }
            Source::Header(name) => (kind.clone(), request.header(name)),
            Source::Cookie(name) => {
                let header = request.header("cookie")?;
                (kind.clone(), cookie(&header, name).map(<[u8]>::to_vec))
            }
            // An address is never taken for a user's id, whatever the id looks like.
            Source::ClientIp => (Kind::ClientIp, client_ip(request)),
        };
        let id = id?;
        (1..=SUBJECT_ID_BYTES_MAX).contains(&id.len()).then_some(Found { kind, id })
    })
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

/// The value of the first cookie of this name (RFC 6265, section 4.2.1), without quotes.
fn cookie<'a>(header: &'a [u8], name: &str) -> Option<&'a [u8]> {
    header.split(|byte| *byte == b';').find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        let unquoted = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        Some(unquoted.unwrap_or(value))
    })
}

#[cfg(test)]
pub(crate) mod testing {
    //! A request that is only what a test says it is.

    use std::collections::HashMap;

    use super::{Headers, Request};

    #[derive(Clone, Default)]
    pub(crate) struct Plain {
        pub(crate) headers: HashMap<String, Vec<u8>>,
        pub(crate) claims: HashMap<String, Vec<u8>>,
        pub(crate) address: Option<Vec<u8>>,
    }

    impl Plain {
        pub(crate) fn get(path: &str) -> Self {
            Self::default().with(":method", "GET").with(":path", path)
        }

        pub(crate) fn with(mut self, header: &str, value: &str) -> Self {
            self.headers.insert(header.into(), value.into());
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
        fn header(&self, name: &str) -> Option<Vec<u8>> {
            self.headers.get(name).cloned()
        }

        fn jwt_claim(&self, _payload: &str, claim: &str) -> Option<Vec<u8>> {
            self.claims.get(claim).cloned()
        }

        fn client_address(&self) -> Option<Vec<u8>> {
            self.address.clone()
        }

        fn headers(&self) -> Headers {
            let lines = self.headers.iter();
            Headers(lines.map(|(name, value)| (name.clone().into(), value.clone())).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Plain;
    use super::*;

    fn user(request: &Plain, sources: &[Source]) -> Option<(Kind, String)> {
        let found = identify(request, &Kind::User, sources)?;
        Some((found.kind, String::from_utf8(found.id).unwrap()))
    }

    #[test]
    fn the_first_source_that_names_somebody_wins() {
        let sources = [
            Source::JwtClaim { payload: "p".into(), claim: "sub".into() },
            Source::Header("x-user-id".into()),
            Source::Cookie("uid".into()),
            Source::ClientIp,
        ];
        let mut request = Plain::get("/").from("192.0.2.1:4711");
        assert_eq!(user(&request, &sources), Some((Kind::ClientIp, "192.0.2.1".into())));
        request = request.with("cookie", "a=1; uid=\"carol\"; uid=mallory");
        assert_eq!(user(&request, &sources), Some((Kind::User, "carol".into())));
        request = request.with("x-user-id", "bob");
        assert_eq!(user(&request, &sources), Some((Kind::User, "bob".into())));
        request = request.claiming("sub", "alice");
        assert_eq!(user(&request, &sources), Some((Kind::User, "alice".into())));
    }

    #[test]
    fn an_id_that_no_event_could_name_names_nobody() {
        let sources = [Source::Header("x-user-id".into())];
        assert_eq!(user(&Plain::get("/"), &sources), None);
        assert_eq!(user(&Plain::get("/").with("x-user-id", ""), &sources), None);
        let long = "x".repeat(SUBJECT_ID_BYTES_MAX + 1);
        assert_eq!(user(&Plain::get("/").with("x-user-id", &long), &sources), None);
    }

    #[test]
    fn cookies_match_by_their_whole_name() {
        assert_eq!(cookie(b"xuid=1; uid=2", "uid"), Some(&b"2"[..]));
        assert_eq!(cookie(b"uidx=1;uid=", "uid"), Some(&b""[..]));
        assert_eq!(cookie(b"uid", "uid"), None);
        assert_eq!(cookie(b"uid=a=b", "uid"), Some(&b"a=b"[..]));
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
