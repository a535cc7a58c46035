//! A request that is held until its body has been seen.

use model::memory::SharedMemory;
use model::subject::Kind;
use model::time::Clock;
use signing::verify::Verifier;
use signing::{Failure, replay};

use super::cause::Cause;
use super::decision::{Decision, Denial, Verdict};
use super::integration::Awaited;
use super::load::{Hold, LoadRefusal};
use super::plan::{Plans, signer};
use super::recheck::Recheck;
use super::{Context, Freshness, Gate};
use crate::config::Integration;
use crate::request::Found;

/// What came of a request's headers.
#[derive(Debug)]
// Moved once per request: cheaper than to allocate for each that needs no body.
#[allow(clippy::large_enum_variant)]
pub enum HeadersDecision {
    /// Everything is decided.
    Done(Decision),
    /// The request has to be held until its body is complete.
    NeedBody(Box<Pending>),
}

/// Whether more of the body is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyProgress {
    /// Hold the request, and hand over the next chunk.
    More,
    /// Finish now: the rest of the body changes nothing.
    Done,
}

/// How many bytes of a held body are read at a time when it has to be seen once more.
const PIECE_BYTES: usize = 64 * 1024;

/// Reads a part of a body once more: from where, how many bytes, and what takes them, in as many pieces as the reader
/// likes.
pub type BodyReader<'a> = dyn FnMut(usize, usize, &mut dyn FnMut(&[u8])) + 'a;

/// A request that is held until its body has been seen. None of the body is kept.
#[derive(Debug)]
pub struct Pending {
    awaited: Awaited,
    hold: Hold,
    recheck: Recheck,
    size: usize,
    /// Why it cannot be held any longer.
    refusal: Option<LoadRefusal>,
    /// The limits per partner and key, by their index: taken from once the signature is verified.
    signer_limits: Vec<usize>,
    /// Whom the request calls its partner: believed if a signature in shadow is not right.
    claimed_partners: Vec<Found>,
    decision: Decision,
}

impl Pending {
    pub(super) fn new(
        (awaited, mut hold): (Awaited, Hold),
        recheck: Recheck,
        signer_limits: Vec<usize>,
        claimed_partners: Vec<Found>,
    ) -> Self {
        let decision = Decision::default();
        if awaited.verifier.is_some() {
            hold.charge();
        }
        let (size, refusal) = (0, None);
        Self { awaited, hold, recheck, size, refusal, signer_limits, claimed_partners, decision }
    }

    /// What was decided before the body.
    pub(super) fn after(self, decision: Decision) -> Self {
        Self { decision, ..self }
    }

    /// Takes the next part of the body, each byte once.
    pub fn on_data(&mut self, chunk: &[u8]) -> BodyProgress {
        let progress = self.on_part(chunk.len());
        self.on_piece(chunk);
        progress
    }

    /// So many more bytes of the body are there. Room is taken for all of them at once, before any is looked at: what is
    /// refused costs nothing but that. Unless it is [`BodyProgress::Done`], [`Pending::on_piece`] has to get them.
    pub fn on_part(&mut self, bytes: usize) -> BodyProgress {
        self.size = self.size.saturating_add(bytes);
        if self.is_too_large() || self.refusal.is_some() {
            return BodyProgress::Done;
        }
        if let Err(refusal) = self.hold.grow(bytes) {
            self.refusal = Some(refusal);
            return BodyProgress::Done;
        }
        BodyProgress::More
    }

    /// Takes a piece of the part that is there, each byte once.
    pub fn on_piece(&mut self, piece: &[u8]) {
        if self.is_too_large() || self.refusal.is_some() {
            return;
        }
        if let Some(verifier) = &mut self.awaited.verifier {
            verifier.update(piece);
            self.hold.hashed(piece.len());
        }
    }

    fn is_too_large(&self) -> bool {
        self.awaited.bytes_max.is_some_and(|max| self.size > max)
    }

    /// Decides, once the body is complete or [`BodyProgress::Done`]. `gate` must be the one that this
    /// comes from. `freshness` is how much the node knows by now; none if no time has passed since the
    /// headers, so that nothing can be known that was not known then. `body` reads a part of the body
    /// once more.
    #[must_use]
    pub fn finish(
        mut self: Box<Self>,
        gate: &Gate,
        freshness: Option<Freshness>,
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
        body: &mut BodyReader<'_>,
    ) -> Decision {
        let mut decision = std::mem::take(&mut self.decision);
        let rechecked = freshness.map_or(Ok(()), |freshness| {
            gate.recheck(&self.recheck, freshness, context, &mut decision)
        });
        let checked = rechecked.and_then(|()| self.check(gate, context, body, &mut decision));
        if let Err(denial) = checked {
            decision.verdict = Verdict::Deny(denial);
        }
        decision
    }

    /// Decides without the body, for this `cause`: it was not verified, so the request must not go on,
    /// unless that is only to be counted.
    #[must_use]
    pub fn abandon(
        mut self: Box<Self>,
        cause: Cause,
        gate: &Gate,
        freshness: Freshness,
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
    ) -> Decision {
        let mut decision = std::mem::take(&mut self.decision);
        let shadow = gate.integration_of(&decision).is_some_and(|integration| integration.shadow);
        let rechecked = gate.recheck(&self.recheck, freshness, context, &mut decision);
        if let Err(denial) = rechecked.and_then(|()| decision.rule(cause, shadow)) {
            decision.verdict = Verdict::Deny(denial);
        }
        decision
    }

    fn check(
        &mut self,
        gate: &Gate,
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
        body: &mut BodyReader<'_>,
        decision: &mut Decision,
    ) -> Result<(), Denial> {
        // Another gate than the one that has asked for the body knows nothing of this request.
        let integration = gate.integration_of(decision);
        let integration = integration.ok_or_else(|| Denial::of(Cause::BodyNotHeld))?;
        if let Err(denial) = self.check_body(integration, context, body, decision) {
            decision.reject(denial, integration.shadow)?;
        }
        let limits = self.signer_limits.iter();
        let limits = limits.filter_map(|at| Some((*at, gate.config.limits.get(*at)?)));
        let limits: Vec<_> = limits.collect();
        let fleet_key = gate.fleet_key(context);
        let mut plans = Plans::default();
        for kind in &Kind::OF_SIGNERS {
            let signers = match &decision.verified {
                Some(verified) => signer(kind, verified).into_iter().collect(),
                // Without a signature to wait for, the limits have had their turn.
                None if *kind == Kind::Partner => std::mem::take(&mut self.claimed_partners),
                None => Vec::new(),
            };
            gate.plan_signers(&mut plans, (kind, &signers), &limits, &fleet_key);
        }
        // No status is looked at, so no scope matters.
        let looks = gate.look(plans, Default::default(), context);
        // Who is over a limit may send the request again, and must not fill the memory of used ones,
        // which all partners share. No token is taken for one that was used before.
        if looks.iter().all(|look| look.denials().next().is_none())
            && let Err(cause) = gate.admit(integration, context, decision)
        {
            if matches!(cause, Cause::Signature { failure: Failure::Replay, .. }) {
                self.hold.charge();
            }
            decision.rule(cause, integration.shadow)?;
        }
        gate.take_all(looks, Default::default(), context, decision)
    }

    fn check_body(
        &mut self,
        integration: &Integration,
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
        body: &mut BodyReader<'_>,
        decision: &mut Decision,
    ) -> Result<(), Denial> {
        if self.is_too_large() {
            return Err(Denial::of(Cause::BodyTooLarge));
        }
        if let Some(refusal) = self.refusal {
            return Err(Denial::of_load(refusal));
        }
        let Some(signature) = &integration.signature else { return Ok(()) };
        let denial = |failure| Denial::of(Cause::of_signature(signature, failure));
        let verifier = self.awaited.verifier.take();
        let mut verifier = verifier.ok_or_else(|| Denial::of(Cause::BodyNotHeld))?;
        let now = context.clock.wall();
        if verifier.is_to_be_rechecked(now) {
            let keys = context.worker.keys.get(context.shared);
            verifier.recheck(Some(&integration.name), keys, now).map_err(denial)?;
        }
        let verified = loop {
            match verifier.finish() {
                Ok(verified) => break verified,
                Err(_) if verifier.next_key() => self.hash_again(&mut verifier, body)?,
                Err(failure) => return Err(denial(failure)),
            }
        };
        self.hold.verified();
        if let Some(index) = decision.integration.filter(|_| !signature.profile.names_key()) {
            context.worker.prefer(index, &verified.key_id);
        }
        decision.verified = Some(verified);
        Ok(())
    }

    /// Hands the whole body over once more, for another key.
    fn hash_again(
        &mut self,
        verifier: &mut Verifier,
        body: &mut BodyReader<'_>,
    ) -> Result<(), Denial> {
        self.hold.may_try_again().map_err(Denial::of_load)?;
        self.hold.hashed(self.size);
        let mut start = 0;
        while start < self.size {
            let wanted = PIECE_BYTES.min(self.size.saturating_sub(start));
            let mut read = 0_usize;
            body(start, wanted, &mut |piece| {
                read = read.saturating_add(piece.len());
                verifier.update(piece);
            });
            if read != wanted {
                // What cannot be read cannot be verified.
                return Err(Denial::of(Cause::BodyNotHeld));
            }
            start = start.saturating_add(wanted);
        }
        Ok(())
    }
}

impl Gate {
    /// Uses a request up, if its signature is right.
    fn admit(
        &self,
        integration: &Integration,
        context: &mut Context<'_, impl SharedMemory, impl Clock>,
        decision: &Decision,
    ) -> Result<(), Cause> {
        let signed = integration.signature.as_ref().zip(decision.verified.as_ref());
        let Some((signature, verified)) = signed else { return Ok(()) };
        // Configured wherever there is a signature.
        let storage = self.config.replay.ok_or(Cause::BodyNotHeld)?;
        let admitted =
            replay::admit(context.shared, verified, &self.hash_key, storage, context.clock);
        admitted.map_err(|failure| Cause::of_signature(signature, failure))
    }

    fn integration_of(&self, decision: &Decision) -> Option<&Integration> {
        self.config.integrations.get(decision.integration?)
    }
}
