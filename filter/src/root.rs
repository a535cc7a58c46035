//! One plugin in one VM: the callbacks that are about no request.

use std::rc::Rc;

use edge::{Follower, Host, Plugin, SetUpError, Worker};
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use crate::host::{self, Proxy};
use crate::stream::{Stream, Unconfigured};
use crate::vm::Vm;

/// One plugin in one VM. Both parts are none until it is configured.
#[derive(Default)]
pub(crate) struct Root {
    vm: Option<Rc<Vm>>,
    follower: Option<Follower>,
}

impl Root {
    fn configure(&mut self, bytes: &[u8]) -> Result<(), SetUpError> {
        let plugin = Plugin::set_up(bytes, Proxy)?;
        self.follower = Follower::new(&plugin, Proxy)?;
        let worker = Worker::start(&plugin, Proxy);
        self.vm = Some(Rc::new(Vm { plugin, worker }));
        Ok(())
    }
}

impl Context for Root {
    fn on_http_call_response(&mut self, number: u32, _: usize, body_size: usize, _: usize) {
        if let (Some(vm), Some(follower)) = (&self.vm, &mut self.follower) {
            follower.on_http_answer(vm.call(), number, body_size);
        }
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, size: usize) -> bool {
        let configured = self.configure(&host::plugin_configuration(size));
        if let Err(error) = &configured {
            Proxy.log(edge::host::Level::Error, format_args!("portcullis: {error}"));
        }
        configured.is_ok()
    }

    fn on_tick(&mut self) {
        if let Some(vm) = &self.vm {
            vm.call().on_tick(self.follower.as_mut());
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        Some(match &self.vm {
            Some(vm) => Box::new(Stream::new(id, Rc::clone(vm))),
            None => Box::new(Unconfigured),
        })
    }
}
