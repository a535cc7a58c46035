//! `[fleet]`: how this daemon is called among others that are on the same Redis, and the key that all of them share.

use std::path::PathBuf;

use model::push::{NODE_NAME_RULE, is_node_name};
use model::violation::Violation;
use serde::Deserialize;

use crate::fence::Called;

/// The name of a daemon on a host whose name breaks the rule.
const NAMELESS: &str = "unnamed";

/// `[fleet]` as written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFleet {
    name: Option<String>,
    region: Option<String>,
    key_file: Option<PathBuf>,
}

impl RawFleet {
    /// The name, and the file of the key if there is one: that is read when the daemon starts.
    pub(super) fn check(self) -> Result<(Called, Option<PathBuf>), Violation> {
        let good = |field: &str, word: Option<String>| match word {
            Some(word) if !is_node_name(&word) => Err(Violation::new(field, NODE_NAME_RULE)),
            word => Ok(word),
        };
        let name = good("fleet.name", self.name)?.unwrap_or_else(host_name);
        let region = good("fleet.region", self.region)?;
        Ok((Called { name, region }, self.key_file))
    }
}

fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Some(name).filter(|name| is_node_name(name)).unwrap_or_else(|| NAMELESS.to_owned())
}
