//! One worker, as a host puts it together.

use model::push::{self, Batch, Message as _};

use super::{Exchange, Proxy};
use crate::host::Action;
use crate::{Call, Follower, Plugin, SetUpError, Stream, Worker};

/// One worker of a [`Proxy`] with one plugin, as a host puts them together.
pub struct Vm<'a> {
    /// The process that it belongs to.
    pub proxy: &'a Proxy,
    /// What its workers share; here each has one of its own, of the same configuration.
    pub plugin: Plugin,
    /// What it has for itself.
    pub worker: Worker<u32>,
    /// Its part in following the invalidator, if there is one.
    pub follower: Option<Follower>,
}

impl<'a> Vm<'a> {
    /// A worker that begins with this configuration.
    ///
    /// # Errors
    /// Those of [`Plugin::set_up`] and [`Follower::new`].
    pub fn start(proxy: &'a Proxy, configuration: &[u8]) -> Result<Self, SetUpError> {
        let plugin = Plugin::set_up(configuration, proxy)?;
        let follower = Follower::new(&plugin, proxy)?;
        let worker = Worker::start(&plugin, proxy);
        Ok(Self { proxy, plugin, worker, follower })
    }

    /// A callback to this worker.
    #[must_use]
    pub fn call(&self) -> Call<'_, &'a Proxy> {
        Call { plugin: &self.plugin, worker: &self.worker, host: self.proxy }
    }

    /// So many milliseconds pass, and a tick comes.
    pub fn tick_after(&mut self, ms: u64) {
        self.proxy.pass_ms(ms);
        let call = Call { plugin: &self.plugin, worker: &self.worker, host: self.proxy };
        call.on_tick(self.follower.as_mut());
    }

    /// The answer to the request of this number comes.
    pub fn answer(&mut self, number: u32, status: Option<u32>, body: Vec<u8>) {
        let bytes = body.len();
        *self.proxy.answer.borrow_mut() = (status, body);
        let call = Call { plugin: &self.plugin, worker: &self.worker, host: self.proxy };
        self.follower.as_mut().unwrap().on_http_answer(call, number, bytes);
    }

    /// The batch that answers the newest poll comes.
    pub fn answer_with(&mut self, batch: &Batch) {
        let newest = u32::try_from(self.proxy.sent.borrow().len() - 1).unwrap();
        self.answer(newest, Some(200), batch.encode_to_vec());
    }

    /// The batch that answers the newest poll comes, whatever else was sent since.
    pub fn answer_poll_with(&mut self, batch: &Batch) {
        let is_poll = |sent: &super::Sent| sent.headers.iter().any(|(_, path)| path == push::PATH);
        let newest = self.proxy.sent.borrow().iter().rposition(is_poll).unwrap();
        self.answer(u32::try_from(newest).unwrap(), Some(200), batch.encode_to_vec());
    }

    /// The headers of a request come; gives its stream, and what is to become of it.
    pub fn open(&self, id: u32, request: Exchange, end_of_stream: bool) -> (Stream<u32>, Action) {
        self.proxy.begin(id, request);
        let mut stream = Stream::begin(self.call(), id);
        let action = stream.on_request_headers(self.call(), end_of_stream);
        (stream, action)
    }

    /// A request without a body: what became of it.
    pub fn ask(&self, request: Exchange) -> Exchange {
        let (_, action) = self.open(1, request, true);
        let seen = self.proxy.stream(1);
        assert_eq!(action == Action::Pause, seen.answer().is_some(), "paused means answered");
        seen
    }
}
