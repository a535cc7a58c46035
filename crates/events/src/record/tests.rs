use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn record() -> impl Strategy<Value = Record> {
    (any::<u64>(), "[a-zé]{0,20}", vec(any::<u8>(), 0..300)).prop_map(|(at, source, event)| {
        Record { first_heard: UnixMicros(at), source: source.into(), event: event.into() }
    })
}

fn usual() -> Record {
    let event = br#"{"event_id":"1"}"#.as_slice();
    Record { first_heard: UnixMicros(7), source: "redis".into(), event: event.into() }
}

proptest! {
    #[test]
    fn what_is_written_can_be_read(record in record()) {
        prop_assert_eq!(Record::decode(&record.encode().unwrap()), Ok(record));
    }

    #[test]
    fn every_burst_of_changed_bits_up_to_32_is_noticed(
        record in record(), at in any::<prop::sample::Index>(), flip in 1..=u8::MAX,
    ) {
        let mut bytes = record.encode().unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(Record::decode(&bytes).is_err());
    }

    #[test]
    fn a_record_that_is_cut_or_has_more_behind_it_is_refused(
        record in record(), cut in any::<prop::sample::Index>(), more in vec(any::<u8>(), 1..9),
    ) {
        let bytes = record.encode().unwrap();
        prop_assert!(Record::decode(&bytes[..cut.index(bytes.len())]).is_err());
        // A checksum of 32 bits: one in four billion would pass.
        prop_assert!(Record::decode(&[bytes, more].concat()).is_err());
    }

    #[test]
    fn any_bytes_are_read_or_refused_in_words(bytes in vec(any::<u8>(), 0..200)) {
        match Record::decode(&bytes) {
            Ok(record) => prop_assert_eq!(record.encode().unwrap(), bytes),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

#[test]
fn the_layout_is_fixed_for_good() {
    let bytes = usual().encode().unwrap();
    assert_eq!(bytes[..1], [1]);
    assert_eq!(bytes[1..5], crc32fast::hash(&[&bytes[..1], &bytes[5..]].concat()).to_le_bytes());
    assert_eq!(bytes[5..14], [7, 0, 0, 0, 0, 0, 0, 0, 5]);
    assert_eq!(bytes[14..], *b"redis{\"event_id\":\"1\"}");
}

#[test]
fn a_version_from_the_future_is_named() {
    let mut bytes = usual().encode().unwrap();
    bytes[0] = 2;
    let sum = checksum(2, &bytes[5..]).to_le_bytes();
    bytes[1..5].copy_from_slice(&sum);
    assert_eq!(Record::decode(&bytes), Err(RecordError::Version(2)));
}

#[test]
fn sizes_are_bounded_both_ways() {
    let large = Record { event: vec![b'x'; EVENT_BYTES_MAX].into(), ..usual() };
    let bytes = large.encode().unwrap();
    assert!(bytes.len() <= RECORD_BYTES_MAX && Record::decode(&bytes) == Ok(large));
    let too_large = Record { event: vec![b'x'; EVENT_BYTES_MAX + 1].into(), ..usual() };
    assert_eq!(too_large.encode(), Err(RecordError::TooLarge));
    for name in ["x".repeat(65), "x".repeat(256)] {
        let too_long = Record { source: name.into(), ..usual() };
        assert_eq!(too_long.encode(), Err(RecordError::Source));
    }
    // As somebody else may write it.
    let mut rest = vec![0; 8];
    rest.push(65);
    rest.extend([b'x'; 65]);
    let bytes = [&[1], &checksum(1, &rest).to_le_bytes()[..], &rest].concat();
    assert_eq!(Record::decode(&bytes), Err(RecordError::Source));
}

#[test]
fn the_event_is_not_shown() {
    assert!(!format!("{:?}", usual()).contains("event_id"));
}
