//! Rotation: a new key for a partner, and an end for the ones before it. It edits the text of the
//! file, so that comments and other entries stay as they are.

use std::collections::BTreeSet;
use std::time::Duration;

use base16ct::HexDisplay;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::name::Name;
use model::time::UnixMicros;
use model::violation::Violation;
use secrecy::{ExposeSecret, SecretString};
use signing::{Profile, Validity};
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

use super::file::{Entry, parse};

/// Bytes of a new secret before they are written as text: as many as the hash has.
const SECRET_BYTES: usize = 32;
/// Random bytes in a new key's id.
const ID_BYTES: usize = 4;
/// Longest part of the partner's name in a new key's id, so that the whole fits.
const ID_PARTNER_BYTES_MAX: usize = 40;

/// Which integrations a rotation is about: the new key is for these, and only keys for exactly
/// these are ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those that all the partner's valid keys have; for a first key, all.
    AsBefore,
    /// All there are and will be.
    All,
    /// These.
    Only(BTreeSet<Name>),
}

/// What to do.
#[derive(Debug)]
pub struct Rotation<'a> {
    /// Whose key.
    pub partner: &'a Name,
    /// Which of the partner's keys.
    pub scope: Scope,
    /// How long the keys before it stay valid.
    pub grace: Duration,
    /// Whether the partner has no key yet.
    pub first: bool,
    /// Only keys of this profile, which the new key is of, too; none: the one that all have.
    pub profile: Option<Profile>,
}

/// A new key.
#[derive(Debug)]
pub struct Fresh {
    /// Its id.
    pub id: String,
    /// Its secret, as the partner gets it.
    pub secret: SecretString,
}

/// A key that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its id.
    pub id: String,
    /// When.
    pub not_after: UnixMicros,
}

/// What the rotation came to.
#[derive(Debug)]
pub struct Rotated {
    /// The new content of the file.
    pub text: String,
    /// The keys that end, at the time that stands in the file now.
    pub ended: Vec<Ended>,
    /// Keys of the partner that are not valid yet, and were left alone.
    pub pending: Vec<String>,
}

impl Fresh {
    /// A random key: `<partner>-<date>-<random>`, and a secret in the form that every profile and
    /// every partner's library takes.
    ///
    /// # Errors
    /// If the system has no randomness to give.
    pub fn generate(partner: &Name, now: UnixMicros) -> Result<Self, getrandom::Error> {
        let (mut secret, mut random) = ([0; SECRET_BYTES], [0; ID_BYTES]);
        getrandom::fill(&mut secret)?;
        getrandom::fill(&mut random)?;
        let short: String = partner.as_str().chars().take(ID_PARTNER_BYTES_MAX).collect();
        let date: String = now.to_string().chars().take(10).filter(|c| *c != '-').collect();
        let id = format!("{short}-{date}-{:x}", HexDisplay(&random));
        Ok(Self { id, secret: format!("whsec_{}", STANDARD.encode(secret)).into() })
    }
}

impl Rotation<'_> {
    /// Puts the new key into the text, and ends the ones before it. A key that ends earlier anyway
    /// keeps its end.
    ///
    /// # Errors
    /// If the text is no valid keys file, or the rotation does not fit what is in it.
    pub fn apply(&self, text: &str, fresh: &Fresh, now: UnixMicros) -> Result<Rotated, Violation> {
        let entries = parse(text)?;
        if entries.iter().any(|entry| entry.id.as_str() == fresh.id) {
            return Err(Violation::new("id", "a key with the new id exists: try again"));
        }
        let own = |entry: &&Entry| entry.partner == *self.partner;
        let live: Vec<&Entry> = entries
            .iter()
            .filter(own)
            .filter(|entry| entry.state(now) == Validity::Active)
            .collect();
        let known = entries.iter().any(|entry| own(&entry));
        let integrations = self.integrations(&live, known)?;
        let profile = self.profile(&live, &integrations)?;
        let grace_end = whole_seconds(now.saturating_add(self.grace));
        let mut document: DocumentMut =
            text.parse().map_err(|_| Violation::new("file", "must be TOML that can be edited"))?;
        let tables = tables(&mut document)?;
        let mut ended = Vec::new();
        for (entry, table) in entries.iter().zip(tables.iter_mut()) {
            let replaced = own(&entry) && entry.state(now) == Validity::Active;
            if !replaced || entry.integrations != integrations || entry.profile != profile {
                continue;
            }
            let begin = entry.not_before.unwrap_or_default();
            let not_after = entry.not_after.map_or(grace_end, |end| end.min(grace_end)).max(begin);
            if entry.not_after != Some(not_after) {
                set_end(table, not_after);
            }
            ended.push(Ended { id: entry.id.to_string(), not_after });
        }
        tables.push(fresh.table(self.partner, &integrations, profile));
        let pending = entries.iter().filter(own).filter(|e| e.state(now) == Validity::Pending);
        let pending = pending.map(|entry| entry.id.to_string()).collect();
        let text = document.to_string();
        parse(&text)?;
        Ok(Rotated { text, ended, pending })
    }

    /// The integrations of the new key; none means all.
    fn integrations(&self, live: &[&Entry], known: bool) -> Result<BTreeSet<Name>, Violation> {
        let refuse = |rule| Err(Violation::new("partner", rule));
        let partner = self.partner;
        match (self.first, known) {
            (true, true) => {
                return refuse(format!("{partner} has keys already: leave out --first"));
            }
            (false, false) => {
                let rule = format!("no key of {partner} in the file; --first makes its first one");
                return refuse(rule);
            }
            _ => {}
        }
        match &self.scope {
            Scope::All => return Ok(BTreeSet::new()),
            Scope::Only(names) => return Ok(names.clone()),
            Scope::AsBefore if self.first => return Ok(BTreeSet::new()),
            Scope::AsBefore => {}
        }
        let of_profile = |entry: &&&Entry| self.profile.is_none() || entry.profile == self.profile;
        let scopes = live.iter().filter(of_profile).map(|entry| &entry.integrations);
        let scopes: BTreeSet<_> = scopes.collect();
        let choose = "say which with --integrations or --all-integrations";
        match (scopes.first(), scopes.len()) {
            (Some(scope), 1) => Ok((*scope).clone()),
            (None, _) => refuse(format!("{partner} has no valid key to follow: {choose}")),
            _ => refuse(format!("{partner}'s keys are for different integrations: {choose}")),
        }
    }
}

impl Rotation<'_> {
    /// The profile of the new key; none where the keys before it say none either.
    fn profile(
        &self,
        live: &[&Entry],
        integrations: &BTreeSet<Name>,
    ) -> Result<Option<Profile>, Violation> {
        if self.profile.is_some() {
            return Ok(self.profile);
        }
        let same = live.iter().filter(|entry| entry.integrations == *integrations);
        let profiles: BTreeSet<_> = same.map(|entry| entry.profile).collect();
        if profiles.len() > 1 {
            let rule = format!("{}'s keys are for different profiles: say which", self.partner);
            return Err(Violation::new("partner", format!("{rule} with --profile")));
        }
        Ok(profiles.first().copied().flatten())
    }
}

impl Fresh {
    fn table(
        &self,
        partner: &Name,
        integrations: &BTreeSet<Name>,
        profile: Option<Profile>,
    ) -> Table {
        let mut table = Table::new();
        table.decor_mut().set_prefix("\n");
        table.insert("id", value(&self.id));
        table.insert("partner", value(partner.as_str()));
        table.insert("secret", value(self.secret.expose_secret()));
        if let Some(profile) = profile {
            table.insert("profile", value(profile.as_str()));
        }
        if !integrations.is_empty() {
            let names: Array = integrations.iter().map(Name::as_str).collect();
            table.insert("integrations", value(names));
        }
        table
    }
}

/// The `[[keys]]` of a document, which has none when it is empty.
fn tables(document: &mut DocumentMut) -> Result<&mut ArrayOfTables, Violation> {
    let item = document.entry("keys").or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    let rule = "must be written as [[keys]] tables to be edited";
    item.as_array_of_tables_mut().ok_or_else(|| Violation::new("keys", rule))
}

/// The second that a time is in, so that it is short to read, and not later.
fn whole_seconds(at: UnixMicros) -> UnixMicros {
    UnixMicros(at.0 - at.0 % 1_000_000)
}

/// Sets the end of a key, and keeps what stands around it.
fn set_end(table: &mut Table, not_after: UnixMicros) {
    let mut end = Value::from(not_after.to_string());
    if let Some(old) = table.get("not_after").and_then(Item::as_value) {
        *end.decor_mut() = old.decor().clone();
    }
    table.insert("not_after", Item::Value(end));
}
