//! One bucket for all nodes, without a hop on the path of a request: the rules.
//!
//! **For**: what a node holds of the fleet's bucket of one subject under one limit, and decides by
//! ([`replica`]); when it reports what it took; what Redis does with reports and answers ([`ledger`], which
//! `invalidator/redis/fleet.lua` does in the same way); what a node does that is cut off ([`loss`]); and by how much
//! too many requests can be admitted ([`overshoot`]); and how messages of nodes ([`messages`]) and what Redis says
//! ([`lines`]) are read. Plain computation on arguments: there is no clock, no I/O and no host call.
//!
//! **Not for**: how reports and answers travel, in which memory replicas lie, and which subjects and limits
//! there are. Of these rules the daemon uses those about messages; no node uses them yet.
//!
//! **Begin with** [`replica`], then [`ledger`]. Instants of different hosts are never compared: a node's are on its
//! own clock that never goes back, Redis's are on Redis's, and between them only spans of time travel.

pub mod bounds;
pub mod epoch;
pub mod ledger;
pub mod lines;
pub mod loss;
pub mod messages;
pub mod overshoot;
pub mod replica;
pub mod terms;
pub mod wire;
