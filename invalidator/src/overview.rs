//! The daemon at a glance, as `/v1/status` shows it.

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use audit::AuditStatus;
use engine::Status;
use store::StoreStatus;

use crate::relay::RelayStatus;

/// What each part says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// Sources, nodes, keys.
    #[serde(flatten)]
    pub engine: Status,
    /// What sources say of themselves, each as a member of its name.
    #[serde(flatten)]
    pub reports: Reports,
    /// Limits across the fleet.
    pub fleet_limits: RelayStatus,
    /// What is kept on the disk.
    pub store: StoreStatus,
    /// What is noted for whoever asks later.
    pub audit: AuditStatus,
}

/// What a source adds to `/v1/status` and `/readyz`.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The member of its name in the status; nothing while there is nothing to say.
    pub status: Option<Box<RawValue>>,
    /// Why the daemon is not ready, in words: beside a source that is not connected, which needs no words here.
    pub not_ready: Option<String>,
    /// What is under way and no cause for worry, in words.
    pub settling: Option<String>,
}

/// What sources say of themselves, by their names.
#[derive(Clone, Debug, Default)]
pub struct Reports(pub Vec<(&'static str, Report)>);

impl Serialize for Reports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, report)| (name, &report.status)))
    }
}

impl Overview {
    /// Why the daemon is not ready, in words; nothing if it is.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let sources = self.engine.sources.iter().filter(|source| source.state != "connected");
        let sources = sources.map(|source| format!("source {} is {}", source.name, source.state));
        let audit = self.audit.failing.iter().map(|cause| format!("audit: {cause}"));
        let reports = self.reports.0.iter().filter_map(|(_, report)| report.not_ready.clone());
        let full = self.engine.is_full.then(|| {
            "limits.subjects_max: there is no room for a block of another user or session"
                .to_owned()
        });
        sources.chain(self.store.trouble()).chain(audit).chain(reports).chain(full).collect()
    }

    /// What is under way and no cause for worry, in words.
    #[must_use]
    pub fn settling(&self) -> Vec<String> {
        self.reports.0.iter().filter_map(|(_, report)| report.settling.clone()).collect()
    }
}
