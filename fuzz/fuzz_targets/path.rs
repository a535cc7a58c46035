//! The form in which paths are compared: one that is clear has no other reading, and stays as it is.
#![no_main]

use gate::path::Paths;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for bits in 0..8_u8 {
        let paths = Paths {
            allows_tunnels: false,
            refuses_parameters: bits & 1 != 0,
            decodes_slashes: bits & 2 != 0,
            ignores_case: bits & 4 != 0,
            shadow: false,
        };
        let read = paths.canonical(data);
        assert!(read.path.len() <= data.len() + 1, "only a last slash is ever added");
        if read.is_ambiguous || matches!(&*read.path, b"" | b"*") {
            continue;
        }
        let path = std::str::from_utf8(&read.path).expect("a clear path is text");
        assert!(path.starts_with('/') && !path.contains("//"));
        assert!(!path.bytes().any(|byte| byte.is_ascii_control()));
        assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
        assert!(!paths.ignores_case || !path.bytes().any(|byte| byte.is_ascii_uppercase()));
        assert!(paths.refuses_parameters || !path.contains(';'));
        // What was encoded can look like something else; all else is as it will be.
        if !path.contains(['%', ';', '?', '#', '\\']) {
            let again = paths.canonical(path.as_bytes());
            assert!(!again.is_ambiguous && *again.path == *path.as_bytes());
        }
    }
});
