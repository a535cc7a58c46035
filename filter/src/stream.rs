//! One request: the callbacks of the proxy, handed on.

use std::rc::Rc;

use edge::host;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::host::Proxy;
use crate::vm::Vm;

/// One request and its response.
pub(crate) struct Stream {
    vm: Rc<Vm>,
    stream: edge::Stream<u32>,
}

impl Stream {
    pub(crate) fn new(id: u32, vm: Rc<Vm>) -> Self {
        let stream = edge::Stream::begin(vm.call(), id);
        Self { vm, stream }
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        action(self.stream.on_request_headers(self.vm.call(), end_of_stream))
    }

    fn on_http_request_body(&mut self, body_size: usize, end_of_stream: bool) -> Action {
        action(self.stream.on_request_body(self.vm.call(), body_size, end_of_stream))
    }

    fn on_http_request_trailers(&mut self, _: usize) -> Action {
        action(self.stream.on_request_trailers(self.vm.call()))
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        action(self.stream.on_response_headers(self.vm.call()))
    }
}

/// A request to a plugin that was never configured.
pub(crate) struct Unconfigured;

impl Context for Unconfigured {}

impl HttpContext for Unconfigured {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        action(edge::stream::refuse_unconfigured(Proxy))
    }
}

fn action(action: host::Action) -> Action {
    match action {
        host::Action::Continue => Action::Continue,
        host::Action::Pause => Action::Pause,
    }
}
