//! `[store]`: where the daemon keeps what it knows.

use std::path::PathBuf;

use model::violation::Violation;
use serde::Deserialize;

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The directory of the daemon's files; made if it is not there.
    pub directory: PathBuf,
    /// What says outside of it that there was a store.
    pub witness: WitnessPlace,
}

/// What says that there was a store, should its directory be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum WitnessPlace {
    /// A file beside the directory, if that can be written.
    #[default]
    Beside,
    /// This file.
    File(PathBuf),
    /// Nothing: the directory is meant to be empty now and then.
    Off,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "must be an absolute path outside store.directory, or false")]
enum RawWitness {
    Off(bool),
    File(PathBuf),
}

/// `[store]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawStore {
    directory: PathBuf,
    witness: Option<RawWitness>,
}

impl RawStore {
    /// Checks it.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(self) -> Result<Settings, Violation> {
        if !self.directory.is_absolute() {
            return Err(Violation::new("store.directory", "must be an absolute path"));
        }
        let directory = self.directory;
        let witness = match self.witness {
            None => WitnessPlace::Beside,
            Some(RawWitness::Off(false)) => WitnessPlace::Off,
            Some(RawWitness::File(path)) if path.is_absolute() && !path.starts_with(&directory) => {
                WitnessPlace::File(path)
            }
            Some(_) => {
                let rule = "must be an absolute path outside store.directory, or false";
                return Err(Violation::new("store.witness", rule));
            }
        };
        Ok(Settings { directory, witness })
    }
}
