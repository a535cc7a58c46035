//! The proxy's form of a request's headers: what is read of any bytes reads the same again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use signing::headers::Headers;

fuzz_target!(|data: &[u8]| {
    let headers = Headers::from_map(data.to_vec());
    let lines: Vec<_> = headers.lines().collect();
    assert!(
        lines.iter().map(|(name, value)| name.len() + value.len() + 2).sum::<usize>() <= data.len()
    );
    let again: Headers = lines.iter().copied().collect();
    assert_eq!(again.lines().collect::<Vec<_>>(), lines);
});
