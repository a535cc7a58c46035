//! Calls about a configuration and about Envoy as a whole.

use std::ffi::c_void;
use std::ptr::NonNull;
use std::sync::OnceLock;

use edge::host::{HttpCall, Level};

use super::declared::*;
use super::system::find;
use super::tickets::Ticket;

/// Writes a line to Envoy's log. Any thread.
pub(crate) fn log(level: Level, text: &str) {
    let level = match level {
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    };
    // SAFETY: numbers, and a text that lives until Envoy has copied it.
    unsafe {
        if envoy_dynamic_module_callback_log_enabled(level) {
            envoy_dynamic_module_callback_log(level, Text::of(text.as_bytes()));
        }
    }
}

/// How many workers Envoy has. Main thread, from the first configuration on.
pub(crate) fn concurrency() -> usize {
    // SAFETY: no arguments; hooks about configurations, the only callers, are called on the main thread.
    let workers = unsafe { envoy_dynamic_module_callback_get_concurrency() };
    usize::try_from(workers).unwrap_or(1).max(1)
}

/// Whether Envoy only looks whether its configuration is valid. Main thread.
pub(crate) fn is_validation() -> bool {
    // SAFETY: as above.
    unsafe { envoy_dynamic_module_callback_is_validation_mode() }
}

type IncrementByConfig = unsafe extern "C" fn(*mut c_void, usize, *const Text, usize, u64) -> u32;

/// What only newer Envoys have.
#[derive(Clone, Copy)]
pub(crate) struct Newer {
    /// Since 1.39: adds to a counter without a stream.
    increment_by_config: Option<IncrementByConfig>,
    /// Whether it is 1.40 or newer.
    pub(crate) is_second: bool,
}

impl Newer {
    /// Whether counters can be added to without a stream.
    pub(crate) fn counts_without_stream(self) -> bool {
        self.increment_by_config.is_some()
    }

    /// Looks once.
    pub(crate) fn get() -> Self {
        static FOUND: OnceLock<Newer> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let add = find(c"envoy_dynamic_module_callback_http_filter_config_increment_counter");
            let second = find(c"envoy_dynamic_module_callback_http_get_timing_info");
            // SAFETY: this is its signature in every Envoy that has it.
            let increment_by_config = add.map(|found| unsafe {
                std::mem::transmute::<*mut c_void, IncrementByConfig>(found)
            });
            Self { increment_by_config, is_second: second.is_some() }
        })
    }
}

/// One filter configuration, on Envoy's side. Main thread, between `config_new` and `config_destroy`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Config(pub(crate) NonNull<c_void>);

// SAFETY: it is a number that is called with on the main thread alone; other threads only keep it.
unsafe impl Send for Config {}
// SAFETY: as above.
unsafe impl Sync for Config {}

impl Config {
    /// Defines a counter; with a label if one is given. During `config_new` alone: none after it.
    pub(crate) fn define_counter(self, name: &str, label: Option<&str>) -> Option<usize> {
        self.define(envoy_dynamic_module_callback_http_filter_config_define_counter, name, label)
    }

    /// Defines a histogram; otherwise as above.
    pub(crate) fn define_histogram(self, name: &str, label: Option<&str>) -> Option<usize> {
        self.define(envoy_dynamic_module_callback_http_filter_config_define_histogram, name, label)
    }

    fn define(
        self,
        define: unsafe extern "C" fn(*mut c_void, Text, *const Text, usize, *mut usize) -> u32,
        name: &str,
        label: Option<&str>,
    ) -> Option<usize> {
        let label = label.map(|label| Text::of(label.as_bytes()));
        let (labels, mut id) = (label.as_slice(), 0);
        let name = Text::of(name.as_bytes());
        // SAFETY: the configuration is alive (see the type); names and place live until the call returns.
        let result =
            unsafe { define(self.0.as_ptr(), name, labels.as_ptr(), labels.len(), &raw mut id) };
        (result == SUCCESS).then_some(id)
    }

    /// Adds to a counter without a stream. False if this Envoy cannot.
    pub(crate) fn increment(self, id: usize, label: Option<&str>, by: u64) -> bool {
        let Some(increment) = Newer::get().increment_by_config else { return false };
        let label = label.map(|label| Text::of(label.as_bytes()));
        let labels = label.as_slice();
        // SAFETY: as above.
        unsafe { increment(self.0.as_ptr(), id, labels.as_ptr(), labels.len(), by) };
        true
    }

    /// Sends an HTTP request; the number comes back with its answer. None if it could not be sent.
    pub(crate) fn call(self, call: &HttpCall<'_>) -> Option<u64> {
        let HttpCall { cluster, headers, body, timeout } = *call;
        let headers: Vec<_> = headers.iter().map(|(name, value)| Line::of(name, value)).collect();
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let mut id = 0;
        // SAFETY: the configuration is alive; what it is handed lives until the call returns.
        let result = unsafe {
            envoy_dynamic_module_callback_http_filter_config_http_callout(
                self.0.as_ptr(),
                &raw mut id,
                Text::of(cluster.as_bytes()),
                headers.as_ptr(),
                headers.len(),
                Text::of(body),
                timeout_ms,
            )
        };
        (result == SUCCESS).then_some(id)
    }

    /// By which any thread can ask for a call on the main thread.
    pub(crate) fn ticket(self) -> Option<Ticket> {
        // SAFETY: the configuration is alive.
        let made = unsafe {
            envoy_dynamic_module_callback_http_filter_config_scheduler_new(self.0.as_ptr())
        };
        NonNull::new(made).map(Ticket)
    }
}
