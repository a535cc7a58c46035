//! Who may call at this moment.

use std::sync::{Arc, PoisonError, RwLock};

use super::Access;

/// Who may call now: replaced as a whole when the configuration is read again.
#[derive(Debug)]
pub struct Door(RwLock<Arc<Access>>);

impl Door {
    /// With the callers of the start.
    #[must_use]
    pub fn new(access: Access) -> Self {
        Self(RwLock::new(Arc::new(access)))
    }

    /// Who may call at this moment.
    #[must_use]
    pub fn access(&self) -> Arc<Access> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets these in from now on, and nobody else: also on connections that are open.
    pub fn replace(&self, access: Access) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(access.continuing(&current));
    }
}
