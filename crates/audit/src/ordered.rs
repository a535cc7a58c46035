//! What an event orders, as it stands in its line: which requests, until when, which rate.

use model::bucket::Rate;
use model::state::{Effect, Scope};
use model::time::UnixMicros;
use serde::Serialize;

use super::event_text::EventText;

/// What an event orders, beside its action and its reason: which requests, until when, which rate.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Ordered {
    /// Of a block.
    Block {
        /// Which route groups; none means every request.
        scope: Vec<EventText>,
        /// Until when; nothing: until it is lifted.
        until: Option<String>,
        /// Whether the client may be told the reason.
        disclose: bool,
    },
    /// Of a zero.
    Zero {
        /// Which route groups; none means every request.
        scope: Vec<EventText>,
        /// Until when requests are refused; nothing: only until the buckets have refilled.
        until: Option<String>,
    },
    /// Of an override.
    Override {
        /// Which limit.
        limit: EventText,
        /// Its rate; nothing: the configured one again.
        rate: Option<RateFact>,
        /// Until when; nothing: until it is taken back.
        until: Option<String>,
    },
}

impl Ordered {
    pub(super) fn of(effect: &Effect) -> Option<Self> {
        let names = |scope: &Scope| scope.names().iter().cloned().map(EventText::from).collect();
        let time = |at: Option<UnixMicros>| at.map(|at| at.to_string());
        Some(match effect {
            Effect::Block(block) => Self::Block {
                scope: names(&block.scope),
                until: time(block.until),
                disclose: block.disclose,
            },
            Effect::Zero(zero) => Self::Zero { scope: names(&zero.scope), until: time(zero.until) },
            Effect::Override(change) => Self::Override {
                limit: change.limit.clone().into(),
                rate: change.rate.as_ref().map(RateFact::of),
                until: time(change.until),
            },
            // It says all with its reason.
            Effect::Lift { .. } => return None,
        })
    }
}

/// The rate of an override.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RateFact {
    /// Size of the bucket.
    pub max_tokens: u32,
    /// Tokens that come back in each interval.
    pub tokens_per_fill: u32,
    /// The interval, in seconds.
    pub fill_interval_s: f64,
}

impl RateFact {
    fn of(rate: &Rate) -> Self {
        Self {
            max_tokens: rate.max_tokens(),
            tokens_per_fill: rate.tokens_per_fill(),
            fill_interval_s: rate.fill_interval().as_secs_f64(),
        }
    }
}
