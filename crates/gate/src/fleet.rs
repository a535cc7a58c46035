//! Limits that hold for the whole fleet, on this node: its replicas of the fleet's buckets in shared memory, and what
//! is said of them to the invalidator and by it.
//!
//! **For**: what a worker remembers between two reports ([`memo`]), what goes into a report and what becomes of its
//! answer ([`reporter`]), what is done with news ([`news`]), and whether the node hears of the fleet at all ([`link`]).
//!
//! **Not for**: the rules of replicas and reports, which are the crate [`fleet`]'s; where replicas lie, which is
//! [`crate::slab::replicas`]'s; deciding on a request, which is [`crate::decide`]'s; nor sending anything.

mod call;
mod change;
pub mod link;
pub mod memo;
pub mod news;
pub mod reporter;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
mod messages {
    include!(concat!(env!("OUT_DIR"), "/portcullis.node.fleet.v1.rs"));
}

use ::fleet::terms::Terms;
use model::bucket::Rate;

use crate::config::Limit;

/// What a limit is to the fleet under this rate; none if it holds for this node alone.
#[must_use]
pub fn terms(limit: &Limit, rate: Rate) -> Option<Terms> {
    limit.fleet.map(|fleet| Terms { rate, debt: fleet.debt })
}

#[cfg(test)]
mod tests;
