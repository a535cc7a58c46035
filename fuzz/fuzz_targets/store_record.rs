//! Records of the store: read or refused, and what is read is written back as the same bytes. A
//! changed byte never passes.
#![no_main]

use events::record::{RECORD_BYTES_MAX, Record};
use libfuzzer_sys::fuzz_target;
use model::time::UnixMicros;

fuzz_target!(|data: &[u8]| {
    match Record::decode(data) {
        Ok(record) => {
            assert!(data.len() <= RECORD_BYTES_MAX);
            assert!(record.encode().is_ok_and(|bytes| bytes == data));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    // The checksum keeps almost all inputs out, so they are also taken as what is inside.
    let record = Record { first_heard: UnixMicros(0), source: "redis".into(), event: data.into() };
    let Ok(mut bytes) = record.encode() else { return };
    assert!(Record::decode(&bytes).is_ok_and(|read| read == record));
    let at = data.iter().fold(0, |sum: usize, byte| sum * 31 % 65_521 + usize::from(*byte));
    let at = at % bytes.len();
    bytes[at] ^= 1;
    assert!(Record::decode(&bytes).is_err());
});
