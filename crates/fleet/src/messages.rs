//! The messages of nodes about buckets of the fleet, checked and turned into what the rules are about, and back.

use std::time::Duration;

use model::bucket::{Rate, RateTag};
use model::hash::SubjectHash;
use model::push::{
    self, FLEET_REPORTS_MAX, FleetBucket, FleetEpoch, FleetReport, FleetReports, NODE_NAME_RULE,
    PROTOCOL, is_node_name,
};
use model::time::UnixMicros;
use model::violation::Violation;

use crate::epoch::{Begins, Epoch};
use crate::lines::EXACT_MAX;
use crate::terms::{DebtMax, Terms};
use crate::wire::{Answer, BucketName, News, Partition, Report, ReportId};

/// Checks a call of a node, and gives its reports in their order; there are `partitions`. A call without reports asks
/// whether it would be answered.
///
/// # Errors
/// The first rule that is broken, such as `reports[3].takes: must be at least 1`.
pub fn reports(call: &FleetReports, partitions: u16) -> Result<Vec<Report>, Violation> {
    let count = call.reports.len();
    let rules = [
        ("protocol", "must be 1", call.protocol == PROTOCOL),
        ("node", NODE_NAME_RULE, is_node_name(&call.node)),
        ("boot_id", NODE_NAME_RULE, is_node_name(&call.boot_id)),
        ("reports", "must be at most 256", count <= FLEET_REPORTS_MAX),
    ];
    if let Some((field, rule, _)) = rules.iter().find(|(_, _, holds)| !holds) {
        return Err(Violation::new(*field, *rule));
    }
    let all = call.reports.iter().enumerate();
    all.map(|(at, one)| {
        report(one, call.boot, partitions).map_err(|error| error.within(&format!("reports[{at}]")))
    })
    .collect()
}

fn report(wire: &FleetReport, boot: u64, partitions: u16) -> Result<Report, Violation> {
    let bucket = bucket(wire.bucket.as_ref(), partitions)?;
    if wire.takes == 0 {
        return Err(Violation::new("takes", "must be at least 1"));
    }
    let epoch = epoch(wire.epoch.as_ref())?;
    let begins = if wire.emptied { Begins::Emptied } else { Begins::Full };
    let rate = wire.rate.as_ref().ok_or_else(|| Violation::new("rate", "must be given"))?;
    let interval = Duration::from_nanos(rate.fill_interval);
    let rate = Rate::new(rate.max_tokens, rate.tokens_per_fill, interval);
    let rate = rate.map_err(|error| error.within("rate"))?;
    let debt = DebtMax::percent(wire.debt_percent)
        .map_err(|Violation { rule, .. }| Violation::new("debt_percent", rule))?;
    Ok(Report {
        id: ReportId { partition: bucket.partition, boot, serial: wire.serial },
        bucket,
        takes: wire.takes,
        epoch,
        begins,
        terms: Terms { rate, debt },
    })
}

fn bucket(wire: Option<&FleetBucket>, partitions: u16) -> Result<BucketName, Violation> {
    let wire = wire.ok_or_else(|| Violation::new("bucket", "must be given"))?;
    let subject = <[u8; SubjectHash::BYTES]>::try_from(wire.subject.as_slice());
    let subject = subject.map_err(|_| Violation::new("bucket.subject", "must be 16 bytes"))?;
    let subject = SubjectHash(subject);
    let partition = Partition::of(subject, partitions);
    Ok(BucketName::new(partition, subject, wire.limit, RateTag(wire.rate)))
}

fn epoch(wire: Option<&FleetEpoch>) -> Result<Epoch, Violation> {
    let Some(FleetEpoch { at, id }) = wire else { return Ok(Epoch::default()) };
    if *at > EXACT_MAX {
        return Err(Violation::new("epoch.at", "must be less than 2^53 microseconds"));
    }
    Ok(Epoch { at: UnixMicros(*at), id: *id })
}

/// The answer to a report, for its node.
#[must_use]
pub fn answer(serial: u64, answer: Answer) -> push::FleetAnswer {
    let Answer { epoch, remaining_us } = answer;
    push::FleetAnswer { serial, epoch: Some(wire_epoch(epoch)), remaining_us }
}

/// News for nodes, of which so much time has passed since they were heard.
#[must_use]
pub fn news(news: &News, ago: Duration) -> push::FleetNews {
    let News { bucket, answer: Answer { epoch, remaining_us } } = news;
    let ago_us = u64::try_from(ago.as_micros()).unwrap_or(u64::MAX);
    push::FleetNews {
        bucket: Some(FleetBucket {
            subject: bucket.subject.0.to_vec(),
            limit: bucket.limit,
            rate: bucket.rate,
        }),
        epoch: Some(wire_epoch(*epoch)),
        remaining_us: remaining_us.saturating_sub(ago_us),
    }
}

fn wire_epoch(epoch: Epoch) -> FleetEpoch {
    FleetEpoch { at: epoch.at.0, id: epoch.id }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> FleetReports {
        let bucket = FleetBucket { subject: vec![7; 16], limit: 1, rate: 2 };
        let rate = push::Rate { max_tokens: 10, tokens_per_fill: 1, fill_interval: 1_000_000_000 };
        let report = FleetReport {
            serial: 9,
            bucket: Some(bucket),
            takes: 3,
            epoch: Some(FleetEpoch { at: 5, id: 6 }),
            emptied: true,
            rate: Some(rate),
            debt_percent: 100,
        };
        FleetReports {
            protocol: PROTOCOL,
            node: "edge-1".into(),
            boot_id: "a".into(),
            key_version: 1,
            boot: 8,
            reports: vec![report],
        }
    }

    #[test]
    fn a_good_report_is_what_it_says() {
        let [one]: [Report; 1] = reports(&good(), 1).unwrap().try_into().unwrap();
        assert_eq!((one.id.boot, one.id.serial, one.takes), (8, 9, 3));
        assert_eq!((one.epoch, one.begins), (Epoch { at: UnixMicros(5), id: 6 }, Begins::Emptied));
        assert_eq!((one.bucket.limit, one.bucket.rate), (1, 2));
        assert_eq!(one.terms.fill_us(), 10_000_000);
        let mut none = good();
        none.reports[0].epoch = None;
        none.reports[0].emptied = false;
        let [one]: [Report; 1] = reports(&none, 1).unwrap().try_into().unwrap();
        assert_eq!((one.epoch, one.begins), (Epoch::default(), Begins::Full));
    }

    #[test]
    fn every_broken_rule_is_named_with_its_field() {
        type Change = fn(&mut FleetReports);
        let cases: [(Change, &str); 15] = [
            (|call| call.protocol = 2, "protocol: must be 1"),
            (|call| call.node = "a b".into(), "node: must be 1 to 128 visible"),
            (|call| call.boot_id.clear(), "boot_id: must be 1 to 128 visible"),
            (
                |call| call.reports = vec![call.reports[0].clone(); FLEET_REPORTS_MAX + 1],
                "reports: must be at most 256",
            ),
            (|call| call.reports[0].takes = 0, "reports[0].takes: must be at least 1"),
            (|call| call.reports[0].bucket = None, "reports[0].bucket: must be given"),
            (|call| call.reports[0].rate = None, "reports[0].rate: must be given"),
            (
                |call| call.reports[0].epoch = Some(FleetEpoch { at: 1 << 53, id: 1 }),
                "reports[0].epoch.at: must be less than 2^53",
            ),
            (
                |call| call.reports[0].debt_percent = 1_001,
                "reports[0].debt_percent: must be at most 1000",
            ),
            (|call| bucket_of(call).subject.push(1), "reports[0].bucket.subject: must be 16 bytes"),
            (|call| bucket_of(call).subject.clear(), "reports[0].bucket.subject: must be 16 bytes"),
            (|call| rate_of(call).max_tokens = 0, "reports[0].rate.max_tokens: must be at least 1"),
            (
                |call| rate_of(call).tokens_per_fill = 0,
                "reports[0].rate.tokens_per_fill: must be at least 1",
            ),
            (
                |call| rate_of(call).fill_interval = 0,
                "reports[0].rate.fill_interval: must give at most 10 million",
            ),
            (
                |call| rate_of(call).fill_interval = u64::MAX,
                "reports[0].rate.fill_interval: must let an empty bucket fill within 7 days",
            ),
        ];
        for (change, message) in cases {
            let mut call = good();
            change(&mut call);
            let error = reports(&call, 1).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    fn bucket_of(call: &mut FleetReports) -> &mut FleetBucket {
        call.reports[0].bucket.as_mut().unwrap()
    }

    fn rate_of(call: &mut FleetReports) -> &mut push::Rate {
        call.reports[0].rate.as_mut().unwrap()
    }

    #[test]
    fn news_lose_the_time_that_they_have_waited() {
        let subject = SubjectHash([1; 16]);
        let bucket = BucketName::new(Partition(0), subject, 2, RateTag(3));
        let said = News { bucket, answer: Answer { epoch: Epoch::default(), remaining_us: 5_000 } };
        assert_eq!(news(&said, Duration::from_millis(2)).remaining_us, 3_000);
        assert_eq!(news(&said, Duration::from_secs(9)).remaining_us, 0);
        let wire = news(&said, Duration::ZERO).bucket.unwrap();
        assert_eq!((wire.subject, wire.limit, wire.rate), (vec![1; 16], 2, 3));
    }
}
