//! One plugin in one VM: its configuration, and its part in following the invalidator.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use gate::config::Config;
use gate::decide::Gate;
use gate::node::{self, Failure, Poller, Rank, Report, Vm};
use model::hash::fingerprint;
use model::memory::{Key, Shared};
use model::push::{self, BATCH_BYTES_MAX, HOLD_MAX, Message, Poll};
use model::time::Clock;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::host::{self, HostClock, SharedData};
use crate::plugin::Plugin;
use crate::stream::{Stream, Unconfigured};

/// The `root_id` that makes a plugin the singleton service.
const SINGLETON_ROOT_ID: &[u8] = b"portcullis_poller";

/// What a node is called if nobody gives it a name that the invalidator takes.
const NODE_DEFAULT: &str = "envoy";

/// The counter of memories, one for each `vm_id`: the same for all configurations of a process.
const MEMORIES: &str = "portcullis.memories";

/// How often a VM tells its counters, and renews its lease or looks whether there is one to take.
const TICK: Duration = Duration::from_millis(50);

/// How long a poll may take: held for as long as it may be, and a second for the way.
const POLL_TIMEOUT: Duration = HOLD_MAX.saturating_add(Duration::from_secs(1));

/// One plugin in one VM.
#[derive(Default)]
pub(crate) struct Root {
    plugin: Option<Rc<Plugin>>,
    poller: Option<Poller>,
    is_singleton: bool,
    serves_requests: Cell<bool>,
    /// The token of the poll that is on its way.
    in_flight: Option<u32>,
    is_failing: bool,
}

impl Root {
    fn configure(&mut self, bytes: &[u8]) -> Result<(), String> {
        let config = Config::parse(bytes).map_err(|error| error.to_string())?;
        let random = host::random().ok_or("random bytes: the proxy has none to give")?;
        let is_new_memory = matches!(SharedData.read(Key::HashKey), (None, _));
        let hash_key = node::join(&mut SharedData, config.storage, config.replay, random)
            .map_err(|error| error.to_string())?;
        if is_new_memory {
            begin_memory()?;
        }
        if config.invalidator.is_some() {
            let holder = host::random().ok_or("random bytes: the proxy has none to give")?;
            let node = config.node.clone().or_else(host::node_id);
            let node = node.filter(|node| push::is_node_name(node));
            let node = node.unwrap_or_else(|| NODE_DEFAULT.to_owned());
            self.poller = Some(Poller::new(u64::from_le_bytes(holder), node));
            self.is_singleton = host::root_id().as_deref() == Some(SINGLETON_ROOT_ID);
        }
        if !host::mark::declare() {
            log::warn!("the proxy keeps no marks on requests: two gates in one chain go unnoticed");
        }
        for text in node::news(&mut SharedData, &config) {
            log::warn!("{text}");
        }
        host::set_tick_period(TICK);
        let gate = Gate::new(config, hash_key);
        self.plugin = Some(Rc::new(Plugin::new(gate, fingerprint(&bytes))));
        Ok(())
    }

    fn rank(&self) -> Rank {
        if self.is_singleton {
            Rank::Singleton
        } else if self.serves_requests.get() {
            Rank::Worker
        } else {
            Rank::Idle
        }
    }

    fn send(&mut self, poll: &Poll) {
        let Some(plugin) = self.plugin.clone() else { return };
        let Some(invalidator) = &plugin.gate.config().invalidator else { return };
        let body = poll.encode_to_vec();
        let (cluster, secret) = (&invalidator.cluster, &invalidator.secret);
        self.in_flight = host::send_poll(cluster, secret, &body, POLL_TIMEOUT);
        if self.in_flight.is_none() {
            self.failed(&plugin, Failure::Unreachable);
        }
    }

    fn failed(&mut self, plugin: &Plugin, failure: Failure) {
        if let Some(poller) = &mut self.poller {
            poller.on_failure(HostClock.monotonic());
        }
        self.note_health(Some(&failure));
        plugin.metrics.count_push(&Err(failure));
    }

    /// One line when polls begin to fail, and one when they work again.
    fn note_health(&mut self, failure: Option<&Failure>) {
        match failure {
            Some(failure) if !self.is_failing => log::warn!("polling the invalidator: {failure}"),
            None if self.is_failing => log::info!("polling the invalidator works again"),
            _ => {}
        }
        self.is_failing = failure.is_some();
    }

    fn apply(&mut self, plugin: &Plugin, body: &[u8]) -> Result<Report, Failure> {
        #[cfg(feature = "trap")]
        crate::trap::on_batch(body, plugin.gate.config().storage.slabs);
        let rank = self.rank();
        let Some(poller) = &mut self.poller else { return Ok(Report::default()) };
        let (gate, shared) = (&plugin.gate, &mut SharedData);
        poller.on_answer(body, Vm { gate, shared, clock: &HostClock, rank })
    }
}

/// Notes that there is a new memory. Where this process has had one before, as after a change of `vm_id`, the
/// new one does not know which requests were used; what they were signed with tells how old they are.
fn begin_memory() -> Result<(), String> {
    let Some(memories) = host::counter(MEMORIES) else { return Ok(()) };
    let is_first = host::counted(memories) == 0;
    host::count(memories, 1);
    if is_first {
        return Ok(());
    }
    log::warn!(
        "vm_id: this Envoy has had another: with this one limits begin with full buckets, nothing is known of \
         blocks until the invalidator has told, and what was signed before now is refused"
    );
    signing::replay::distrust_before(&mut SharedData, HostClock.wall())
        .map_err(|_| "shared memory: too many VMs started at once".to_owned())
}

impl Context for Root {
    fn on_http_call_response(&mut self, token: u32, _: usize, body_size: usize, _: usize) {
        let Some(plugin) = self.plugin.clone() else { return };
        if self.in_flight != Some(token) {
            return;
        }
        self.in_flight = None;
        let answer = match host::poll_answer(body_size.min(BATCH_BYTES_MAX)) {
            _ if body_size > BATCH_BYTES_MAX => Err(Failure::Malformed),
            (Some(200), body) => Ok(body),
            (Some(status), _) => Err(Failure::Status(status)),
            (None, _) => Err(Failure::Unreachable),
        };
        let body = match answer {
            Ok(body) => body,
            Err(failure) => return self.failed(&plugin, failure),
        };
        let report = self.apply(&plugin, &body);
        self.note_health(report.as_ref().err());
        plugin.metrics.count_push(&report);
        match report {
            Ok(Report { refused, repaired, keys, next, .. }) => {
                if refused > 0 {
                    log::error!("{refused} changes could not be stored and are not enforced");
                }
                if repaired > 0 {
                    log::error!("{repaired} states had got lost from memory, and are there again");
                }
                match keys {
                    Some(Ok(())) => plugin.warn_of_keys(),
                    Some(Err(error)) => log::error!("the keys handed out are not used: {error}"),
                    None => {}
                }
                if let Some(poll) = next {
                    self.send(&poll);
                }
            }
            Err(failure) => log::error!("the invalidator's answer: {failure}"),
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let configured = self.configure(&host::plugin_configuration(size));
        if let Err(error) = &configured {
            log::error!("portcullis: {error}");
        }
        configured.is_ok()
    }

    fn on_tick(&mut self) {
        let Some(plugin) = self.plugin.clone() else { return };
        plugin.give_up_on_bodies();
        plugin.metrics.flush();
        let (rank, now) = (self.rank(), HostClock.monotonic());
        let Some(poller) = &mut self.poller else { return };
        let was_holder = poller.is_holder();
        let poll = poller.on_tick(plugin.gate.config(), &mut SharedData, rank, now);
        if poller.is_holder() && !was_holder {
            plugin.metrics.count_lease_taken();
        }
        if let Some(poll) = poll {
            self.send(&poll);
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        self.serves_requests.set(true);
        match &self.plugin {
            Some(plugin) => Some(Box::new(Stream::new(id, Rc::clone(plugin)))),
            None => Some(Box::new(Unconfigured)),
        }
    }
}
