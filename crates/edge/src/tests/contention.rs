//! Several workers and one memory.

use model::memory::{Mark, MemoryKey, SharedMemory as _};

use super::*;
use crate::host::Host as _;

#[test]
fn workers_share_buckets() {
    let proxy = Proxy::default();
    let (first, second) = (start(&proxy, &base()), start(&proxy, &base()));
    let allowed = |vm: &Vm<'_>| vm.ask(alice("/")).answer().is_none();
    let seen = [allowed(&first), allowed(&second), allowed(&first), allowed(&second)];
    assert_eq!(seen, [true, true, true, false]);
    proxy.pass_ms(1_000);
    assert!(allowed(&second) && !allowed(&first), "one token, whoever comes first");
}

#[test]
fn a_lost_race_is_decided_anew() {
    let proxy = Proxy::default();
    let vm = start(&proxy, &base());
    vm.ask(alice("/"));
    proxy.memory.borrow_mut().lose_next = 5;
    assert_eq!(vm.ask(alice("/")).answer(), None);
    assert_eq!(vm.ask(alice("/")).answer(), None);
    assert_eq!(vm.ask(alice("/")).answer().map(|(status, _)| status), Some(429), "three in all");
}

#[test]
fn endless_contention_is_answered_by_the_fail_policy() {
    for (answer, expected) in [("deny", Some((503, "portcullis:rule=contention"))), ("allow", None)]
    {
        let proxy = Proxy::default();
        let vm = start(&proxy, &base_with("/fail_policy/contention", json!(answer)));
        proxy.memory.borrow_mut().lose_next = u32::MAX;
        let seen = vm.ask(alice("/"));
        assert_eq!(seen.answer(), expected);
    }
}

#[test]
fn a_write_that_comes_between_is_not_overwritten() {
    let proxy = Proxy::default();
    let vm = start(&proxy, &base());
    let others = Proxy::default();
    let other = start(&others, &base());
    // What the memory is once another worker has taken Alice's last token.
    for _ in 0..3 {
        assert_eq!(other.ask(alice("/")).answer(), None);
    }
    let taken: Vec<_> = {
        let memory = others.memory.borrow();
        let slabs = memory.values.iter().filter(|(key, _)| matches!(key, MemoryKey::Slab(_)));
        slabs.map(|(key, (value, _))| (*key, value.clone())).collect()
    };
    proxy.memory.borrow_mut().intruder = Some(Box::new(move |values| {
        for (key, value) in taken.clone() {
            values.insert(key, (value, 1_000_000));
        }
    }));
    assert_eq!(vm.ask(alice("/")).answer().map(|(status, _)| status), Some(429));
}

#[test]
fn memory_of_another_version_is_not_touched() {
    let proxy = Proxy::default();
    let vm = start(&proxy, &base());
    for slab in 0..16 {
        let written = (&proxy).memory().write(MemoryKey::Slab(slab), &[0xff, 1, 2], Mark::Absent);
        assert_eq!(written, Ok(()));
    }
    assert_eq!(vm.ask(alice("/")).answer(), Some((503, "portcullis:rule=slab_unreadable")));
    assert_eq!((&proxy).memory().read(MemoryKey::Slab(0)).0, Some(vec![0xff, 1, 2]));
}
