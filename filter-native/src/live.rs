//! A configuration of Envoy's for as long as it lives.

use std::sync::{Mutex, PoisonError};

use crate::abi::Config;

/// A configuration of Envoy's. Whichever thread lets go of it last ends it; until then the main thread may call about
/// it, and not after.
pub(crate) struct Live {
    config: Config,
    is_gone: Mutex<bool>,
}

impl Live {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, is_gone: Mutex::new(false) }
    }

    /// Calls about it; none if it is gone. Main thread.
    pub(crate) fn call<T>(&self, call: impl FnOnce(Config) -> T) -> Option<T> {
        let is_gone = self.is_gone.lock().unwrap_or_else(PoisonError::into_inner);
        (!*is_gone).then(|| call(self.config))
    }

    /// It is gone. Waits for a call that is being made.
    pub(crate) fn end(&self) {
        *self.is_gone.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// Whether it is this one.
    pub(crate) fn is(&self, config: Config) -> bool {
        self.config == config
    }

    /// What Envoy knows it by, to tell it from others.
    pub(crate) fn id(&self) -> Config {
        self.config
    }
}
