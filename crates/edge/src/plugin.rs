//! One plugin configuration, set up: what all workers share of it.

use std::fmt;

use gate::config::Config;
use gate::decide::Gate;
use gate::fleet::link;
use gate::node::{self, JoinError};
use model::hash::fingerprint;
use model::memory::{MemoryKey, SharedMemory};
use model::violation::Violation;

use crate::host::{Host, Level};
use crate::metrics::Metrics;

/// The counter of memories, one for each `vm_id`: the same for all configurations of a process.
const MEMORIES: &str = "portcullis.memories";

/// The gate of one configuration, and the names of its counters. Nothing of it changes once it is set up.
#[derive(Debug)]
pub struct Plugin {
    pub(crate) gate: Gate,
    pub(crate) metrics: Metrics,
    /// Whether any of its limits holds for the fleet.
    pub(crate) has_fleet_limits: bool,
    /// Stands for its configuration.
    pub(crate) fingerprint: u32,
}

/// Why a configuration cannot be used. Each is one line for the operator, with the field at fault.
#[derive(Debug)]
pub enum SetUpError {
    /// A rule of the configuration is broken.
    Config(Violation),
    /// The proxy has no random bytes, without which ids could be guessed.
    NoRandom,
    /// The others that share the memory are configured differently.
    Join(JoinError),
    /// Too many workers have begun at once.
    Contention,
}

impl fmt::Display for SetUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::NoRandom => f.write_str("random bytes: the proxy has none to give"),
            Self::Join(error) => error.fmt(f),
            Self::Contention => f.write_str("shared memory: too many VMs started at once"),
        }
    }
}

impl std::error::Error for SetUpError {}

impl Plugin {
    /// Reads a configuration, makes this process part of the node, and defines the counters. Says in the log
    /// what an operator should know of the configuration, each thing once in a memory.
    ///
    /// # Errors
    /// [`SetUpError`]: the configuration must be refused, and what was set up before goes on.
    pub fn set_up(configuration: &[u8], host: impl Host) -> Result<Self, SetUpError> {
        let config = Config::parse(configuration).map_err(SetUpError::Config)?;
        let random = host.random().ok_or(SetUpError::NoRandom)?;
        let memory = &mut host.memory();
        let is_new_memory = matches!(memory.read(MemoryKey::HashKey), (None, _));
        let joined = node::join(memory, config.storage, config.replay, random);
        let hash_key = joined.map_err(SetUpError::Join)?;
        if is_new_memory {
            begin_memory(host)?;
        }
        link::join(memory, &config);
        if !host.declare_mark() {
            host.log(
                Level::Warn,
                format_args!(
                    "the proxy keeps no marks on requests: two gates in one chain go unnoticed"
                ),
            );
        }
        for text in node::news(memory, &config) {
            host.log(Level::Warn, format_args!("{text}"));
        }
        let metrics = Metrics::new(&config, host);
        let has_fleet_limits = config.has_fleet_limits();
        let gate = Gate::new(config, hash_key);
        let fingerprint = fingerprint(&configuration);
        Ok(Self { gate, metrics, has_fleet_limits, fingerprint })
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        self.gate.config()
    }
}

/// Notes that there is a new memory. Where this process has had one before, as after a change of `vm_id`, the
/// new one does not know which requests were used; what they were signed with tells how old they are.
fn begin_memory(host: impl Host) -> Result<(), SetUpError> {
    let Some(memories) = host.counter(MEMORIES) else { return Ok(()) };
    let is_first = host.counted(memories) == 0;
    host.count(memories, 1);
    if is_first {
        return Ok(());
    }
    host.log(
        Level::Warn,
        format_args!(
            "vm_id: this Envoy has had another: with this one limits begin with full buckets, nothing is known of \
             blocks until the invalidator has told, and what was signed before now is refused"
        ),
    );
    signing::replay::distrust_before(&mut host.memory(), host.wall())
        .map_err(|_| SetUpError::Contention)
}

/// All workers share it.
const _: fn() = || {
    fn is_sync<T: Sync>() {}
    is_sync::<Plugin>();
};
