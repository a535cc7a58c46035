//! What came of a request, with everything that metrics, logs and responses say about it.

use std::cmp::Reverse;
use std::time::Duration;

use model::bucket::{Quota, Rate};
use model::hash::SubjectHash;
use model::name::EventId;
use signing::CLOCK_SKEW;
use signing::verify::Verified;

use super::cause::Cause;
use super::load::LoadRefusal;
use super::watched::Watched;
use crate::config::{Answer, Config};

/// What came of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether it goes on.
    pub verdict: Verdict,
    /// Rules that would have rejected it, had they been asked to.
    pub notes: Vec<Note>,
    /// What is left in each bucket that a token was taken from, by the limit's index.
    pub quotas: Vec<(usize, Quota)>,
    /// The integration that it was held to, by its index.
    pub integration: Option<usize>,
    /// Whose signature it has; set also if the request is rejected for another reason.
    pub verified: Option<Verified>,
    /// Who can end it once it was let through; none if nobody can.
    pub watched: Option<Watched>,
}

/// Whether a request goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It is forwarded.
    #[default]
    Allow,
    /// It is rejected.
    Deny(Denial),
}

/// A rejection that did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it would have been.
    pub denial: Denial,
    /// Why it did not happen.
    pub why: Why,
}

/// Why a rejection did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The rule is in shadow.
    Shadow,
    /// The fail policy says "allow".
    FailOpen,
}

/// A rejection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The rule.
    pub cause: Cause,
    /// The event behind it, if there is one.
    pub event: Option<EventId>,
    /// Whom that event is about.
    pub subject: Option<SubjectHash>,
    /// How long until trying again may help, if that is known.
    pub retry_after: Option<Duration>,
    /// The rate of the limit that is felt, if one is.
    pub rate: Option<Rate>,
}

impl Denial {
    /// A rejection without an event or a time.
    #[must_use]
    pub fn of(cause: Cause) -> Self {
        Self { cause, event: None, subject: None, retry_after: None, rate: None }
    }

    /// What the worker's account says of a request that it does not take on.
    pub(super) fn of_load(refusal: LoadRefusal) -> Self {
        match refusal {
            LoadRefusal::Unverified(wait) => {
                Self { retry_after: Some(wait), ..Self::of(Cause::Unverified) }
            }
            LoadRefusal::AddressFull | LoadRefusal::IntegrationFull => Self::of(Cause::BodyNoRoom),
        }
    }

    /// Whether it stands for what is known of the subject, and not for how much it asks.
    pub(super) fn is_status(&self) -> bool {
        matches!(self.cause, Cause::Block { .. } | Cause::Zero { .. })
    }

    /// Of several rejections, the one with the lowest rank is given: blocks before zeros before
    /// limits, and the longest wait first.
    pub(super) fn rank(&self) -> impl Ord + use<> {
        let sort = match &self.cause {
            // A reason that may be told says more than one that may not, and gives nothing away.
            Cause::Block { disclose: true, .. } => 0,
            Cause::Block { .. } => 1,
            Cause::Zero { .. } => 2,
            Cause::Limit { .. } => 3,
            _ => 4,
        };
        (sort, Reverse(self.retry_after))
    }
}

impl Decision {
    /// Applies a rule that rejects, unless it is in shadow.
    pub(super) fn rule(&mut self, cause: Cause, shadow: bool) -> Result<(), Denial> {
        self.reject(Denial::of(cause), shadow)
    }

    /// The same for a rejection that says more than its cause.
    pub(super) fn reject(&mut self, denial: Denial, shadow: bool) -> Result<(), Denial> {
        if shadow {
            self.notes.push(Note { denial, why: Why::Shadow });
            return Ok(());
        }
        Err(denial)
    }

    /// Applies the fail policy.
    pub(super) fn fail(
        &mut self,
        cause: Cause,
        answer: Answer,
        shadow: bool,
    ) -> Result<(), Denial> {
        match answer {
            Answer::Deny => self.rule(cause, shadow),
            Answer::Allow => {
                self.notes.push(Note { denial: Denial::of(cause), why: Why::FailOpen });
                Ok(())
            }
        }
    }

    /// For the access log: the rule that rejected, or the first that would have, with the event or
    /// the integration behind it, and whose signature the request has. Empty if there is nothing to
    /// say.
    #[must_use]
    pub fn words(&self, config: &Config) -> Vec<String> {
        let mut words = self.rule_words(config);
        if let Some(Verified { partner, key_id, is_skewed, .. }) = &self.verified {
            words.extend([format!("partner={partner}"), format!("key={key_id}")]);
            words.extend(is_skewed.then(|| format!("verdict={CLOCK_SKEW}")));
        }
        words
    }

    fn rule_words(&self, config: &Config) -> Vec<String> {
        let (word, denial) = match (&self.verdict, self.notes.first()) {
            (Verdict::Deny(denial), _) => ("rule", denial),
            (Verdict::Allow, Some(Note { denial, why: Why::Shadow })) => ("shadow", denial),
            (Verdict::Allow, Some(Note { denial, why: Why::FailOpen })) => ("fail_open", denial),
            (Verdict::Allow, None) => return Vec::new(),
        };
        let detail = match &denial.cause {
            Cause::Block { reason, .. } => format!(":{reason}"),
            Cause::Signature { failure, .. } => format!(":{}", failure.as_str()),
            cause => {
                let limit = cause.limit().and_then(|index| config.limits.get(index));
                limit.map_or_else(String::new, |limit| format!(":{}", limit.name))
            }
        };
        let integration = self.integration.filter(|_| denial.cause.is_of_integration());
        let integration = integration.and_then(|index| config.integrations.get(index));
        let mut words = vec![format!("{word}={}{detail}", denial.cause)];
        words.extend(denial.event.as_ref().map(|id| format!("event={id}")));
        words.extend(integration.map(|one| format!("integration={}", one.name)));
        words
    }
}
