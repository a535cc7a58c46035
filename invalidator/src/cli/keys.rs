//! `portcullis keys`: lists and rotates the signing keys in a keys file. The daemon need not run;
//! if it does, it notices.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use keys::{self, Entry, Fresh, Rotated, Rotation, Scope};
use model::name::Name;
use model::time::{DURATION_RULE, parse_duration};
use secrecy::ExposeSecret;
use serde_json::json;
use signing::Profile;
use system::wall_clock;

use super::input::profile;
use super::{Failure, show};
use crate::config::Config;

#[derive(Args, Debug)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Show ids, partners and validity, never secrets
    List(List),
    /// Make a new key for a partner, valid at once, and end the ones before it after a grace period
    #[command(after_help = "The new secret is printed once, and stands in the file. Comments and \
                            other keys stay as they are. A daemon that watches the file gives \
                            the new set to every Envoy within about a second; its status shows \
                            which have it.")]
    Rotate(Rotate),
}

/// Where the keys are.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Place {
    /// The keys file
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The daemon's configuration, which names the keys file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Place {
    fn path(self) -> Result<PathBuf, Failure> {
        match (self.file, self.config) {
            (Some(file), _) => Ok(file),
            (None, Some(config)) => Ok(Config::keys_file_of(&config)?),
            (None, None) => Err(Failure::Usage("--file or --config is required".into())),
        }
    }
}

#[derive(Args, Debug)]
struct List {
    #[command(flatten)]
    place: Place,
    /// Only the keys of this partner
    #[arg(long, value_parser = name)]
    partner: Option<Name>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct Rotate {
    /// Whose key
    #[arg(value_parser = name)]
    partner: Name,
    /// How long the keys before it stay valid, such as 24h; 0s ends them now, for a stolen secret
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    grace: Duration,
    #[command(flatten)]
    place: Place,
    /// Rotate only the keys for exactly these integrations [default: what all valid keys have]
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', value_parser = name)]
    integrations: Vec<Name>,
    /// Rotate only the keys for all integrations
    #[arg(long, conflicts_with = "integrations")]
    all_integrations: bool,
    /// Rotate only the keys for this profile, or make the first key for it [default: what all have]
    #[arg(long, value_parser = profile)]
    profile: Option<Profile>,
    /// Make the first key of a partner that has none; also makes the file if there is none
    #[arg(long)]
    first: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn name(text: &str) -> Result<Name, &'static str> {
    Name::parse(text).ok_or(Name::RULE)
}

fn duration(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text).ok_or(DURATION_RULE)
}

pub(super) fn run(keys: Keys) -> Result<bool, Failure> {
    match keys.command {
        KeysCommand::List(list) => self::list(list),
        KeysCommand::Rotate(rotate) => self::rotate(rotate),
    }
}

fn list(list: List) -> Result<bool, Failure> {
    let now = wall_clock();
    let entries = keys::list(&list.place.path()?)?;
    let wanted = |entry: &&Entry| list.partner.as_ref().is_none_or(|name| *name == entry.partner);
    let shown = entries.iter().filter(wanted).map(|entry| {
        json!({
            "id": entry.id.as_str(),
            "partner": entry.partner.as_str(),
            "state": entry.state(now).as_str(),
            "not_before": entry.not_before.map(|at| at.to_string()),
            "not_after": entry.not_after.map(|at| at.to_string()),
            "integrations": entry.integrations.iter().map(Name::as_str).collect::<Vec<_>>(),
            "profile": entry.profile.map(Profile::as_str),
        })
    });
    let shown: Vec<_> = shown.collect();
    let text = if list.json { format!("{}\n", json!(shown)) } else { show::keys(&shown) };
    io::stdout().write_all(text.as_bytes())?;
    Ok(true)
}

fn rotate(rotate: Rotate) -> Result<bool, Failure> {
    let scope = match (rotate.all_integrations, rotate.integrations.is_empty()) {
        (true, _) => Scope::All,
        (false, true) => Scope::AsBefore,
        (false, false) => Scope::Only(BTreeSet::from_iter(rotate.integrations)),
    };
    let Rotate { partner, grace, first, profile, .. } = rotate;
    let rotation = Rotation { partner: &partner, scope, grace, first, profile };
    let path = rotate.place.path()?;
    let now = wall_clock();
    let fresh = Fresh::generate(&partner, now).map_err(io::Error::from)?;
    let rotated = keys::rotate(&path, &rotation, &fresh, now)?;
    let text = if rotate.json { as_json(&fresh, &rotated) } else { in_words(&fresh, &rotated) };
    io::stdout().write_all(text.as_bytes())?;
    Ok(true)
}

fn as_json(fresh: &Fresh, rotated: &Rotated) -> String {
    let ended = rotated.ended.iter();
    let ended = ended.map(|key| json!({ "id": key.id, "not_after": key.not_after.to_string() }));
    let json = json!({
        "id": fresh.id,
        "secret": fresh.secret.expose_secret(),
        "ended": ended.collect::<Vec<_>>(),
        "pending": rotated.pending,
    });
    format!("{json}\n")
}

fn in_words(fresh: &Fresh, rotated: &Rotated) -> String {
    let mut text = format!("id      {}\nsecret  {}\n", fresh.id, fresh.secret.expose_secret());
    for key in &rotated.ended {
        text.push_str(&format!("ends    {} at {}\n", key.id, key.not_after));
    }
    for id in &rotated.pending {
        text.push_str(&format!("kept    {id}, which is not valid yet\n"));
    }
    text
}
