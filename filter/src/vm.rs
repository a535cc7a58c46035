//! One plugin in one VM, as its requests need it.

use edge::{Call, Plugin, Worker};

use crate::host::Proxy;

/// What the requests of one plugin share in one VM: a VM has one worker, and shares no memory of its own with others.
pub(crate) struct Vm {
    pub(crate) plugin: Plugin,
    pub(crate) worker: Worker<u32>,
}

impl Vm {
    pub(crate) fn call(&self) -> Call<'_, Proxy> {
        Call { plugin: &self.plugin, worker: &self.worker, host: Proxy }
    }
}
