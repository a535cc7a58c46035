//! What the script in Redis answers and publishes, as text: `REMAINING AT ID` for each report, and on the channel of
//! news the same with the name of a bucket before it, a line each. Redis may run another version of the script, or be
//! in other hands: whatever is not exactly as it should be is nothing.

use model::bucket::{REFILL_MAX, RateTag};
use model::hash::SubjectHash;
use model::time::UnixMicros;

use crate::bounds::NEWS_PER_CALL_MAX;
use crate::epoch::Epoch;
use crate::terms::DebtMax;
use crate::wire::{Answer, BucketName, News, Partition};

/// The longest line, in bytes: three names in hexadecimal digits, two numbers, an id, and what lies between.
pub const LINE_BYTES_MAX: usize = 32 + 1 + 8 + 1 + 8 + 1 + ANSWER_BYTES_MAX;

/// The longest answer, in bytes.
pub const ANSWER_BYTES_MAX: usize = NUMBER_DIGITS_MAX + 1 + NUMBER_DIGITS_MAX + 1 + 16;

/// The longest message on the channel of news, in bytes.
pub const MESSAGE_BYTES_MAX: usize = NEWS_PER_CALL_MAX * (LINE_BYTES_MAX + 1);

/// The largest number that Lua writes exactly.
pub const EXACT_MAX: u64 = (1 << 53) - 1;

const NUMBER_DIGITS_MAX: usize = 16;

/// What the lines of one message say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// The news, at most [`NEWS_PER_CALL_MAX`].
    pub news: Vec<News>,
    /// How many lines are none.
    pub malformed: usize,
}

/// Reads what the script answers to one report.
#[must_use]
pub fn answer(text: &[u8]) -> Option<Answer> {
    if text.len() > ANSWER_BYTES_MAX {
        return None;
    }
    let mut words = std::str::from_utf8(text).ok()?.split(' ');
    let (remaining, at, id) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    let remaining_us = number(remaining).filter(|span| *span <= remaining_max_us())?;
    let epoch = Epoch { at: UnixMicros(number(at)?), id: hexadecimal(id, 16)? };
    Some(Answer { epoch, remaining_us })
}

/// Reads a message of the channel that belongs to `partition`, of `partitions`. A message that is longer than any can be
/// counts as one line that is none, and so does a line with a beginning after `last`: a node that believed it would take no event
/// after it for one.
#[must_use]
pub fn message(bytes: &[u8], partition: Partition, partitions: u16, last: UnixMicros) -> Heard {
    let mut heard = Heard::default();
    if bytes.len() > MESSAGE_BYTES_MAX {
        heard.malformed = 1;
        return heard;
    }
    for line in bytes.split(|byte| *byte == b'\n').take(NEWS_PER_CALL_MAX) {
        let news = news(line, partition, partitions);
        match news.filter(|news| news.answer.epoch.at <= last) {
            Some(news) => heard.news.push(news),
            None => heard.malformed = heard.malformed.saturating_add(1),
        }
    }
    heard
}

fn news(line: &[u8], partition: Partition, partitions: u16) -> Option<News> {
    let space = line.iter().position(|byte| *byte == b' ')?;
    let (name, rest) = line.split_at_checked(space)?;
    let mut words = std::str::from_utf8(name).ok()?.split('.');
    let (subject, limit, rate) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() || subject.len() != 32 {
        return None;
    }
    let mut hash = [0; SubjectHash::BYTES];
    for (byte, digits) in hash.iter_mut().zip(subject.as_bytes().chunks(2)) {
        *byte = hexadecimal(std::str::from_utf8(digits).ok()?, 2)?.try_into().ok()?;
    }
    let subject = SubjectHash(hash);
    if Partition::of(subject, partitions) != partition {
        return None;
    }
    let word = |digits| u32::try_from(hexadecimal(digits, 8)?).ok();
    let bucket = BucketName::new(partition, subject, word(limit)?, RateTag(word(rate)?));
    Some(News { bucket, answer: answer(rest.get(1..)?)? })
}

/// The longest time until a bucket is full: the slowest rate, and the most debt.
fn remaining_max_us() -> u64 {
    let slowest = u64::try_from(REFILL_MAX.as_micros()).unwrap_or(u64::MAX);
    DebtMax::MOST.cap_us(slowest)
}

fn number(digits: &str) -> Option<u64> {
    let plain = (1..=NUMBER_DIGITS_MAX).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten().filter(|number| *number <= EXACT_MAX)
}

fn hexadecimal(digits: &str, length: usize) -> Option<u64> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let plain = digits.len() == length && digits.bytes().all(is_digit);
    plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "abababababababababababababababab.00000001.000000ff";
    const ID: &str = "00000000000000ff";

    fn heard(text: &str) -> Heard {
        message(text.as_bytes(), Partition(0), 1, UnixMicros(EXACT_MAX))
    }

    #[test]
    fn an_answer_is_read_as_it_is_written_and_nothing_else_is() {
        let epoch = Epoch { at: UnixMicros(1_795_000_000_000_000), id: 255 };
        let good = format!("6652800000000 1795000000000000 {ID}");
        assert_eq!(
            answer(good.as_bytes()),
            Some(Answer { epoch, remaining_us: 6_652_800_000_000 })
        );
        let none = Answer { epoch: Epoch::default(), remaining_us: 0 };
        assert_eq!(answer(b"0 0 0000000000000000"), Some(none));
        let wrong = [
            String::new(),
            "0 0".to_owned(),
            format!("0 0 {ID} "),
            format!("0 0 {ID} 1"),
            format!(" 0 0 {ID}"),
            format!("-1 0 {ID}"),
            format!("+1 0 {ID}"),
            format!("1.5 0 {ID}"),
            format!("1e3 0 {ID}"),
            format!("6652800000001 0 {ID}"),
            format!("0 9007199254740992 {ID}"),
            format!("0 99999999999999999999 {ID}"),
            "0 0 00000000000000FF".to_owned(),
            "0 0 ff".to_owned(),
            "0 0 00000000000000ff0".to_owned(),
            "0 0 +0000000000000ff".to_owned(),
            "9".repeat(10_000),
        ];
        for text in wrong {
            assert_eq!(answer(text.as_bytes()), None, "{text}");
        }
        assert_eq!(
            answer(b"0 0 \xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            None
        );
    }

    #[test]
    fn news_are_read_line_by_line_and_strange_lines_are_counted() {
        let good = format!("{NAME} 5 7 {ID}");
        let said = heard(&good);
        let [news]: [News; 1] = said.news.try_into().unwrap();
        assert_eq!((news.bucket.to_string(), said.malformed), (NAME.to_owned(), 0));
        assert_eq!((news.answer.remaining_us, news.answer.epoch.at), (5, UnixMicros(7)));
        let mixed = heard(&format!("{good}\nrubbish\n{good}\n{} 5 7 {ID}\n", NAME.to_uppercase()));
        assert_eq!((mixed.news.len(), mixed.malformed), (2, 3), "the end is an empty line");
        for wrong in ["", " ", NAME, "x.y.z 5 7 0", "ab.00000001.000000ff 5 7 00000000000000ff"] {
            assert_eq!(heard(wrong), Heard { news: Vec::new(), malformed: 1 }, "{wrong}");
        }
    }

    #[test]
    fn a_message_has_bounds() {
        let line = format!("{NAME} 5 7 {ID}");
        let full = vec![line.as_str(); NEWS_PER_CALL_MAX].join("\n");
        assert!(full.len() <= MESSAGE_BYTES_MAX);
        assert_eq!(heard(&full).news.len(), NEWS_PER_CALL_MAX);
        let more = heard(&format!("{full}\n{line}"));
        assert_eq!(more.news.len(), NEWS_PER_CALL_MAX);
        let flood = heard(&full.repeat(10));
        assert_eq!((flood.news.len(), flood.malformed), (0, 1));
    }

    #[test]
    fn news_with_a_beginning_of_the_far_future_are_none() {
        let line = format!("{NAME} 5 7 {ID}");
        let until = |last| message(line.as_bytes(), Partition(0), 1, UnixMicros(last));
        assert_eq!((until(7).news.len(), until(7).malformed), (1, 0));
        assert_eq!((until(6).news.len(), until(6).malformed), (0, 1));
    }

    #[test]
    fn news_of_another_partition_are_none() {
        let line = format!("{NAME} 5 7 {ID}");
        let there = Partition::of(SubjectHash([0xab; 16]), 7);
        let elsewhere = Partition(there.0.wrapping_add(1));
        let heard = |partition| message(line.as_bytes(), partition, 7, UnixMicros(7)).news.len();
        assert_eq!((heard(there), heard(elsewhere)), (1, 0));
    }
}
