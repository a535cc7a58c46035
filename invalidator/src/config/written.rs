//! What a configuration file says, field by field, so that a changed file can be told from the one
//! that is in force. It holds hashes only: neither secrets nor names.

use std::collections::BTreeMap;

use audit::line::{Hash, Seal};
use model::violation::Violation;
use secrecy::{ExposeSecret, SecretString};
use system::parse_toml;
use toml::{Table, Value};

use super::Config;

/// Each field that is written, by its path, and the secrets that the file names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written(BTreeMap<String, Hash>);

impl Written {
    pub(super) fn of(text: &str, config: &Config) -> Result<Self, Violation> {
        let mut written = Self::default();
        written.add_table("", &parse_toml(text, "config")?);
        written.add_secrets(config);
        Ok(written)
    }

    fn add_table(&mut self, place: &str, table: &Table) {
        for (name, value) in table {
            let field = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
            match value {
                // A place where a secret is: one field, whichever way it is written.
                Value::Table(inner) if field == KEYS || !is_place(inner) => {
                    self.add_table(&field, inner)
                }
                value => self.add(field, format!("{value:?}").as_bytes()),
            }
        }
    }

    /// What stands in files and in the environment may change while the configuration does not.
    fn add_secrets(&mut self, config: &Config) {
        let mut add = |field: &str, secret: Option<&SecretString>| {
            if let Some(secret) = secret {
                let name = format!("{field}{SECRET}");
                self.add(name, secret.expose_secret().as_bytes());
            }
        };
        add("poll.secret", Some(&config.poll.secret));
        add("audit.key", config.audit.key.as_ref());
        config
            .sources
            .add_secrets(&mut |field, content| self.add(format!("{field}{SECRET}"), content));
    }

    fn add(&mut self, field: String, content: &[u8]) {
        self.0.insert(field, Seal::new(None).hash(content));
    }

    /// The fields that are not as they are in another file, in order.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let all = self.0.keys().chain(other.0.keys());
        let differing = all.filter(|field| self.0.get(*field) != other.0.get(*field));
        let mut fields: Vec<_> =
            differing.map(|field| field.trim_end_matches(SECRET).to_owned()).collect();
        fields.sort();
        fields.dedup();
        fields
    }

    /// Takes over from another file what it says of some fields.
    pub fn adopt(&mut self, other: &Self, fields: &[&str]) {
        for field in fields {
            match other.0.get(*field) {
                Some(hash) => drop(self.0.insert((*field).to_owned(), *hash)),
                None => drop(self.0.remove(*field)),
            }
        }
    }
}

/// Marks what a field leads to, beside what it says.
const SECRET: &str = "*";

/// A section that looks like the place of a secret, and is none.
const KEYS: &str = "keys";

/// `{ file = "…" }` or `{ env = "…" }`.
fn is_place(table: &Table) -> bool {
    table.len() == 1
        && table.iter().all(|(name, value)| matches!(&**name, "file" | "env") && value.is_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "[poll]\nlisten = \"unix:/run/x.sock\"\nsecret = \"0123456789abcdef\"\n\
        [store]\ndirectory = \"/x\"\n[[api.tokens]]\nname = \"ops\"\nrole = \"operator\"\nhash = \
        \"sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"\n";

    fn written(text: &str) -> Written {
        Written::of(text, &Config::parse(text).unwrap()).unwrap()
    }

    #[test]
    fn what_differs_is_named_by_its_field() {
        let before = written(CONFIG);
        assert!(before.differences(&written(&format!("# A comment.\n{CONFIG}"))).is_empty());
        let cases = [
            (CONFIG.replace("x.sock", "y.sock"), "poll.listen"),
            (CONFIG.replace("89abcdef\"\n[store]", "89abcdeX\"\n[store]"), "poll.secret"),
            (CONFIG.replace("\"ops\"", "\"other\""), "api.tokens"),
            (format!("{CONFIG}[log]\nlevel = \"debug\"\n"), "log.level"),
            (format!("{CONFIG}[keys]\nfile = \"/x\"\n"), "keys.file"),
            (format!("{CONFIG}[audit]\nfsync = \"always\"\n"), "audit.fsync"),
        ];
        for (text, field) in cases {
            assert_eq!(before.differences(&written(&text)), [field]);
            assert_eq!(written(&text).differences(&before), [field], "and back");
        }
    }

    #[test]
    fn a_secret_that_changes_where_it_is_kept_is_a_change_of_its_field() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let place = format!("secret = {{ file = \"{}\" }}", path.display());
        let text = CONFIG.replace("secret = \"0123456789abcdef\"", &place);
        std::fs::write(&path, "0123456789abcdef").unwrap();
        let before = written(&text);
        std::fs::write(&path, "fedcba9876543210").unwrap();
        assert_eq!(before.differences(&written(&text)), ["poll.secret"]);
        assert!(!format!("{before:?}").contains("0123456789abcdef\""));
    }

    #[test]
    fn what_was_taken_over_differs_no_more() {
        let mut before = written(CONFIG);
        let other = CONFIG.replace("\"ops\"", "\"other\"").replace("x.sock", "y.sock");
        before.adopt(&written(&other), &["api.tokens", "log.level"]);
        assert_eq!(before.differences(&written(&other)), ["poll.listen"]);
    }
}
