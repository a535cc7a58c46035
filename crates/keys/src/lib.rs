//! The signing keys of partners, as operators keep them: one TOML file that is read, watched and
//! rotated.
//!
//! What a key is good for is decided in `signing`. No error, log line or `Debug` of this
//! module shows a secret.
//!
//! How keys get to nodes is the engine's affair. Begin with [`load`], and with [`rotate()`] for how a file is replaced.

mod crowd;
mod entries;
mod file;
mod rotate;
#[cfg(test)]
mod tests;

use std::path::Path;

use model::push::Message;
use model::violation::Violation;
use secrecy::ExposeSecret;
use signing::key::{KEYS_BYTES_MAX, Key, KeySet, SHARED_SECRET, Secret as KeySecret};
use system::{Draft, Place, Secret, Stamp, Stamps, read_private};

pub use crowd::crowded;
pub use entries::{Times, check_algorithms, entries, id_taken, names, times};
pub use file::{Entry, parse};
use file::{Raw, SecretEncoding};
pub use rotate::{Ended, Fresh, Rotated, Rotation, Scope};

/// The text of a keys file; `field` is where the configuration names it.
pub fn text(path: &Path, field: &str) -> Result<String, Violation> {
    let text = read_private(path, field)?;
    if text.is_empty() {
        // As a shell leaves it while the command before the `>` still runs.
        let rule = "is empty, as if it were being written; for no keys, write a comment";
        return Err(Violation::new(field, format!("{} {rule}", path.display())));
    }
    Ok(text)
}

/// The keys of partners.
///
/// # Errors
/// The first rule that is broken.
pub fn load(path: &Path, stamps: &mut Stamps) -> Result<KeySet, Violation> {
    let entries = file::raw(&text(path, "keys.file")?)?;
    let mut keys = KeySet::default();
    for (index, Raw { entry, secret, encoding }) in entries.into_iter().enumerate() {
        let field = format!("keys[{index}].secret");
        let mut secret = resolve(secret, &field, stamps)?;
        if encoding == SecretEncoding::Base64 {
            // Nodes of every version know it by the prefix.
            secret = KeySecret::from_base64(secret.expose())
                .ok_or_else(|| Violation::new(field, "must be Base64 of at least 16 bytes"))?;
        }
        let key = Key {
            id: entry.id,
            partner: entry.partner,
            secret,
            not_before: entry.not_before,
            not_after: entry.not_after,
            integrations: entry.integrations.into_iter().collect(),
            profile: entry.profile,
        };
        let rule = "must be at most 256 keys, no two with the same id";
        keys.add(key).map_err(|_| Violation::new("keys", rule))?;
    }
    if let Some((one, other)) = keys.shared_secret() {
        return Err(Violation::new("keys", format!("{one} and {other} {SHARED_SECRET}")));
    }
    if keys.to_wire(u64::MAX).encoded_len() > KEYS_BYTES_MAX {
        let rule = format!("must come to at most {KEYS_BYTES_MAX} bytes: nodes keep no more");
        return Err(Violation::new("keys", rule));
    }
    Ok(keys)
}

/// The secret itself, and a note of the file that it is read from.
pub fn resolve(secret: Secret, field: &str, stamps: &mut Stamps) -> Result<KeySecret, Violation> {
    let text = match secret {
        // A newline at its end is not part of it.
        Secret::Elsewhere(Place::File(path)) => {
            stamps.insert(path.clone(), Stamp::of(&path));
            read_private(&path, field)?.trim_end_matches(['\r', '\n']).to_owned()
        }
        other => other.resolve(field)?.expose_secret().to_owned(),
    };
    KeySecret::new(text.into_bytes()).ok_or_else(|| Violation::new(field, KeySecret::RULE))
}

/// The entries of a keys file, without fetching secrets that are elsewhere.
///
/// # Errors
/// If the file cannot be read, or breaks a rule.
pub fn list(path: &Path) -> Result<Vec<Entry>, Violation> {
    parse(&read_private(path, "file")?)
}

/// Rotates the keys in a file, which is replaced as a whole or not at all.
///
/// # Errors
/// If the file cannot be read or written, or the rotation does not fit what is in it.
pub fn rotate(
    path: &Path,
    rotation: &Rotation<'_>,
    fresh: &Fresh,
    now: model::time::UnixMicros,
) -> Result<Rotated, Violation> {
    // Before reading, so that nobody else rotates in between.
    let draft = Draft::begin(path)?;
    let text = match rotation.first && !path.exists() {
        true => String::new(),
        false => read_private(path, "file")?,
    };
    let rotated = rotation.apply(&text, fresh, now)?;
    draft.commit(&rotated.text).map_err(|cause| {
        Violation::new("file", format!("cannot write {}: {cause}", path.display()))
    })?;
    Ok(rotated)
}
