//! `[store]`: where the daemon keeps what it knows.

use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The directory of the daemon's files; made if it is not there.
    pub directory: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    directory: PathBuf,
}

impl RawStore {
    pub(super) fn check(self) -> Result<Store, ConfigError> {
        if !self.directory.is_absolute() {
            return Err(ConfigError::new("store.directory", "must be an absolute path"));
        }
        Ok(Store { directory: self.directory })
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
            ("[store]\ndirectory = \"/x\"\nsync = false", "store.sync: unknown field `sync`"),
        ];
        for (more, message) in cases {
            let error = Config::parse(&format!("{POLL}{more}\n{TOKENS}")).unwrap_err().to_string();
            assert!(error.starts_with(message), "{more:?}: {error}");
        }
    }
}
