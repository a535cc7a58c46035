//! What becomes of a panic: it ends where Envoy has called, since it must not go on into Envoy.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use edge::host::Level;

use crate::abi;

/// Runs what a hook has to do. None if it has panicked, which is logged: whoever calls replaces what the panic may have
/// left half done.
pub(crate) fn shielded<T>(hook: &str, run: impl FnOnce() -> T) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(value) => Some(value),
        Err(panic) => {
            let text = format!("portcullis: panicked in {hook}: {}", said(&*panic));
            abi::log(Level::Error, &text);
            None
        }
    }
}

/// What a panic has said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

#[cfg(test)]
pub(crate) mod testing {
    use std::cell::Cell;

    thread_local! {
        static PANICS: Cell<bool> = const { Cell::new(false) };
    }

    /// The next tick, answer or callback about a stream on this thread panics, in the midst of it.
    pub(crate) fn panic_at_next() {
        PANICS.set(true);
    }

    pub(crate) fn panic_if_asked() {
        assert!(!PANICS.take(), "as asked");
    }
}
