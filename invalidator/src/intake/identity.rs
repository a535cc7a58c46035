//! What an event is beside its id, and who has published it for certain.

use engine::{Identity, Publisher};
use events::signature::{MEMBER, Signature};
use events::{Document, Event, EventError};
use model::name::Name;
use model::state::Lane;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::{SourceKind, signature};

/// Of a caller of the API, by the name of its token or certificate.
#[must_use]
pub fn caller(name: &str) -> Publisher {
    of("caller", name)
}

/// Of whoever may write to an inbox, by its name.
#[must_use]
pub fn inbox(name: &Name) -> Publisher {
    of("inbox", name.as_str())
}

/// Of whoever has signed an event: the publisher that the key may sign for, or else the key itself.
pub(super) fn signer(publisher: Option<&Name>, signature: &Signature) -> Publisher {
    match publisher {
        Some(publisher) => of("publisher", publisher.as_str()),
        None => of("key", signature.key().as_str()),
    }
}

fn of(kind: &str, name: &str) -> Publisher {
    let digest = Sha256::new().chain_update(kind).chain_update([0]).chain_update(name).finalize();
    // 0 is for nobody.
    Publisher(first_eight(&digest).max(1))
}

/// The source of a kept event, with who has published it if that is certain: both have to be known
/// after a restart.
#[must_use]
pub fn kept_source(source: &SourceKind, publisher: Publisher) -> Box<str> {
    let name = source.name;
    match publisher.0 {
        0 => name.into(),
        hash => format!("{name} {hash:016x}").into(),
    }
}

/// The name of the source, and who has published, out of what [`kept_source`] has made.
pub(super) fn of_kept(source: &str) -> (&str, Publisher) {
    let (name, publisher) = source.split_once(' ').unwrap_or((source, ""));
    (name, Publisher(u64::from_str_radix(publisher, 16).unwrap_or_default()))
}

/// What the event is; `json` are the bytes that are stored of it.
pub(super) fn of_event(
    event: &Event,
    document: &Document,
    json: &[u8],
    publisher: Publisher,
) -> Result<Identity, EventError> {
    let mut said = document.members().clone();
    said.remove(MEMBER);
    // A retry may say anew when it occurred, but if spans of time count from then, it is another event.
    let spans = said.get("payload").and_then(|payload| payload.get("for")).is_some();
    if !spans {
        said.remove("occurred_at");
    }
    let canonical = signature::form_of(&said)?;
    // In the canonical form, whole numbers beyond 2^53 are not told apart.
    let sequence = said.get("sequence").and_then(serde_json::Value::as_u64);
    let content =
        Sha256::new().chain_update(canonical).chain_update(sequence.unwrap_or(0).to_le_bytes());
    let content = first_eight(&content.finalize());
    let lane = event.publisher.as_ref().map(|name| Lane::of(Some(name)));
    let claim = lane.map(|lane| (lane, event.occurred_at));
    Ok(Identity { content, bytes: hash(json), publisher, claim })
}

/// A hash of an event's bytes: the first 64 bits of their SHA-1, as scripts in Redis know it.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    first_eight(&<Sha1 as sha1::Digest>::digest(bytes))
}

fn first_eight(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |hash, byte| (hash << 8) | u64::from(*byte))
}
