//! Who is calling: by a bearer token, or else by a client certificate.

use std::fmt;
use std::sync::Arc;

use model::bucket::Rate;
use model::time::UnixMicros;

use super::token::Digest;
use super::{Authority, Pace, Role};

/// Most tokens, and most client certificates' names.
pub const CALLERS_MAX: usize = 1_024;
/// How many names of one client certificate are looked at.
const PEER_NAMES_MAX: usize = 64;

/// Who sent a request. Handlers and middleware find it in the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name in the configuration; never a user's.
    pub name: Arc<str>,
    /// What the caller is to the daemon.
    pub role: Role,
    /// What events of the caller may do.
    pub authority: Arc<Authority>,
}

/// A caller, and how fast it may ask.
#[derive(Debug)]
pub struct Known {
    /// Who it is.
    pub caller: Caller,
    /// Its buckets, whichever way it shows who it is.
    pub pace: Pace,
}

/// What a token or a certificate's name grants.
#[derive(Debug)]
pub struct Grant {
    /// The caller's name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// How fast it may ask.
    pub rate: Rate,
    /// What its events may do.
    pub authority: Authority,
}

/// The client certificate of a connection, verified by TLS.
#[derive(Debug)]
pub struct Peer {
    names: Vec<String>,
    pub(super) not_after: UnixMicros,
}

impl Peer {
    /// Of a certificate with these names, valid until then. Names beyond the 64th do not count.
    #[must_use]
    pub fn new(mut names: Vec<String>, not_after: UnixMicros) -> Self {
        names.truncate(PEER_NAMES_MAX);
        Self { names, not_after }
    }
}

/// Why nobody knows who is calling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Neither token nor certificate.
    Missing,
    /// An `Authorization` header that is not one bearer token.
    Malformed,
    /// A token that is not in the configuration.
    Unknown,
    /// A token that was valid once.
    Expired,
    /// A certificate with no name that is in the configuration.
    UnknownCertificate,
    /// A certificate that has expired since the connection began.
    ExpiredCertificate,
}

impl Denied {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Missing,
        Self::Malformed,
        Self::Unknown,
        Self::Expired,
        Self::UnknownCertificate,
        Self::ExpiredCertificate,
    ];

    /// As a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::UnknownCertificate => "unknown_certificate",
            Self::ExpiredCertificate => "expired_certificate",
        }
    }

    /// The header or field at fault and its rule. Who presents an expired token had it once, and
    /// may know.
    #[must_use]
    pub fn rule(self) -> (&'static str, &'static str) {
        match self {
            Self::Missing => ("authorization", "must be a bearer token, and is missing"),
            Self::Malformed => ("authorization", "must be \"Bearer \" and one token, once"),
            Self::Unknown => ("authorization", "must be a token that the daemon knows"),
            Self::Expired => ("authorization", "must be a valid token: this one has expired"),
            Self::UnknownCertificate => {
                ("certificate", "must have a name that stands in the daemon's api.clients")
            }
            Self::ExpiredCertificate => ("certificate", "must be valid: it has expired"),
        }
    }
}

#[derive(Debug)]
struct TokenEntry {
    digest: Digest,
    not_after: Option<UnixMicros>,
    known: Arc<Known>,
}

/// Everybody who may call, as the configuration says at one time.
#[derive(Default)]
pub struct Access {
    tokens: Vec<TokenEntry>,
    /// By the name in the certificate, in the order of the configuration.
    clients: Vec<Arc<Known>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tokens, clients) = (self.tokens.len(), self.clients.len());
        f.debug_struct("Access").field("tokens", &tokens).field("clients", &clients).finish()
    }
}

impl Access {
    /// Lets the holder of a token in, until `not_after` if given. A caller may have several, so
    /// that one can be replaced by the next.
    ///
    /// # Errors
    /// The field and the rule that it breaks together with those before it.
    pub fn add_token(
        &mut self,
        grant: Grant,
        digest: Digest,
        not_after: Option<UnixMicros>,
    ) -> Result<(), (&'static str, String)> {
        if self.tokens.len() >= CALLERS_MAX {
            return Err(("hash", format!("there may be at most {CALLERS_MAX} tokens")));
        }
        if self.tokens.iter().any(|token| token.digest.is(&digest)) {
            return Err(("hash", "is the hash of another token already".to_owned()));
        }
        let known = self.known(grant)?;
        self.tokens.push(TokenEntry { digest, not_after, known });
        Ok(())
    }

    /// Lets in whoever has a client certificate with the grant's name.
    ///
    /// # Errors
    /// As [`Access::add_token`].
    pub fn add_client(&mut self, grant: Grant) -> Result<(), (&'static str, String)> {
        if self.clients.len() >= CALLERS_MAX {
            return Err(("name", format!("there may be at most {CALLERS_MAX} clients")));
        }
        if self.clients.iter().any(|known| *known.caller.name == *grant.name) {
            return Err(("name", format!("{} stands in another entry already", grant.name)));
        }
        let known = self.known(grant)?;
        self.clients.push(known);
        Ok(())
    }

    /// The caller of that name: one and the same for all its tokens and its certificate, or the
    /// name would say nothing in the audit log.
    fn known(&self, grant: Grant) -> Result<Arc<Known>, (&'static str, String)> {
        let Grant { name, role, rate, authority } = grant;
        let known = self.tokens.iter().map(|token| &token.known).chain(&self.clients);
        let Some(known) = known.into_iter().find(|known| *known.caller.name == *name) else {
            let caller = Caller { name: name.into(), role, authority: Arc::new(authority) };
            return Ok(Arc::new(Known { caller, pace: Pace::new(rate) }));
        };
        if known.caller.role != role {
            let rule = format!("must be {}, as in the other entry of {name}", known.caller.role);
            return Err(("role", rule));
        }
        if *known.caller.authority != authority {
            return Err(("allow", format!("must be the same in every entry of {name}")));
        }
        if known.pace.rate() != rate {
            return Err(("rate", format!("must be the same in every entry of {name}")));
        }
        Ok(Arc::clone(known))
    }

    /// The same callers, each with the buckets that it has in `before`, unless its rate is another
    /// one now: a configuration that is read again fills no bucket.
    #[must_use]
    pub fn continuing(mut self, before: &Self) -> Self {
        let known = |access: &Self| -> Vec<Arc<Known>> {
            let tokens = access.tokens.iter().map(|token| Arc::clone(&token.known));
            tokens.chain(access.clients.iter().map(Arc::clone)).collect()
        };
        let before = known(before);
        let continued = |known: &Arc<Known>| {
            let same = |old: &&Arc<Known>| {
                old.caller == known.caller && old.pace.rate() == known.pace.rate()
            };
            Arc::clone(before.iter().find(same).unwrap_or(known))
        };
        for token in &mut self.tokens {
            token.known = continued(&token.known);
        }
        for client in &mut self.clients {
            *client = continued(client);
        }
        self
    }

    /// What tells one set of callers from another: everything but the callers' rates, and nothing
    /// that lets anybody in.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut text = String::new();
        for TokenEntry { digest, not_after, known } in &self.tokens {
            let Caller { name, role, authority } = &known.caller;
            text.push_str(&format!("token {name} {role} {digest} {not_after:?} {authority:?}\n"));
        }
        for known in &self.clients {
            let Caller { name, role, authority } = &known.caller;
            text.push_str(&format!("client {name} {role} {authority:?}\n"));
        }
        text
    }

    /// How many tokens and certificates let somebody in.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tokens.len().saturating_add(self.clients.len())
    }

    /// Whether nobody may call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.clients.is_empty()
    }

    /// Who sends a request with these `Authorization` headers over a connection of this peer. A
    /// header counts before the certificate, also when it is wrong: what is shown must be right.
    ///
    /// # Errors
    /// Why nobody knows.
    pub fn identify<'a>(
        &self,
        mut authorizations: impl Iterator<Item = &'a [u8]>,
        peer: Option<&Peer>,
        now: UnixMicros,
    ) -> Result<Arc<Known>, Denied> {
        let Some(authorization) = authorizations.next() else {
            return self.by_certificate(peer.ok_or(Denied::Missing)?, now);
        };
        let presented = bearer(authorization).filter(|_| authorizations.next().is_none());
        let digest = Digest::of_presented(presented.ok_or(Denied::Malformed)?);
        let digest = digest.ok_or(Denied::Unknown)?;
        let position = digest.position(self.tokens.iter().map(|token| &token.digest));
        let token = position.and_then(|index| self.tokens.get(index)).ok_or(Denied::Unknown)?;
        if token.not_after.is_some_and(|until| now > until) {
            return Err(Denied::Expired);
        }
        Ok(Arc::clone(&token.known))
    }

    fn by_certificate(&self, peer: &Peer, now: UnixMicros) -> Result<Arc<Known>, Denied> {
        if now > peer.not_after {
            return Err(Denied::ExpiredCertificate);
        }
        let has = |known: &&Arc<Known>| peer.names.iter().any(|name| **name == *known.caller.name);
        self.clients.iter().find(has).map(Arc::clone).ok_or(Denied::UnknownCertificate)
    }
}

/// The token of `Bearer TOKEN`; the scheme's case does not matter (RFC 9110, 11.1).
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(6)?;
    let token = token.strip_prefix(b" ")?;
    scheme.eq_ignore_ascii_case(b"bearer").then(|| token.trim_ascii_start())
}
