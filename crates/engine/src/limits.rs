//! Bounds of what the engine keeps in memory.

/// At least 1 each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Users and sessions with a state.
    pub subjects_max: usize,
    /// Changes kept for nodes that are behind; who is further behind gets a snapshot.
    pub log_entries_max: usize,
    /// Event ids remembered to recognize duplicates.
    pub event_ids_max: usize,
    /// Envoy processes known at once.
    pub nodes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            subjects_max: 1_000_000,
            log_entries_max: 65_536,
            event_ids_max: 262_144,
            nodes_max: 256,
        }
    }
}
