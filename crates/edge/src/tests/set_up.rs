//! Setting a plugin up: what is refused, what is agreed on with others, what the operator is told.

use super::*;

fn refused(proxy: &Proxy, config: &[u8]) -> String {
    Vm::start(proxy, config).map(|_| ()).unwrap_err().to_string()
}

fn refused_json(proxy: &Proxy, config: &Value) -> String {
    refused(proxy, config.to_string().as_bytes())
}

#[test]
fn a_mistake_names_the_field_and_the_rule() {
    let proxy = Proxy::default();
    assert_eq!(refused(&proxy, b" "), "configuration: must not be empty");
    assert_eq!(
        refused_json(&proxy, &base_with("/limits/0/max_tokens", json!(0))),
        "limits[0].max_tokens: must be at least 1"
    );
    assert!(refused(&proxy, b"{").starts_with("configuration: must be JSON: "));
    let unknown = refused_json(&proxy, &base_with("/storage/slab", json!(1)));
    assert!(unknown.starts_with("storage.slab: "), "{unknown}");
}

#[test]
fn a_refused_configuration_leaves_nothing_behind() {
    let proxy = Proxy::default();
    refused_json(&proxy, &base_with("/limits/0/max_tokens", json!(0)));
    assert!(proxy.metrics.borrow().is_empty());
    assert!(proxy.memory.borrow().values.is_empty());
    assert_eq!(proxy.tick_period.get(), None);
}

#[test]
fn without_random_bytes_nothing_begins() {
    let proxy = Proxy::default();
    proxy.lacks.set(Lacks { random: true, ..Lacks::default() });
    assert_eq!(refused_json(&proxy, &base()), "random bytes: the proxy has none to give");
}

#[test]
fn what_shares_the_memory_must_agree() {
    let proxy = Proxy::default();
    start(&proxy, &base());
    assert_eq!(
        refused_json(&proxy, &base_with("/storage/slabs", json!(32))),
        "storage.slabs: must be 16, as in the other plugins with this vm_id, and not 32; \
         use another vm_id, or restart Envoy"
    );
    assert!(
        refused_json(&proxy, &base_with("/replay/slabs", json!(32))).starts_with("replay.slabs: ")
    );
    start(&proxy, &base());
}

#[test]
fn too_many_at_once_are_refused() {
    let proxy = Proxy::default();
    proxy.memory.borrow_mut().lose_next = 1_000;
    let error = Vm::start(&proxy, base().to_string().as_bytes()).map(|_| ()).unwrap_err();
    assert!(matches!(error, SetUpError::Join(_)), "{error}");
    assert_eq!(error.to_string(), "shared memory: too many VMs started at once");
}

#[test]
fn a_lost_race_at_the_start_is_tried_again() {
    let proxy = Proxy::default();
    proxy.memory.borrow_mut().lose_next = 3;
    start(&proxy, &base());
}

#[test]
fn another_memory_in_one_process_is_told() {
    let proxy = Proxy::default();
    start(&proxy, &base());
    start(&proxy, &base());
    assert_eq!(proxy.logged("vm_id: this Envoy has had another"), 0, "the second worker");
    assert_eq!(proxy.counter("portcullis.memories"), Some(1));
    // Another `vm_id` is another memory, while counters stay.
    proxy.memory.take();
    let vm = start(&proxy, &base());
    assert_eq!(proxy.logged("vm_id: this Envoy has had another"), 1);
    assert_eq!(proxy.counter("portcullis.memories"), Some(2));
    let (mut stream, _) = vm.open(1, Exchange { body: BODY.into(), ..signed("n", BODY) }, false);
    stream.on_request_body(vm.call(), BODY.len(), true);
    let details = "portcullis:rule=signature:stale;integration=payments";
    let answer = proxy.stream(1).answer().map(|(status, details)| (status, details.to_owned()));
    let (status, said) = answer.unwrap();
    assert!(status == 401 && said.starts_with(details), "signed before now: {said}");
}

#[test]
fn operators_are_told_what_matters_once() {
    let proxy = Proxy::default();
    proxy.lacks.set(Lacks { marks: true, ..Lacks::default() });
    let slow = base_with("/limits/0/fill_interval", json!("1h"));
    start(&proxy, &slow);
    assert_eq!(proxy.logged("the proxy keeps no marks on requests"), 1);
    assert_eq!(proxy.logged("limit per-user: storage.slabs"), 1);
    start(&proxy, &slow);
    assert_eq!(proxy.logged("limit per-user: storage.slabs"), 1, "not from every worker");
}

#[test]
fn a_proxy_without_metrics_still_decides() {
    let proxy = Proxy::default();
    proxy.lacks.set(Lacks { metrics: true, ..Lacks::default() });
    let mut vm = start(&proxy, &base());
    assert_eq!(vm.ask(alice("/")).answer(), None);
    vm.tick_after(50);
    assert!(proxy.metrics.borrow().is_empty());
}

#[test]
fn a_new_configuration_follows_the_old_one() {
    let proxy = Proxy::default();
    let old = start(&proxy, &base());
    assert_eq!(old.ask(alice("/")).answer(), None);
    let new = start(&proxy, &base_with("/limits/0/max_tokens", json!(2)));
    assert_eq!(new.ask(alice("/")).answer(), None);
    assert_eq!(new.ask(alice("/")).answer().map(|(status, _)| status), Some(429));
    // Streams that have begun under the old one go on under it.
    assert_eq!(old.ask(alice("/")).answer(), None);
}
