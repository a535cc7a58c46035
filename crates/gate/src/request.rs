//! Who a request is from: the configured sources, in order, until one of them names somebody.
//!
//! A client can send a header or a cookie twice, and the upstream may read either. So every value
//! counts: whoever is blocked under one of them is blocked, and each of them has its bucket. Where
//! readers could find somebody whom the gate does not see, the request is at fault.

mod cookie;
mod ids;
mod trailer;

pub(crate) use ids::{Fault, Found, Identified};
pub use trailer::is_forged_trailer;

use std::net::{IpAddr, SocketAddr};

use model::id;
use model::subject::Kind;
use signing::headers::{Headers, is_alias};

use crate::claim::Claim;
use crate::config::{IdSource, Identity};
use crate::network::Networks;
use ids::Ids;

/// The most different ids of one sort in one request.
pub const IDENTITIES_MAX: usize = 4;

/// The most that are looked at where a request may have more, because the rule against them is only
/// counted. Each costs as much as a request of its own.
pub const IDENTITIES_SEEN_MAX: usize = 16;

/// What can be asked about a request. Each question may cost a crossing into the proxy, so each is
/// asked only when the answer is needed.
pub trait Request {
    /// Every header line.
    fn headers(&self) -> &Headers;

    /// A claim of the verified token.
    fn jwt_claim(&self, payload: &str, claim: &str) -> Claim;

    /// The address the request came from, with or without a port.
    fn client_address(&self) -> Option<Vec<u8>>;
}

/// Everybody that the first source which names anybody names. An empty id names nobody.
pub(crate) fn identify(
    request: &impl Request,
    kind: &Kind,
    sources: &[IdSource],
    rules: &Identity,
) -> Identified {
    let mut ids = Ids::default();
    for source in sources {
        match source {
            IdSource::JwtClaim { payload, claim } => match request.jwt_claim(payload, claim) {
                Claim::Id(id) => ids.add(kind, &id),
                Claim::Unusable if !rules.ignores_unusable_claims => {
                    ids.fault(Fault::UnusableClaim);
                }
                Claim::Unusable | Claim::Absent => {}
            },
            IdSource::Header(name) => {
                in_header(request.headers(), name, rules.keeps_commas, kind, &mut ids);
            }
            IdSource::Cookie(name) => {
                for line in request.headers().all("cookie") {
                    cookie::read(line, name, |reading| in_cookie(reading, kind, &mut ids));
                }
            }
            // An address is never taken for a user's id, whatever the id looks like.
            IdSource::ClientIp => {
                if let Some(address) = client_network(request, rules.client_ip) {
                    ids.add(&Kind::ClientIp, &address);
                }
            }
        }
        if ids.has_any() {
            break;
        }
    }
    ids.identified()
}

/// The client's network, without a port, in the one canonical spelling.
pub(crate) fn client_network(request: &impl Request, networks: Networks) -> Option<Vec<u8>> {
    client_address(request).map(|ip| networks.of(ip).to_string().into_bytes())
}

/// The ids in a header. An upstream may take a comma for the end of one, since that is how several
/// lines are joined to one; and a name with `_` for this one.
fn in_header(headers: &Headers, name: &str, keeps_commas: bool, kind: &Kind, ids: &mut Ids) {
    let mut lines = 0_usize;
    for (known, value) in headers.lines() {
        if known == name.as_bytes() {
            lines = lines.saturating_add(1);
        } else if is_alias(known, name) {
            ids.fault(Fault::Ambiguous);
        } else {
            continue;
        }
        ids.add_clean(kind, value);
        if !keeps_commas && value.contains(&b',') {
            ids.fault(Fault::Ambiguous);
            value.split(|byte| *byte == b',').for_each(|one| ids.add_clean(kind, one));
        }
    }
    // Joined, two lines would be another id.
    if keeps_commas && lines > 1 {
        ids.fault(Fault::Ambiguous);
    }
}

fn in_cookie(reading: cookie::Reading<'_>, kind: &Kind, ids: &mut Ids) {
    match reading {
        cookie::Reading::Plain(value) => ids.add_clean(kind, value),
        cookie::Reading::Decoded(value) => ids.add_decoded(kind, &value),
        cookie::Reading::Ambiguous => ids.fault(Fault::Ambiguous),
    }
}

/// The values of a header that a limit is about. They are nobody's id, so they may look like anything.
pub(crate) fn in_limit_header(request: &impl Request, kind: &Kind, name: &str) -> Identified {
    let mut ids = Ids::default();
    for (known, value) in request.headers().lines() {
        if known == name.as_bytes() || is_alias(known, name) {
            ids.add(kind, id::trim(value));
        }
    }
    ids.identified()
}

/// The client's address; an IPv4 address in IPv6 is an IPv4 address.
pub(crate) fn client_address(request: &impl Request) -> Option<IpAddr> {
    let address = request.client_address()?;
    let text = std::str::from_utf8(&address).ok()?;
    let with_port = text.parse::<SocketAddr>().map(|address| address.ip());
    let ip = with_port.or_else(|_| text.parse::<IpAddr>()).ok()?;
    Some(ip.to_canonical())
}

#[cfg(test)]
pub(crate) mod testing {
    //! A request that is only what a test says it is.

    use std::collections::HashMap;

    use super::{Headers, Request};
    use crate::claim::Claim;

    #[derive(Clone, Default)]
    pub(crate) struct Plain {
        pub(crate) headers: Headers,
        pub(crate) claims: HashMap<String, Claim>,
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

        pub(crate) fn claiming(self, claim: &str, value: &str) -> Self {
            self.with_claim(claim, Claim::Id(value.into()))
        }

        pub(crate) fn with_claim(mut self, name: &str, claim: Claim) -> Self {
            self.claims.insert(name.into(), claim);
            self
        }
    }

    impl Request for Plain {
        fn headers(&self) -> &Headers {
            &self.headers
        }

        fn jwt_claim(&self, _payload: &str, claim: &str) -> Claim {
            self.claims.get(claim).cloned().unwrap_or(Claim::Absent)
        }

        fn client_address(&self) -> Option<Vec<u8>> {
            self.address.clone()
        }
    }
}

#[cfg(test)]
mod tests;
