//! Metrics.

use super::*;

fn define(name: Text, labels: usize, id: *mut usize) -> u32 {
    envoy(|envoy| {
        if envoy.is_frozen {
            return 3;
        }
        envoy.metrics.push((text(name), labels > 0));
        unsafe { *id = envoy.metrics.len() - 1 };
        0
    })
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_define_counter(
    _: *mut c_void,
    name: Text,
    _: *const Text,
    labels: usize,
    id: *mut usize,
) -> u32 {
    define(name, labels, id)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_config_define_histogram(
    _: *mut c_void,
    name: Text,
    _: *const Text,
    labels: usize,
    id: *mut usize,
) -> u32 {
    define(name, labels, id)
}

fn count(id: usize, labels: *const Text, labels_count: usize, by: u64) -> u32 {
    let label = texts(labels, labels_count).first().map(|label| format!(":{}", text(*label)));
    envoy(|envoy| {
        let (name, has_label) = &envoy.metrics[id];
        assert_eq!(*has_label, label.is_some(), "{name}");
        *envoy.counted.entry(format!("{name}{}", label.unwrap_or_default())).or_default() += by;
    });
    0
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_increment_counter(
    _: *mut c_void,
    id: usize,
    labels: *const Text,
    labels_count: usize,
    by: u64,
) -> u32 {
    count(id, labels, labels_count, by)
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_callback_http_filter_record_histogram_value(
    _: *mut c_void,
    id: usize,
    labels: *const Text,
    labels_count: usize,
    _: u64,
) -> u32 {
    count(id, labels, labels_count, 1)
}
