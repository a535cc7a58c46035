//! What Redis answers to reports, and what is published as news: nothing, or exactly what the script writes, within its
//! bounds. What is read is written back as the same bytes.
#![no_main]

use fleet::bounds::NEWS_PER_CALL_MAX;
use fleet::lines::{self, EXACT_MAX};
use fleet::wire::{Answer, Partition};
use libfuzzer_sys::fuzz_target;
use model::time::UnixMicros;

/// The latest beginning that is believed.
const LAST: UnixMicros = UnixMicros(1_800_000_300_000_000);

fn text(answer: &Answer) -> String {
    format!("{} {} {:016x}", answer.remaining_us, answer.epoch.at.0, answer.epoch.id)
}

/// Leading zeros are the one thing that is read and not written.
fn is_plain(text: &str) -> bool {
    text.split(' ').take(2).all(|word| word == "0" || !word.starts_with('0'))
}

fuzz_target!(|data: &[u8]| {
    if let Some(answer) = lines::answer(data) {
        let read = std::str::from_utf8(data).unwrap();
        assert!(!is_plain(read) || text(&answer) == read);
        assert!(answer.remaining_us <= 77 * 86_400_000_000 && answer.epoch.at.0 <= EXACT_MAX);
    }
    for (partition, partitions) in [(0, 1), (3, 7)] {
        let heard = lines::message(data, Partition(partition), partitions, LAST);
        assert!(heard.news.len() + heard.malformed <= NEWS_PER_CALL_MAX);
        for news in &heard.news {
            assert_eq!(news.bucket.partition, Partition(partition));
            assert!(news.answer.epoch.at <= LAST);
            let line = format!("{} {}", news.bucket, text(&news.answer));
            let again = lines::message(line.as_bytes(), Partition(partition), partitions, LAST);
            assert_eq!((again.news.as_slice(), again.malformed), ([*news].as_slice(), 0));
        }
    }
});
