//! What one worker does every few milliseconds.

use gate::decide::{Cause, Verdict};

use crate::call::Call;
use crate::follower::Follower;
use crate::held::Held;
use crate::host::{Host, Level};

impl<H: Host> Call<'_, H> {
    /// What a worker does every few milliseconds: it answers requests whose bodies do not come, tells the
    /// proxy what it has counted, and, if it may poll the invalidator, renews the lease or takes it, and
    /// polls. What was taken from the fleet's buckets is reported at once where that is due: then ticks come
    /// earlier, and do nothing else.
    pub fn on_tick(self, follower: Option<&mut Follower>) {
        if !self.plugin.has_fleet_limits {
            return self.on_regular_tick(follower);
        }
        let now = self.host.monotonic();
        let Some(follower) = follower else { return self.on_regular_tick(None) };
        follower.report(self);
        if self.worker.ticks.is_regular(now) {
            self.refresh_fleet();
            self.on_regular_tick(Some(&mut *follower));
        }
        let next_at = follower.next_report_at(self);
        self.worker.ticks.go_on(self.host, self.host.monotonic(), next_at);
    }

    fn on_regular_tick(self, follower: Option<&mut Follower>) {
        self.give_up_on_bodies();
        if let Ok(mut open) = self.worker.open.try_borrow_mut() {
            open.tick();
        }
        self.end_open_streams();
        self.flush();
        if let Some(follower) = follower {
            follower.on_tick(self);
        }
    }

    /// Reads what the node knows of the fleet by now: requests go by it.
    fn refresh_fleet(self) {
        let cut_off = self.with_decides(|worker| {
            worker.fleet.refresh(&mut self.host.memory());
            worker.fleet.take_cut_off()
        });
        self.count_cut_off(cut_off);
    }

    /// Says to the account of what is held what time it is, and answers requests whose bodies do not
    /// come in time, or are not handed over.
    fn give_up_on_bodies(self) {
        let now = self.host.monotonic();
        self.worker.load.tick(now);
        for (stream, held) in self.worker.watch.overdue(now) {
            self.give_up(stream, &held, Cause::BodyTooSlow);
        }
        for (stream, held) in self.worker.watch.give_up(now, self.host) {
            if !self.give_up(stream, &held, Cause::BodyNotHeld) {
                continue;
            }
            self.host.log(
                Level::Error,
                format_args!(
                    "a request was held for its body, which Envoy has received and not handed over: set \
                     allow_on_headers_stop_iteration: true beside the plugin's root_id"
                ),
            );
        }
    }

    /// Answers a request that is held, or lets it go on if it is only to be counted. Says whether it was
    /// held still.
    fn give_up(self, stream: H::StreamId, held: &Held, cause: Cause) -> bool {
        let Some(pending) = held.take() else { return false };
        self.host.switch_to(stream);
        let decision = self.abandon(cause, pending);
        self.note(&decision);
        match &decision.verdict {
            Verdict::Deny(denial) => self.reject(&decision, denial),
            Verdict::Allow => {
                held.release();
                self.host.resume_request();
            }
        }
        true
    }
}
