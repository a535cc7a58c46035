//! What a node reports of the fleet's buckets: refused with the field at fault, or taken as numbers that Redis counts
//! exactly, under names that are as they should be.
#![no_main]

use fleet::lines::EXACT_MAX;
use fleet::messages;
use fleet::wire::Partition;
use libfuzzer_sys::fuzz_target;
use model::push::{FLEET_REPORTS_MAX, FleetReports, Message};

fuzz_target!(|data: &[u8]| {
    let Ok(call) = FleetReports::decode(data) else { return };
    for partitions in [1, 7] {
        match messages::reports(&call, partitions) {
            Ok(reports) => {
                assert!(reports.len() <= FLEET_REPORTS_MAX);
                assert_eq!(reports.len(), call.reports.len());
                for (report, wire) in reports.iter().zip(&call.reports) {
                    let terms = &report.terms;
                    let numbers =
                        [terms.charge_us(report.takes), terms.spent_us(1), terms.cap_us()];
                    assert!(numbers.iter().all(|number| (1..=EXACT_MAX).contains(number)));
                    assert!(report.epoch.at.0 <= EXACT_MAX && report.takes > 0);
                    assert_eq!((report.id.boot, report.id.serial), (call.boot, wire.serial));
                    assert_eq!(report.bucket.partition, report.id.partition);
                    assert_eq!(
                        report.bucket.partition,
                        Partition::of(report.bucket.subject, partitions)
                    );
                    let name = report.bucket.to_string();
                    assert!(name.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'.'));
                }
            }
            Err(error) => assert!(!error.field.is_empty() && !error.rule.is_empty()),
        }
    }
});
