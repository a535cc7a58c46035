//! Counts reports: the script is called for each partition by itself, and for a few reports at a time.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use fleet::bounds::{NEWS_PER_CALL_MAX, REPORT_MEMORY};
use fleet::epoch::Begins;
use fleet::lines;
use fleet::wire::{Answer, Partition, Report};
use futures_util::future::try_join_all;
use redis::{ErrorKind, RedisError, Script, ScriptInvocation};

use super::super::connect::Link;
use super::super::write::ends_connection;
use super::RedisLedger;
use crate::hub::Counted;
use crate::relay::Uncounted;

/// Most reports in one call of the script. Redis does nothing else meanwhile, which is half a millisecond; what comes
/// between two calls of one node, such as a block, does not wait for all of its reports.
const AT_ONCE: usize = 64;

impl RedisLedger {
    /// Counts all of them, and answers in their order.
    pub(super) async fn count_all(&self, reports: Vec<Report>) -> Counted {
        let open = self.current().ok_or(Uncounted::Unreachable)?;
        if self.is_short.load(Ordering::Relaxed) {
            return Err(Uncounted::Full);
        }
        if reports.is_empty() {
            // A node asks whether Redis answers, so that is what is tried.
            let call = self.call(&self.count, Partition::default(), &[]);
            let answered = count(call, open.link, 0).await;
            return answered.map_err(|failed| self.given_up(failed, open.number));
        }
        let mut partitions: BTreeMap<Partition, Vec<(usize, Report)>> = BTreeMap::new();
        for (at, report) in reports.iter().enumerate() {
            partitions.entry(report.id.partition).or_default().push((at, *report));
        }
        let calls = partitions.into_iter().map(|(partition, some)| {
            let (link, script) = (open.link.clone(), &*self.count);
            async move {
                let (places, some): (Vec<_>, Vec<_>) = some.into_iter().unzip();
                let mut answers = Vec::with_capacity(some.len());
                for some in some.chunks(AT_ONCE) {
                    let call = self.call(script, partition, some);
                    answers.extend(count(call, link.clone(), some.len()).await?);
                }
                Ok(places.into_iter().zip(answers).collect::<Vec<_>>())
            }
        });
        let answered: Result<Vec<_>, Failed> = try_join_all(calls).await;
        let mut answers: Vec<_> = answered
            .map_err(|failed| self.given_up(failed, open.number))?
            .into_iter()
            .flatten()
            .collect();
        answers.sort_by_key(|(at, _)| *at);
        Ok(answers.into_iter().map(|(_, answer)| answer).collect())
    }

    /// Why a call over this connection has no answers.
    fn given_up(&self, Failed { why, is_lost }: Failed, connection: u64) -> Uncounted {
        if is_lost {
            self.give_up(connection);
        }
        why
    }

    fn call<'a>(
        &self,
        script: &'a Script,
        partition: Partition,
        reports: &[Report],
    ) -> ScriptInvocation<'a> {
        let mut call = script.prepare_invoke();
        let memory_ms = u64::try_from(REPORT_MEMORY.as_millis()).unwrap_or(u64::MAX);
        call.arg(self.channel(partition)).arg(memory_ms).arg(NEWS_PER_CALL_MAX);
        for report in reports {
            let Report { id, bucket, takes, epoch, begins, terms } = report;
            call.key(bucket.key(&self.prefix)).key(id.key(&self.prefix));
            call.arg(bucket.to_string());
            call.arg(terms.charge_us(*takes)).arg(terms.spent_us(1));
            call.arg(terms.fill_us()).arg(terms.cap_us());
            call.arg(epoch.at.0).arg(format!("{:016x}", epoch.id));
            call.arg(u8::from(*begins == Begins::Emptied));
        }
        call
    }
}

/// Why one call has no answers, and whether its connection is of no use any more.
struct Failed {
    why: Uncounted,
    is_lost: bool,
}

impl From<RedisError> for Failed {
    fn from(error: RedisError) -> Self {
        // Its text may have arguments in it, and with them names of buckets.
        let is_strange = error.kind() == ErrorKind::UnexpectedReturnType;
        let is_lost = !is_strange && ends_connection(&error);
        let why = match error.kind() {
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Uncounted::Strange,
            _ if error.is_timeout() => Uncounted::Late,
            _ if is_lost => Uncounted::Unreachable,
            _ => Uncounted::Refused(error.code().unwrap_or("ERR").chars().take(64).collect()),
        };
        Self { why, is_lost }
    }
}

async fn count(
    call: ScriptInvocation<'_>,
    mut link: Link,
    expected: usize,
) -> Result<Vec<Answer>, Failed> {
    let lines: Vec<Vec<u8>> = call.invoke_async(&mut link).await?;
    let answers: Option<Vec<_>> = lines.iter().map(|line| lines::answer(line)).collect();
    let answers = answers.filter(|answers| answers.len() == expected);
    answers.ok_or(Failed { why: Uncounted::Strange, is_lost: false })
}
