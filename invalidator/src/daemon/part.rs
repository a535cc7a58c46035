//! The parts of a running daemon, each with what ends it. They are added as they are started, and stopped in the order
//! of their stages.

use std::pin::Pin;

use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::error;

/// When a part stops: the stages follow each other, and each is over before the next begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Nothing is changed any more.
    Reload,
    /// No new events come in. Publishers under way still get their acknowledgements.
    Publishers,
    /// The nodes are let go, now that they have nothing more to acknowledge.
    Nodes,
    /// Nobody looks for what is gone or has changed.
    Lookouts,
    /// What waits to be written is written.
    Store,
    /// The end is the last line of the audit log.
    Audit,
    /// The socket's file goes last: so long nobody else may listen there.
    Socket,
}

/// A part of the daemon.
struct Part {
    name: &'static str,
    stage: Stage,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Every part that is running.
#[derive(Default)]
pub(crate) struct Parts(Vec<Part>);

impl Parts {
    /// A task that ends by itself some time after the token is cancelled: it has a deadline of its own.
    pub(super) fn told(
        &mut self,
        (stage, name): (Stage, &'static str),
        token: &CancellationToken,
        task: JoinHandle<()>,
    ) {
        let token = token.clone();
        self.add((stage, name), async move {
            token.cancel();
            ended(name, task).await;
        });
    }

    /// A task that may be ended wherever it is.
    pub(super) fn aborted(&mut self, (stage, name): (Stage, &'static str), task: JoinHandle<()>) {
        self.add((stage, name), async move { task.abort() });
    }

    /// Something that is closed, which blocks for no longer than a deadline of its own.
    pub(super) fn closed(
        &mut self,
        (stage, name): (Stage, &'static str),
        close: impl FnOnce() + Send + 'static,
    ) {
        self.add((stage, name), async move { ended(name, spawn_blocking(close)).await });
    }

    /// Something that is given up by being dropped.
    pub(super) fn held(
        &mut self,
        (stage, name): (Stage, &'static str),
        thing: impl Send + 'static,
    ) {
        self.add((stage, name), async move { drop(thing) });
    }

    fn add(
        &mut self,
        (stage, name): (Stage, &'static str),
        stop: impl Future<Output = ()> + Send + 'static,
    ) {
        self.0.push(Part { name, stage, stop: Box::pin(stop) });
    }

    /// Stops all parts, one after the other: stage by stage, and within a stage in the order in which they were
    /// started.
    pub(crate) async fn stop(mut self) {
        self.0.sort_by_key(|part| part.stage);
        for Part { name, stop, .. } in self.0 {
            tracing::trace!(part = name, "stopping");
            stop.await;
        }
    }
}

async fn ended(name: &'static str, task: JoinHandle<()>) {
    if let Err(cause) = task.await {
        error!(part = name, %cause, "a part of the daemon did not end as it should");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn parts_stop_by_their_stages_and_then_as_they_were_started() {
        let stopped = Arc::new(Mutex::new(Vec::new()));
        let note = |name: &'static str| {
            let stopped = Arc::clone(&stopped);
            move || stopped.lock().unwrap().push(name)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut parts = Parts::default();
            let token = CancellationToken::new();
            parts.closed((Stage::Store, "store"), note("store"));
            let (told, noted) = (token.clone(), note("api"));
            let api = tokio::spawn(async move {
                told.cancelled().await;
                noted();
            });
            parts.closed((Stage::Nodes, "nodes"), note("nodes"));
            parts.told((Stage::Publishers, "api"), &token, api);
            let (told, noted) = (token.clone(), note("source"));
            let source = tokio::spawn(async move {
                told.cancelled().await;
                noted();
            });
            parts.told((Stage::Publishers, "source"), &token, source);
            let forever = tokio::spawn(std::future::pending());
            parts.aborted((Stage::Reload, "signals"), forever);
            parts.stop().await;
        });
        assert_eq!(*stopped.lock().unwrap(), ["api", "source", "nodes", "store"]);
    }
}
