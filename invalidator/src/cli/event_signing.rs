//! Signing events on their way to the daemon, or to be published elsewhere.

use std::path::PathBuf;

use clap::Args;
use events::Document;
use events::signature::{MEMBER, mac};
use serde_json::{Value, json};
use signing::key::{ALGORITHM, KeyId, Secret};
use system::wall_clock;

use super::{Failure, input};
use crate::intake::canonical;

/// Largest file of a secret, in bytes: the longest secret, and a newline.
const SECRET_FILE_BYTES_MAX: u64 = 1026;

/// With which key to sign; without one, events stay as they are.
#[derive(Args, Debug)]
pub(super) struct Signing {
    /// Sign with the key of this id, one of the daemon's events.keys_file
    #[arg(long, value_name = "ID", value_parser = key_id, requires = "sign_secret_file")]
    sign_key_id: Option<KeyId>,
    /// The file that holds the key's secret; a newline at its end does not count
    #[arg(long, value_name = "FILE", requires = "sign_key_id")]
    sign_secret_file: Option<PathBuf>,
}

fn key_id(text: &str) -> Result<KeyId, &'static str> {
    KeyId::parse(text).ok_or(KeyId::RULE)
}

/// A key that is at hand.
pub(super) struct Signer {
    id: KeyId,
    secret: Secret,
}

impl Signing {
    /// The key, if there is to be one.
    pub(super) fn signer(&self) -> Result<Option<Signer>, Failure> {
        let (Some(id), Some(file)) = (&self.sign_key_id, &self.sign_secret_file) else {
            return Ok(None);
        };
        let name = file.display().to_string();
        let mut bytes = input::read(&name, SECRET_FILE_BYTES_MAX)?;
        while bytes.last().is_some_and(|byte| b"\r\n".contains(byte)) {
            bytes.pop();
        }
        let wrong = || Failure::Usage(format!("{name}: the secret {}", Secret::RULE));
        let secret = Secret::new(bytes).ok_or_else(wrong)?;
        Ok(Some(Signer { id: id.clone(), secret }))
    }
}

impl Signer {
    /// The event with a signature, in the place of any that it has.
    pub(super) fn sign(&self, event: &str) -> Result<String, Failure> {
        let broken = |error| Failure::Usage(format!("cannot sign the event: {error}"));
        let document = Document::read(event.as_bytes()).map_err(broken)?;
        let content = canonical(&document).map_err(broken)?;
        let no_mac = || Failure::Usage("cannot sign with this secret".to_owned());
        let mac = mac(&self.secret, &content).ok_or_else(no_mac)?;
        let seconds = wall_clock().0 / 1_000_000;
        let sig = json!({ "algo": ALGORITHM, "kid": self.id.as_str(), "ts": seconds, "mac": mac });
        let mut members = document.members().clone();
        members.insert(MEMBER.to_owned(), sig);
        Ok(Value::from(members).to_string())
    }
}

/// The event, signed if there is a key.
pub(super) fn signed(signer: Option<&Signer>, event: String) -> Result<String, Failure> {
    match signer {
        Some(signer) => signer.sign(&event),
        None => Ok(event),
    }
}
