//! One call with reports, as bytes: what is sent, and which answer belongs to it.

use fleet::epoch::{Begins, Epoch};
use fleet::replica::due::Outgoing;
use fleet::terms::Terms;
use model::push::{self, FLEET_BYTES_MAX, FleetAnswers, FleetBucket, FleetReport, Message};

use super::memo::Look;

/// The answers, if there is one for each report, in their order.
pub(super) fn read(body: &[u8], reports: &[(u64, Look)]) -> Option<FleetAnswers> {
    if body.len() > FLEET_BYTES_MAX {
        return None;
    }
    let answers = FleetAnswers::decode(body).ok()?;
    let serials = answers.answers.iter().map(|answer| answer.serial);
    serials.eq(reports.iter().map(|(serial, _)| *serial)).then_some(answers)
}

/// One report, as it is sent.
pub(super) fn report(limit: u32, look: &Look, terms: &Terms, outgoing: Outgoing) -> FleetReport {
    let Outgoing { serial, takes, epoch, begins } = outgoing;
    FleetReport {
        serial,
        bucket: Some(FleetBucket {
            subject: look.subject.0.to_vec(),
            limit,
            rate: look.rate.tag().0,
        }),
        takes,
        epoch: (epoch != Epoch::default())
            .then_some(push::FleetEpoch { at: epoch.at.0, id: epoch.id }),
        emptied: begins == Begins::Emptied,
        rate: Some(push::Rate::from(&look.rate)),
        debt_percent: terms.debt.as_percent(),
    }
}

/// Which life of which node reports: the first half of its boot id.
pub(super) fn boot(boot_id: &str) -> u64 {
    boot_id.get(..16).and_then(|half| u64::from_str_radix(half, 16).ok()).unwrap_or(0)
}
