//! `[store]`: where the daemon keeps what it knows.

use std::path::PathBuf;

use serde::Deserialize;
use system::ConfigError;

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The directory of the daemon's files; made if it is not there.
    pub directory: PathBuf,
    /// What says outside of it that there was a store.
    pub witness: Witness,
}

/// What says that there was a store, should its directory be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Witness {
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    directory: PathBuf,
    witness: Option<RawWitness>,
}

impl RawStore {
    pub(super) fn check(self) -> Result<Store, ConfigError> {
        if !self.directory.is_absolute() {
            return Err(ConfigError::new("store.directory", "must be an absolute path"));
        }
        let directory = self.directory;
        let witness = match self.witness {
            None => Witness::Beside,
            Some(RawWitness::Off(false)) => Witness::Off,
            Some(RawWitness::File(path)) if path.is_absolute() && !path.starts_with(&directory) => {
                Witness::File(path)
            }
            Some(_) => {
                let rule = "must be an absolute path outside store.directory, or false";
                return Err(ConfigError::new("store.witness", rule));
            }
        };
        Ok(Store { directory, witness })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const POLL: &str = "[poll]\nlisten = \"unix:/run/poll.sock\"\nsecret = \"0123456789abcdef\"\n";

    const TOKENS: &str = "[[api.tokens]]\nname = \"ops\"\nrole = \"operator\"\nhash = \
        \"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n";

    #[test]
    fn the_directory_is_required_and_absolute() {
        let store = "[store]\ndirectory = \"/var/lib/portcullis\"\n";
        let config = Config::parse(&format!("{POLL}{store}{TOKENS}"));
        let config = config.unwrap();
        assert_eq!(config.store.directory.to_str(), Some("/var/lib/portcullis"));
        assert_eq!(config.store.witness, Witness::Beside);
        for (value, witness) in
            [("false", Witness::Off), ("\"/w\"", Witness::File(PathBuf::from("/w")))]
        {
            let config = Config::parse(&format!("{POLL}{store}witness = {value}\n{TOKENS}"));
            assert_eq!(config.unwrap().store.witness, witness);
        }
        let cases = [
            ("", "config: missing field `store`"),
            ("[store]", "store: missing field `directory`"),
            ("[store]\ndirectory = \"\"", "store.directory: must be an absolute path"),
            ("[store]\ndirectory = \"here\"", "store.directory: must be an absolute path"),
            (
                "[store]\ndirectory = \"/x\"\nwitness = \"/x/y\"",
                "store.witness: must be an absolute path outside store.directory, or false",
            ),
            (
                "[store]\ndirectory = \"/x\"\nwitness = true",
                "store.witness: must be an absolute path",
            ),
            ("[store]\ndirectory = \"/x\"\nwitness = \"y\"", "store.witness: must be an absolute"),
            ("[store]\ndirectory = \"/x\"\nsync = false", "store.sync: unknown field `sync`"),
        ];
        for (more, message) in cases {
            let error = Config::parse(&format!("{POLL}{more}\n{TOKENS}")).unwrap_err().to_string();
            assert!(error.starts_with(message), "{more:?}: {error}");
        }
    }
}
