//! The daemon at a glance, as `/v1/status` shows it.

use serde::Serialize;

use crate::audit::AuditStatus;
use crate::engine::Status;
use crate::store::StoreStatus;

/// What each part says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// Sources, nodes, keys.
    #[serde(flatten)]
    pub engine: Status,
    /// What is kept on the disk.
    pub store: StoreStatus,
    /// What is noted for whoever asks later.
    pub audit: AuditStatus,
}

impl Overview {
    /// Why the daemon is not ready, in words; nothing if it is.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let sources = self.engine.sources.iter().filter(|source| source.state != "connected");
        let sources = sources.map(|source| format!("source {} is {}", source.name, source.state));
        let audit = self.audit.failing.iter().map(|cause| format!("audit: {cause}"));
        sources.chain(self.store.trouble()).chain(audit).collect()
    }
}
