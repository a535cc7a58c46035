//! `[store]`: where the daemon keeps what it knows.

use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The directory of the daemon's files; made if it is not there.
    pub directory: PathBuf,
    /// The file outside of it that says that there was a store; nothing for one beside the
    /// directory, if that can be written.
    pub witness: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    directory: PathBuf,
    witness: Option<PathBuf>,
}

impl RawStore {
    pub(super) fn check(self) -> Result<Store, ConfigError> {
        if !self.directory.is_absolute() {
            return Err(ConfigError::new("store.directory", "must be an absolute path"));
        }
        let outside = |path: &PathBuf| path.is_absolute() && !path.starts_with(&self.directory);
        if self.witness.as_ref().is_some_and(|path| !outside(path)) {
            let rule = "must be an absolute path outside store.directory";
            return Err(ConfigError::new("store.witness", rule));
        }
        Ok(Store { directory: self.directory, witness: self.witness })
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    const POLL: &str = "[poll]\nlisten = \"unix:/run/poll.sock\"\nsecret = \"0123456789abcdef\"\n";

    const TOKENS: &str = "[[api.tokens]]\nname = \"ops\"\nrole = \"operator\"\nhash = \
        \"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n";

    #[test]
    fn the_directory_is_required_and_absolute() {
        let store = "[store]\ndirectory = \"/var/lib/portcullis\"\n";
        let config = Config::parse(&format!("{POLL}{store}{TOKENS}"));
        assert_eq!(config.unwrap().store.directory.to_str(), Some("/var/lib/portcullis"));
        let cases = [
            ("", "config: missing field `store`"),
            ("[store]", "store: missing field `directory`"),
            ("[store]\ndirectory = \"\"", "store.directory: must be an absolute path"),
            ("[store]\ndirectory = \"here\"", "store.directory: must be an absolute path"),
            (
                "[store]\ndirectory = \"/x\"\nwitness = \"/x/y\"",
                "store.witness: must be an absolute path outside store.directory",
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
