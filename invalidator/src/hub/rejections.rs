//! The first requests that nodes have rejected because of events, on their way into the audit log.

use audit::entry::{About, Fact, RejectionFact};
use engine::{FirstRejection, FirstRejections, Ticket};
use model::push::Poll;

use super::Hub;

impl Hub {
    /// Notes what a poll says of first rejections. Most say nothing.
    pub fn record_first_rejections(&self, ticket: &Ticket, poll: &Poll) {
        if poll.first_rejections.is_empty() {
            return;
        }
        let now = self.now();
        let told = self.engine().first_rejections(ticket, poll, now);
        let FirstRejections { new, known, unknown } = told;
        self.metrics.rejections.told(new.len(), known, unknown);
        for FirstRejection { subject, event_id, at } in new {
            let (node, boot_id) = (ticket.key.node.clone(), ticket.key.boot_id.clone());
            let (event_id, at) = (event_id.into(), at.to_string());
            let fact = Fact::Rejection(RejectionFact { node, boot_id, event_id, at });
            self.audit.note(Some(About::LookedFor(subject)), fact);
        }
    }
}
