//! What SIGHUP does: the configuration is read again, and what can be changed while the daemon runs
//! is changed. Whatever else differs is named, and has to wait for a restart.
//!
//! Files that are watched (`keys.file`, `events.keys_file`, those of `api.tls`) need no signal.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use access::Door;
use audit::entry::{Fact, ReloadFact};
use model::violation::Violation;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::config::{Config, Written};
use crate::hub::Hub;
use crate::log::Level;

/// Fields that can be changed while the daemon runs.
const RELOADABLE: [&str; 3] = [TOKENS, CLIENTS, "log.level"];
const TOKENS: &str = "api.tokens";
const CLIENTS: &str = "api.clients";
/// Who may call depends on how they can show who they are.
const TLS: &str = "api.tls";

/// Signals that would end the daemon, though nobody means that by them.
#[derive(Debug)]
pub(super) struct Signals {
    hangup: Signal,
    others: [Signal; 2],
}

/// One of them.
pub(super) enum Heard {
    /// Read the configuration again.
    Hangup,
    /// It has no meaning here.
    Other,
}

impl Signals {
    /// From now on they end nothing: also while the daemon is still starting.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            others: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
        })
    }

    pub(super) async fn next(&mut self) -> Heard {
        let [one, two] = &mut self.others;
        tokio::select! {
            _ = self.hangup.recv() => Heard::Hangup,
            _ = one.recv() => Heard::Other,
            _ = two.recv() => Heard::Other,
        }
    }
}

/// What can be changed, and what is in force.
#[derive(Debug)]
pub(super) struct Reload {
    pub(super) path: PathBuf,
    pub(super) written: Mutex<Written>,
    pub(super) door: Arc<Door>,
    pub(super) level: Level,
}

impl Reload {
    /// Does what signals ask for, until it is dropped.
    pub(super) async fn follow(self: Arc<Self>, mut signals: Signals, hub: Arc<Hub>) {
        loop {
            match signals.next().await {
                Heard::Other => info!("SIGUSR1 and SIGUSR2 have no meaning here: ignored"),
                Heard::Hangup => {
                    info!("SIGHUP: the configuration is read again");
                    let (reload, hub) = (Arc::clone(&self), Arc::clone(&hub));
                    // The disk may be a network.
                    let done = tokio::task::spawn_blocking(move || reload.now(&hub)).await;
                    if let Err(cause) = done {
                        error!(%cause, "the configuration could not be read again");
                    }
                }
            }
        }
    }

    fn now(&self, hub: &Hub) {
        match Config::load_all(&self.path) {
            Ok((config, written)) => self.take_over(config, &written, hub),
            Err(errors) => Self::failed(&errors, hub),
        }
    }

    fn failed(errors: &[Violation], hub: &Hub) {
        for Violation { field, rule } in errors {
            error!(field, rule, "the configuration cannot be used: the one before stays in force");
        }
        hub.metrics.config.failed();
        let fields = errors.iter().map(|error| error.field.clone()).collect();
        let fact = ReloadFact { result: "failed", fields, ..ReloadFact::default() };
        hub.audit.note(None, Fact::Reload(fact));
    }

    fn take_over(&self, config: Config, written: &Written, hub: &Hub) {
        let mut in_force = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let differing = in_force.differences(written);
        // New callers could be those of certificates that nobody is asked for yet.
        let tls_differs = differing.iter().any(|field| field.starts_with(TLS));
        let is_taken_over = |field: &str| {
            RELOADABLE.contains(&field) && !(tls_differs && [TOKENS, CLIENTS].contains(&field))
        };
        let fields: Vec<&str> =
            RELOADABLE.into_iter().filter(|field| is_taken_over(field)).collect();
        let (changed, waiting): (Vec<_>, Vec<_>) =
            differing.into_iter().partition(|field| is_taken_over(field));
        let digest = config.digest();
        if !tls_differs {
            self.door.replace(config.api.access);
        }
        self.level.set(config.log.level);
        in_force.adopt(written, &fields);
        drop(in_force);
        let callers = self.door.access().count();
        info!(changed = changed.join(", "), callers, "the configuration was read again");
        if !waiting.is_empty() {
            warn!(fields = waiting.join(", "), "these fields are not in force before a restart");
        }
        hub.metrics.config.loaded(waiting.len());
        let fact = ReloadFact {
            result: "loaded",
            fields: changed,
            waiting,
            callers: Some(callers),
            config: Some(digest),
        };
        hub.audit.note(None, Fact::Reload(fact));
    }
}
