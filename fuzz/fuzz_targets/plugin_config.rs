//! The plugin configuration, as JSON or as an encoded Struct.
#![no_main]

use gate::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    match Config::parse(data) {
        Ok(config) => {
            let path = config.paths.canonical(b"/a;x/%62?c").path;
            let groups = config.groups(b"POST", &path);
            let _ = config.integration(groups, b"POST", &path);
        }
        Err(error) => assert!(!error.rule.is_empty()),
    }
});
