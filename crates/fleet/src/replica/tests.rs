use model::bucket::Rate;
use model::time::UnixMicros;

use super::due::{Due, Overdue, REPORT_AGE_MAX};
use super::*;
use crate::terms::DebtMax;

const MS: u64 = 1_000_000;
const NOW: MonotonicNanos = 1_000_000 * MS;

/// 100 tokens, ten a second: a token is 100 ms, the bucket ten seconds.
fn terms() -> Terms {
    let rate = Rate::new(100, 10, Duration::from_secs(1)).unwrap();
    Terms { rate, debt: DebtMax::default() }
}

fn told(remaining_ms: u64, as_of: MonotonicNanos) -> Told {
    let answer = Answer { epoch: Epoch::default(), remaining_us: remaining_ms * 1_000 };
    Told { answer, as_of }
}

fn take(replica: &mut Replica, takes: u32, now: MonotonicNanos) -> Result<Quota, Refusal> {
    replica.take(takes, &terms(), Link::Up, now)
}

/// Reported once and answered: the bucket was full but for this one take.
fn known() -> Replica {
    let mut replica = Replica::default();
    take(&mut replica, 1, NOW).unwrap();
    replica.report(1, &terms(), NOW).unwrap();
    assert_eq!(replica.answered(1, told(100, NOW), &terms(), NOW + MS), Heard::Known);
    replica
}

#[test]
fn it_is_small() {
    assert!(size_of::<Replica>() <= Replica::BYTES_MAX, "{}", size_of::<Replica>());
}

#[test]
fn it_takes_what_is_there_and_says_what_is_left() {
    let mut replica = Replica::default();
    let quota = take(&mut replica, 60, NOW).unwrap();
    assert_eq!((quota.remaining, quota.reset), (40, Duration::from_secs(6)));
    let Err(Refusal::Empty(quota)) = take(&mut replica, 41, NOW) else { panic!() };
    assert_eq!(quota.reset, Duration::from_millis(100), "until there are 41");
    assert_eq!(replica.unreported(), 60, "all or nothing");
    let quota = take(&mut replica, 40, NOW).unwrap();
    assert_eq!((quota.remaining, quota.reset), (0, Duration::from_millis(100)));
    take(&mut replica, 1, NOW + 99 * MS).unwrap_err();
    take(&mut replica, 1, NOW + 100 * MS).unwrap();
}

#[test]
fn what_others_took_is_missing_here_and_debt_is_waited_for() {
    let mut replica = known();
    replica.hear(told(15_000, NOW), &terms());
    let Err(Refusal::Empty(quota)) = take(&mut replica, 1, NOW) else { panic!() };
    assert_eq!(quota.reset, Duration::from_millis(5_100), "a bucket of debt's half, and one token");
    replica.hear(told(u64::MAX / 1_000, NOW), &terms());
    let Err(Refusal::Empty(quota)) = take(&mut replica, 1, NOW) else { panic!() };
    assert_eq!(quota.reset, Duration::from_millis(10_100), "no longer, whatever is said");
}

#[test]
fn an_answer_counts_from_when_it_was_asked_for_with_what_was_taken_since() {
    let mut replica = Replica::default();
    take(&mut replica, 2, NOW).unwrap();
    let out = replica.report(7, &terms(), NOW).unwrap();
    assert_eq!((out.serial, out.takes), (7, 2));
    take(&mut replica, 3, NOW + MS).unwrap();
    replica.answered(7, told(5_000, NOW), &terms(), NOW + 50 * MS);
    assert_eq!(replica.quota(&terms(), NOW).reset, Duration::from_millis(5_300));
    assert_eq!(replica.unreported(), 3);
}

#[test]
fn first_sight_is_reported_at_once() {
    let mut replica = Replica::default();
    assert_eq!(replica.due_at(&terms()), None, "nothing was taken");
    take(&mut replica, 1, NOW).unwrap();
    let (at, why) = replica.due_at(&terms()).unwrap();
    assert!(at <= NOW);
    assert_eq!(why, Due::FirstSight);
    replica.report(1, &terms(), NOW).unwrap();
    take(&mut replica, 50, NOW).unwrap();
    assert_eq!(replica.due_at(&terms()), None, "one at a time");
}

#[test]
fn far_from_the_limit_takes_wait_for_a_part_of_the_bucket_or_a_quarter_of_its_time() {
    let mut replica = known();
    take(&mut replica, 4, NOW).unwrap();
    assert_eq!(replica.due_at(&terms()), Some((NOW + 2_500 * MS, Due::Far)));
    assert_eq!(replica.report(2, &terms(), NOW + 2_499 * MS), None);
    take(&mut replica, 1, NOW).unwrap();
    assert_eq!(replica.due_at(&terms()), Some((NOW + 5 * MS, Due::Far)), "5 %, and 5 ms apart");
}

#[test]
fn near_the_limit_takes_wait_for_100_ms() {
    let mut replica = known();
    replica.hear(told(5_001, NOW), &terms());
    take(&mut replica, 1, NOW).unwrap();
    assert_eq!(replica.due_at(&terms()), Some((NOW + 100 * MS, Due::Near)));
    take(&mut replica, 4, NOW).unwrap();
    assert_eq!(replica.due_at(&terms()), Some((NOW + 5 * MS, Due::Near)));
}

#[test]
fn a_report_without_an_answer_is_sent_again_under_its_number_and_given_up_in_time() {
    let mut replica = Replica::default();
    take(&mut replica, 2, NOW).unwrap();
    let out = replica.report(7, &terms(), NOW).unwrap();
    assert_eq!(replica.overdue(NOW + 99 * MS), None);
    assert_eq!(replica.overdue(NOW + 100 * MS), Some(Overdue::Again(out)));
    assert_eq!(replica.overdue(NOW + 150 * MS), None);
    assert_eq!(replica.waiting_since(), Some(NOW));
    let late = NOW + nanos(REPORT_AGE_MAX) + MS;
    assert_eq!(replica.overdue(late), Some(Overdue::GivenUp(2)));
    assert_eq!(replica.overdue(late), None);
    assert_eq!(replica.answered(7, told(0, NOW), &terms(), late), Heard::Known, "mere news");
}

#[test]
fn a_beginning_counts_once_and_what_belongs_to_an_older_one_changes_nothing() {
    let mut replica = known();
    take(&mut replica, 3, NOW).unwrap();
    let zero = Epoch { at: UnixMicros(10), id: 1 };
    replica.begin((zero, Begins::Emptied), Duration::from_secs(4), &terms(), NOW);
    assert_eq!(replica.unreported(), 0);
    assert_eq!(replica.quota(&terms(), NOW).remaining, 40, "what came back in four seconds");
    take(&mut replica, 1, NOW).unwrap();
    let before = replica.clone();
    replica.begin((zero, Begins::Emptied), Duration::ZERO, &terms(), NOW);
    assert_eq!(replica.hear(told(20_000, NOW), &terms()), Heard::Late);
    assert_eq!(replica, before);
    replica.report(2, &terms(), NOW + 5 * MS).unwrap();
    let of_zero = Answer { epoch: zero, remaining_us: 6_100_000 };
    let of_zero = Told { answer: of_zero, as_of: NOW };
    assert_eq!(replica.answered(2, of_zero, &terms(), NOW + 6 * MS), Heard::Known);
    take(&mut replica, 1, NOW + 6 * MS).unwrap();
    let lift = Epoch { at: UnixMicros(11), id: 2 };
    let answer = Answer { epoch: lift, remaining_us: 0 };
    assert_eq!(replica.hear(Told { answer, as_of: NOW }, &terms()), Heard::Anew);
    assert_eq!((replica.epoch(), replica.quota(&terms(), NOW).remaining), (lift, 100));
}

/// A node that has forgotten an unblock sees the bucket for the first time, while others use it.
#[test]
fn what_was_taken_before_the_first_answer_counts_in_the_beginning_that_it_tells_of() {
    let mut replica = Replica::default();
    take(&mut replica, 3, NOW).unwrap();
    let first = replica.report(1, &terms(), NOW + 5 * MS).unwrap();
    assert_eq!((first.takes, first.epoch), (3, Epoch::default()));
    take(&mut replica, 2, NOW + 6 * MS).unwrap();
    let lift = Epoch { at: UnixMicros(10), id: 1 };
    let answer = Answer { epoch: lift, remaining_us: 4_000_000 };
    let told = Told { answer, as_of: NOW + 5 * MS };
    let heard = |replica: &mut Replica| replica.answered(1, told, &terms(), NOW + 7 * MS);
    let mut by_news = replica.clone();
    assert_eq!(heard(&mut replica), Heard::Anew);
    let again = replica.report(2, &terms(), NOW + 200 * MS).unwrap();
    assert_eq!((again.takes, again.epoch), (5, lift), "Redis has counted none of them");
    assert_eq!(replica.quota(&terms(), NOW + 5 * MS).remaining, 100 - 40 - 5);
    // News may come first: then the answer is mere news.
    assert_eq!(by_news.hear(told, &terms()), Heard::Anew);
    assert_eq!((by_news.unreported(), heard(&mut by_news)), (5, Heard::Known));
    assert_eq!(by_news.unreported(), 5);
    // Who knows the bucket has taken from what was there before.
    let mut replica = known();
    take(&mut replica, 3, NOW).unwrap();
    assert_eq!(replica.hear(told, &terms()), Heard::Anew);
    assert_eq!(replica.unreported(), 0);
}

#[test]
fn an_answer_to_a_report_from_before_the_beginning_is_late() {
    let mut replica = Replica::default();
    take(&mut replica, 1, NOW).unwrap();
    replica.report(1, &terms(), NOW).unwrap();
    let zero = (Epoch { at: UnixMicros(10), id: 1 }, Begins::Emptied);
    replica.begin(zero, Duration::ZERO, &terms(), NOW);
    assert_eq!(replica.answered(1, told(0, NOW), &terms(), NOW), Heard::Late);
    assert_eq!(replica.waiting_since(), None);
    assert_eq!(replica.quota(&terms(), NOW).remaining, 0);
}

#[test]
fn a_redis_that_has_lost_the_bucket_is_noticed() {
    let mut replica = known();
    take(&mut replica, 50, NOW).unwrap();
    replica.report(2, &terms(), NOW + 5 * MS).unwrap();
    let heard = replica.answered(2, told(5_100, NOW + 5 * MS), &terms(), NOW + 6 * MS);
    assert_eq!(heard, Heard::Known);
    take(&mut replica, 5, NOW + 6 * MS).unwrap();
    replica.report(3, &terms(), NOW + 20 * MS).unwrap();
    let heard = replica.answered(3, told(500, NOW + 20 * MS), &terms(), NOW + 21 * MS);
    assert_eq!(heard, Heard::Behind);
    assert_eq!(replica.quota(&terms(), NOW + 21 * MS).remaining, 44, "it knows better");
}

#[test]
fn a_node_that_is_cut_off_goes_on_alone_or_with_its_share_or_not_at_all() {
    let lost = |rule| Link::Lost { rule, nodes: 8 };
    let count = |replica: &mut Replica, link| {
        (0..200).filter(|_| replica.take(1, &terms(), link, NOW).is_ok()).count()
    };
    assert_eq!(count(&mut Replica::default(), lost(OnLoss::Local)), 100);
    let mut divides = Replica::default();
    assert_eq!(count(&mut divides, lost(OnLoss::Divide)), 12, "100 / 8");
    assert_eq!(divides.quota(&terms(), NOW).remaining, 88);
    assert_eq!(count(&mut divides, Link::Up), 88, "the share is over with the loss");
    let mut denies = Replica::default();
    assert_eq!(denies.take(1, &terms(), lost(OnLoss::Deny), NOW), Err(Refusal::CutOff));
    assert_eq!(denies, Replica::default());
    let many = Link::Lost { rule: OnLoss::Divide, nodes: 1_000 };
    assert_eq!(count(&mut Replica::default(), many), 1, "one at least");
    let none = Link::Lost { rule: OnLoss::Divide, nodes: 0 };
    assert_eq!(count(&mut Replica::default(), none), 100);
}

#[test]
fn it_may_be_forgotten_once_it_is_full_and_nothing_is_left_to_say() {
    let mut replica = Replica::default();
    assert!(replica.is_idle(NOW));
    take(&mut replica, 1, NOW).unwrap();
    assert!(!replica.is_idle(NOW + 200 * MS), "not reported");
    replica.report(1, &terms(), NOW + 200 * MS).unwrap();
    assert!(!replica.is_idle(NOW + 200 * MS), "not answered");
    replica.answered(1, told(100, NOW + 200 * MS), &terms(), NOW + 201 * MS);
    assert!(!replica.is_idle(NOW + 299 * MS));
    assert!(replica.is_idle(NOW + 300 * MS));
}
