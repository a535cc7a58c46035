//! What travels between a node, its daemon and Redis: names of buckets, reports, answers, news.
//!
//! These are the meanings; how they are written is in [`crate::messages`] (to and from nodes) and [`crate::lines`] (by
//! Redis). Time travels as spans only: how long it will be until a bucket is full.

use std::fmt;

use model::bucket::RateTag;
use model::hash::SubjectHash;

use crate::epoch::{Begins, Epoch};
use crate::terms::Terms;

/// Which part of the fleet's buckets a bucket belongs to. All reports of one call are of one partition, so that its
/// keys are in one slot of a Redis Cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(pub u16);

impl Partition {
    /// How many there may be.
    pub const COUNT_MAX: u16 = 4_096;

    /// The partition of a subject, of `count` (at least 1; 0 counts as 1).
    #[must_use]
    pub fn of(subject: SubjectHash, count: u16) -> Self {
        // Other bytes than those that choose a slab.
        let [.., a, b] = subject.0;
        Self(u16::from_le_bytes([a, b]).checked_rem(count.max(1)).unwrap_or(0))
    }
}

/// The name of one bucket of the fleet, the same on every node.
///
/// The rate is a part of it. While a configuration is rolled out two rates are in force, and so does an override bring
/// another one; each has a bucket of its own, which begins full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BucketName {
    /// Where it lies.
    pub partition: Partition,
    /// Whose it is: a hash under a key that all nodes share.
    pub subject: SubjectHash,
    /// Which limit it belongs to: a fingerprint of the limit's name.
    pub limit: u32,
    /// Under which rate: its [`RateTag`].
    pub rate: u32,
}

impl BucketName {
    /// How many bytes of memory a name takes.
    pub const BYTES: usize = 28;

    /// The bucket of this subject under this limit and rate.
    #[must_use]
    pub fn new(partition: Partition, subject: SubjectHash, limit: u32, rate: RateTag) -> Self {
        Self { partition, subject, limit, rate: rate.0 }
    }

    /// The key of Redis that has the bucket; `prefix` has neither `{` nor `}` in it.
    #[must_use]
    pub fn key(&self, prefix: &str) -> String {
        format!("{{{prefix}:fleet:{}}}:bucket:{self}", self.partition.0)
    }
}

impl fmt::Display for BucketName {
    /// Subject, limit and rate in hexadecimal digits, with dots between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.subject.0 {
            write!(f, "{byte:02x}")?;
        }
        write!(f, ".{:08x}.{:08x}", self.limit, self.rate)
    }
}

/// The name of one report: no two reports have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReportId {
    /// Where it is counted.
    pub partition: Partition,
    /// Which life of which node has sent it: random, made when the node's memory is.
    pub boot: u64,
    /// The how manieth of that life.
    pub serial: u64,
}

impl ReportId {
    /// The key of Redis that remembers the report; `prefix` has neither `{` nor `}` in it.
    #[must_use]
    pub fn key(&self, prefix: &str) -> String {
        let Self { partition, boot, serial } = self;
        format!("{{{prefix}:fleet:{}}}:report:{boot:016x}.{serial:x}", partition.0)
    }
}

/// What one node took from one bucket since its last report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Counted once, however often it is sent.
    pub id: ReportId,
    /// Which bucket.
    pub bucket: BucketName,
    /// How many tokens.
    pub takes: u32,
    /// Which beginning of the bucket they were taken from.
    pub epoch: Epoch,
    /// What was in the bucket at that beginning.
    pub begins: Begins,
    /// The limit's rate and debt, as the node has them.
    pub terms: Terms,
}

/// What Redis says of one bucket once a report is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which beginning of the bucket it is about.
    pub epoch: Epoch,
    /// How long it will be until the bucket is full, in microseconds; more than a whole fill is debt.
    pub remaining_us: u64,
}

/// What all nodes are told of a bucket that has no token left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// Which bucket.
    pub bucket: BucketName,
    /// What there is to know.
    pub answer: Answer,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_one_partition_have_one_hash_tag_and_say_which() {
        let subject = SubjectHash([0xab; 16]);
        let partition = Partition::of(subject, 7);
        let bucket = BucketName::new(partition, subject, 1, RateTag(2));
        let at = partition.0;
        assert_eq!(
            bucket.key("p"),
            format!("{{p:fleet:{at}}}:bucket:{}.00000001.00000002", "ab".repeat(16))
        );
        let id = ReportId { partition, boot: 3, serial: 255 };
        assert_eq!(id.key("p"), format!("{{p:fleet:{at}}}:report:0000000000000003.ff"));
        assert_eq!(Partition::of(subject, 1), Partition(0));
        assert_eq!(Partition::of(subject, 0), Partition(0));
        assert!(size_of::<BucketName>() <= BucketName::BYTES);
    }
}
