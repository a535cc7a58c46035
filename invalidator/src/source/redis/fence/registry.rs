//! What this daemon has seen of the others' registrations, for when Redis loses them: whoever was cut off by then could
//! not register anew, and its Envoys would be forgotten.

use std::collections::BTreeSet;
use std::time::Duration;

use redis::{RedisResult, Script};

use super::super::session::Session;
use crate::fence::{DAEMONS_MAX, Remembered};

/// Most bytes of registrations that are written back in one call.
const CALL_BYTES_MAX: usize = 1024 * 1024;

/// The scripts of registrations.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) register: Script,
    pub(super) members: Script,
    remember: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        Self {
            register: script(include_str!("../../../../redis/register.lua")),
            members: script(include_str!("../../../../redis/members.lua")),
            remember: script(include_str!("../../../../redis/remember.lua")),
        }
    }
}

/// A script that goes by the time of registrations.
fn script(text: &str) -> Script {
    Script::new(&[include_str!("../../../../redis/clock.lua"), text].concat())
}

/// See the module's description.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// When the registrations began.
    since: Option<u64>,
    seen: Vec<Remembered>,
    /// When they were seen, by the daemon's steady clock.
    at: Duration,
    /// Whether they have to be looked for.
    is_lost: bool,
}

impl Registry {
    /// Notes when registrations began, as Redis says: anew, if it has lost them.
    pub(super) fn began(&mut self, since: u64) {
        let before = self.since.replace(since);
        self.is_lost |= before.is_some_and(|before| before != since);
    }

    /// Notes all that are there.
    pub(super) fn saw(&mut self, seen: Vec<Remembered>, now: Duration) {
        // What was lost is not there to be seen.
        if !self.is_lost {
            (self.seen, self.at) = (seen, now);
        }
    }

    /// What is to be looked for, and how old it has become meanwhile, in milliseconds; once after each loss.
    pub(super) fn take_lost(&mut self, now: Duration) -> Option<(Vec<Remembered>, u64)> {
        let passed = u64::try_from(now.saturating_sub(self.at).as_millis()).unwrap_or(u64::MAX);
        std::mem::take(&mut self.is_lost).then(|| (std::mem::take(&mut self.seen), passed))
    }
}

impl Session<'_> {
    /// Writes back what is not there of the registrations. Those who live have registered anew by now.
    pub(super) async fn write_registrations_back(
        &self,
        seen: Vec<Remembered>,
        passed: u64,
    ) -> RedisResult<u64> {
        let (key, mut link) = (&self.source.scripts.layout.daemons, self.link.clone());
        let there: BTreeSet<String> = redis::cmd("HKEYS").arg(key).query_async(&mut link).await?;
        let lost = seen.into_iter().filter(|one| !there.contains(&one.run));
        let (mut written, mut rest) = (0_u64, lost.peekable());
        while rest.peek().is_some() {
            let mut call = self.source.fences.scripts.remember.prepare_invoke();
            call.key(key).arg(DAEMONS_MAX);
            let mut bytes = 0_usize;
            while let Some(one) = rest.next_if(|_| bytes < CALL_BYTES_MAX) {
                bytes = bytes.saturating_add(one.said.len());
                let ages =
                    [one.renewed_ago_ms, one.first_ago_ms].map(|ms| ms.saturating_add(passed));
                call.arg(one.run).arg(ages.as_slice()).arg(one.said);
            }
            let some: u64 = call.invoke_async(&mut link).await?;
            written = written.saturating_add(some);
        }
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(run: &str) -> Remembered {
        Remembered { run: run.into(), renewed_ago_ms: 5, first_ago_ms: 9, said: b"1 {}".to_vec() }
    }

    #[test]
    fn what_was_seen_before_a_loss_is_looked_for_once() {
        let s = Duration::from_secs;
        let mut registry = Registry::default();
        registry.began(7);
        registry.saw(vec![seen("a")], s(10));
        registry.began(7);
        assert!(registry.take_lost(s(11)).is_none());
        registry.began(8);
        registry.saw(Vec::new(), s(12));
        assert_eq!(registry.take_lost(s(13)), Some((vec![seen("a")], 3_000)));
        assert!(registry.take_lost(s(13)).is_none());
        registry.saw(vec![seen("b")], s(14));
        registry.began(9);
        assert_eq!(registry.take_lost(s(14)), Some((vec![seen("b")], 0)));
    }
}
