use std::time::Duration;

use model::bucket::Rate;
use model::hash::SubjectHash;

use super::*;
use crate::terms::{DebtMax, Terms};
use crate::wire::Partition;

const NOW: UnixMicros = UnixMicros(1_800_000_000_000_000);

fn report(serial: u64, takes: u32) -> Report {
    let rate = Rate::new(100, 10, Duration::from_secs(1)).unwrap();
    let partition = Partition(0);
    Report {
        id: ReportId { partition, boot: 1, serial },
        bucket: BucketName { partition, subject: SubjectHash([1; 16]), limit: 1, rate: 1 },
        takes,
        epoch: Epoch::default(),
        begins: Begins::Full,
        terms: Terms { rate, debt: DebtMax::default() },
    }
}

fn later(ms: u64) -> UnixMicros {
    UnixMicros(NOW.0 + ms * 1_000)
}

#[test]
fn reports_add_up_and_time_takes_away() {
    let mut ledger = Ledger::default();
    let (answer, news) = ledger.report(&report(1, 30), NOW);
    assert_eq!((answer.remaining_us, news), (3_000_000, None));
    let (answer, _) = ledger.report(&report(2, 20), later(1_000));
    assert_eq!(answer.remaining_us, 4_000_000);
    let (answer, news) = ledger.report(&report(2, 20), later(1_000));
    assert_eq!((answer.remaining_us, news), (4_000_000, None), "counted once");
    let (answer, _) = ledger.report(&report(3, 1), later(60_000));
    assert_eq!(answer.remaining_us, 100_000);
}

#[test]
fn a_bucket_without_a_token_is_news_and_debt_has_a_cap() {
    let mut ledger = Ledger::default();
    assert_eq!(ledger.report(&report(1, 99), NOW).1, None, "one token is left");
    let (answer, news) = ledger.report(&report(2, 1), NOW);
    assert_eq!(news, Some(News { bucket: report(2, 1).bucket, answer }));
    assert_eq!(ledger.report(&report(2, 1), NOW).1, None, "nothing has changed");
    let (answer, news) = ledger.report(&report(3, 500), NOW);
    assert_eq!(answer.remaining_us, 20_000_000, "bucket and debt");
    assert!(news.is_some());
    assert_eq!(ledger.forgiven_us(), 40_000_000);
}

#[test]
fn a_beginning_counts_once_from_when_it_was_and_late_reports_change_nothing() {
    let mut ledger = Ledger::default();
    ledger.report(&report(1, 50), NOW);
    let zero = Epoch { at: NOW, id: 7 };
    let zeroed =
        |serial, takes| Report { epoch: zero, begins: Begins::Emptied, ..report(serial, takes) };
    let (answer, _) = ledger.report(&zeroed(2, 0), later(4_000));
    assert_eq!((answer.epoch, answer.remaining_us), (zero, 6_000_000));
    let (answer, _) = ledger.report(&zeroed(3, 1), later(5_000));
    assert_eq!(answer.remaining_us, 5_100_000, "not emptied again");
    let (answer, news) = ledger.report(&report(4, 90), later(5_000));
    assert_eq!((answer.remaining_us, news), (5_100_000, None), "from before the zero");
    assert_eq!(answer.epoch, zero, "which the node learns");
    let lift = Epoch { at: later(6_000), id: 3 };
    let (answer, _) = ledger.report(&Report { epoch: lift, ..report(5, 1) }, later(6_000));
    assert_eq!(answer.remaining_us, 100_000, "full but for this");
    let (answer, _) = ledger.report(&zeroed(6, 5), later(6_000));
    assert_eq!((answer.epoch, answer.remaining_us), (lift, 100_000));
}

#[test]
fn a_clock_that_is_set_makes_no_bucket_emptier_than_debt_allows() {
    let mut ledger = Ledger::default();
    ledger.report(&report(1, 100), NOW);
    let hour_before = UnixMicros(NOW.0 - 3_600_000_000);
    let (answer, _) = ledger.report(&report(1, 100), hour_before);
    assert_eq!(answer.remaining_us, 20_000_000, "nor in the answer to one that comes again");
    let (answer, _) = ledger.report(&report(2, 0), hour_before);
    assert_eq!(answer.remaining_us, 20_000_000);
    let (answer, _) = ledger.report(&report(3, 1), UnixMicros(NOW.0 + 3_600_000_000));
    assert_eq!(answer.remaining_us, 100_000, "full once");
    let zero = Epoch { at: UnixMicros(NOW.0 + 7_200_000_000), id: 7 };
    let early = Report { epoch: zero, begins: Begins::Emptied, ..report(4, 0) };
    let (answer, _) = ledger.report(&early, later(0));
    assert_eq!(answer.remaining_us, 10_000_000, "a zero of the future empties, no more");
}

#[test]
fn a_beginning_that_somebody_has_set_far_ahead_keeps_no_event_from_being_one() {
    let mut ledger = Ledger::default();
    let far = Epoch { at: UnixMicros(1 << 52), id: 9 };
    let (answer, _) = ledger.report(&Report { epoch: far, ..report(1, 100) }, NOW);
    let last = NOW.saturating_add(AHEAD_MAX);
    assert_eq!(answer.epoch, Epoch { at: last, id: 9 }, "no node learns more than that");
    let (answer, _) = ledger.report(&Report { epoch: far, ..report(2, 1) }, later(1_000));
    assert_eq!(answer.epoch.at, last, "it is one beginning, however often it is reported");
    let lift = Epoch { at: UnixMicros(last.0 + 1), id: 3 };
    let (answer, _) = ledger.report(&Report { epoch: lift, ..report(3, 1) }, lift.at);
    assert_eq!((answer.epoch, answer.remaining_us), (lift, 100_000));
    // The clock was set back by more than that: what the bucket has begun with is forgotten, and what was taken is not.
    let before = NOW.saturating_sub(AHEAD_MAX);
    let (answer, _) = ledger.report(&report(4, 1), before);
    assert_eq!(answer.epoch, Epoch::default());
    assert_eq!(answer.remaining_us, 20_000_000);
}

#[test]
fn nothing_is_kept_for_longer_than_it_matters() {
    let mut ledger = Ledger::default();
    ledger.report(&report(1, 10), NOW);
    ledger.report(&report(2, 10), later(59_999));
    assert_eq!(ledger.size(), (1, 2));
    let mut other = report(3, 1);
    other.bucket.limit = 2;
    ledger.report(&other, later(60_000));
    assert_eq!(ledger.size(), (2, 2), "the first report is forgotten");
    other.id.serial = 4;
    ledger.report(&other, later(59_999 + 60_000 + 1_000));
    assert_eq!(ledger.size(), (1, 1), "and so is a bucket that is full for as long");
}
