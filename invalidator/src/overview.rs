//! The daemon at a glance, as `/v1/status` shows it.

use audit::AuditStatus;
use engine::Status;
use serde::Serialize;
use store::StoreStatus;

use crate::source::redis::{Agreement, State};

/// What each part says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// Sources, nodes, keys.
    #[serde(flatten)]
    pub engine: Status,
    /// Whether Redis holds the events that are known here; nothing without Redis, and while that
    /// cannot be said.
    pub redis: Option<Agreement>,
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
        let redis = self.redis_in_words(State::Differs);
        let full = self.engine.is_full.then(|| {
            "limits.subjects_max: there is no room for a block of another user or session"
                .to_owned()
        });
        sources.chain(self.store.trouble()).chain(audit).chain(redis).chain(full).collect()
    }

    /// What is under way and no cause for worry, in words.
    #[must_use]
    pub fn settling(&self) -> Vec<String> {
        self.redis_in_words(State::Settling).into_iter().collect()
    }

    fn redis_in_words(&self, state: State) -> Option<String> {
        let agreement = self.redis.as_ref().filter(|redis| redis.state == state)?;
        let since = agreement.since.as_deref().unwrap_or("now");
        Some(match state {
            State::Same => return None,
            State::Settling => format!("what source redis holds is settling since {since}"),
            State::Differs => format!("source redis differs from what is known here since {since}"),
        })
    }
}
