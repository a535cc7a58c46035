//! How many requests may read the disk at a time.

use std::sync::Arc;

use access::{Caller, Role};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most reads of the disk at once for operators, and as many for others: each may bring much into
/// memory. Further ones wait; their number is bounded by that of the requests under way.
const DISK_READS_MAX: usize = 2;

/// Who may read the disk now.
#[derive(Clone)]
pub(super) struct DiskReads([Arc<Semaphore>; 2]);

impl DiskReads {
    pub(super) fn new() -> Self {
        Self([(); 2].map(|()| Arc::new(Semaphore::new(DISK_READS_MAX))))
    }

    /// Waits until the caller may, and holds the place until it is dropped.
    pub(super) async fn turn(&self, caller: &Caller) -> Option<OwnedSemaphorePermit> {
        let [operators, others] = &self.0;
        let turns = if caller.role == Role::Operator { operators } else { others };
        // It is never closed.
        Arc::clone(turns).acquire_owned().await.ok()
    }
}
