//! By which one thread asks for a call on another.

use std::ffi::c_void;
use std::ptr::NonNull;

use super::declared::*;

/// Asks for calls of `config_scheduled` on the main thread. Without effect once the configuration is gone.
pub(crate) struct Ticket(pub(super) NonNull<c_void>);

// SAFETY: Envoy lets any thread commit and delete.
unsafe impl Send for Ticket {}
// SAFETY: as above; it is deleted by the last who has it.
unsafe impl Sync for Ticket {}

impl Ticket {
    pub(crate) fn commit(&self) {
        // SAFETY: it lives until it is dropped, and Envoy lets any thread commit.
        unsafe {
            envoy_dynamic_module_callback_http_filter_config_scheduler_commit(self.0.as_ptr(), 0);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // SAFETY: made by Envoy, and deleted once.
        unsafe {
            envoy_dynamic_module_callback_http_filter_config_scheduler_delete(self.0.as_ptr());
        }
    }
}

/// Asks for a call of `filter_scheduled` about one stream, on its worker. Without effect once the stream is gone.
pub(crate) struct Wake(pub(super) NonNull<c_void>);

// SAFETY: Envoy lets any thread commit and delete.
unsafe impl Send for Wake {}

impl Wake {
    /// Main thread: workers do not stop meanwhile.
    pub(crate) fn commit(&self) {
        // SAFETY: it lives until it is dropped, and Envoy lets any thread commit.
        unsafe { envoy_dynamic_module_callback_http_filter_scheduler_commit(self.0.as_ptr(), 0) };
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        // SAFETY: made by Envoy, and deleted once.
        unsafe { envoy_dynamic_module_callback_http_filter_scheduler_delete(self.0.as_ptr()) };
    }
}
