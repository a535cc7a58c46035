//! A value that several threads use, one after the other.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// A value of one worker, which its thread and the main thread use in turn.
///
/// `T` may share parts with other values, by `Rc` and without locks, if those are used only while this one is locked
/// as well, the last drop included: that is what whoever makes one promises.
pub(crate) struct Guarded<T>(Mutex<T>);

// SAFETY: there is no way to the value but through the lock, and what shares parts with it is used only while it is
// held (see above). Nothing of `T` belongs to one thread: there are no thread-locals or handles of threads in it.
unsafe impl<T> Sync for Guarded<T> {}

// SAFETY: as above; whoever drops it is the last to use it.
unsafe impl<T> Send for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    /// Waits until nobody else uses it. A panic of whoever had it before leaves it usable: whoever catches that
    /// panic replaces the value.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
