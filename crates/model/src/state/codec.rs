//! States as push messages: the form on the wire, and in a node's memory.

use std::time::Duration;

use super::{
    Block, Effect, Lane, Override, Register, SCOPE_NAMES_MAX, Scope, Sequence, State, Version, Zero,
};
use crate::bucket::Rate;
use crate::name::{EventId, Name};
use crate::push;
use crate::time::UnixMicros;
use crate::violation::Violation;

impl From<&State> for push::State {
    fn from(state: &State) -> Self {
        Self { registers: state.registers().iter().map(push::Register::from).collect() }
    }
}

impl From<&Register> for push::Register {
    fn from(register: &Register) -> Self {
        let Version { sequence, at, event_id } = &register.version;
        Self {
            sequence: sequence.map(|sequence| sequence.number),
            lane: sequence.map_or(0, |sequence| sequence.lane.0),
            at: at.0,
            event_id: event_id.as_str().to_owned(),
            effect: Some(wire_effect(&register.effect)),
        }
    }
}

fn wire_effect(effect: &Effect) -> push::register::Effect {
    use push::register::Effect as Wire;
    let until = |until: Option<UnixMicros>| until.map(|at| at.0);
    match effect {
        Effect::Block(block) => Wire::Block(push::Block {
            reason: block.reason.to_string(),
            scope: wire_scope(&block.scope),
            until: until(block.until),
            disclose: block.disclose,
        }),
        Effect::Lift { reason } => {
            Wire::Lift(push::Lift { reason: reason.as_ref().map(Name::to_string) })
        }
        Effect::Zero(zero) => Wire::Zero(push::Zero {
            scope: wire_scope(&zero.scope),
            at: zero.at.0,
            until: until(zero.until),
        }),
        Effect::Override(o) => Wire::Override(push::Override {
            limit: o.limit.to_string(),
            rate: o.rate.as_ref().map(push::Rate::from),
            until: until(o.until),
        }),
    }
}

fn wire_scope(scope: &Scope) -> Vec<String> {
    scope.names().iter().map(Name::to_string).collect()
}

impl From<&Rate> for push::Rate {
    fn from(rate: &Rate) -> Self {
        let nanos = u64::try_from(rate.fill_interval().as_nanos()).unwrap_or(u64::MAX);
        Self {
            max_tokens: rate.max_tokens(),
            tokens_per_fill: rate.tokens_per_fill(),
            fill_interval: nanos,
        }
    }
}

impl TryFrom<push::Change> for State {
    type Error = Violation;

    /// The state that a change carries, in either form.
    fn try_from(change: push::Change) -> Result<Self, Violation> {
        if change.packed.is_empty() {
            return change.state.unwrap_or_default().try_into();
        }
        let error = || Violation::new("packed", "must be a state in a known form");
        Self::unpack(&change.packed).ok_or_else(error)
    }
}

impl TryFrom<push::State> for State {
    type Error = Violation;

    fn try_from(wire: push::State) -> Result<Self, Violation> {
        let registers: Vec<Register> =
            wire.registers.into_iter().map(Register::try_from).collect::<Result<_, _>>()?;
        let error = || Violation::new("registers", "must be at most 255");
        State::of(registers).ok_or_else(error)
    }
}

impl TryFrom<push::Register> for Register {
    type Error = Violation;

    fn try_from(wire: push::Register) -> Result<Self, Violation> {
        let event_id = EventId::parse(&wire.event_id)
            .ok_or_else(|| Violation::new("event_id", EventId::RULE))?;
        let effect =
            wire.effect.ok_or_else(|| Violation::new("effect", "must be a known effect"))?;
        let lane = Lane(wire.lane);
        let sequence = wire.sequence.map(|number| Sequence { lane, number });
        let version = Version { sequence, at: UnixMicros(wire.at), event_id };
        Ok(Self { version, effect: effect.try_into()? })
    }
}

impl TryFrom<push::register::Effect> for Effect {
    type Error = Violation;

    fn try_from(wire: push::register::Effect) -> Result<Self, Violation> {
        use push::register::Effect as Wire;
        Ok(match wire {
            Wire::Block(block) => Self::Block(Block {
                reason: name("block.reason", &block.reason)?,
                scope: scope("block.scope", &block.scope)?,
                until: block.until.map(UnixMicros),
                disclose: block.disclose,
            }),
            Wire::Lift(lift) => {
                let reason = lift.reason.map(|reason| name("lift.reason", &reason)).transpose()?;
                Self::Lift { reason }
            }
            Wire::Zero(zero) => Self::Zero(Zero {
                scope: scope("zero.scope", &zero.scope)?,
                at: UnixMicros(zero.at),
                until: zero.until.map(UnixMicros),
            }),
            Wire::Override(o) => Self::Override(Override {
                limit: name("override.limit", &o.limit)?,
                rate: o.rate.map(Rate::try_from).transpose()?,
                until: o.until.map(UnixMicros),
            }),
        })
    }
}

impl TryFrom<push::Rate> for Rate {
    type Error = Violation;

    fn try_from(wire: push::Rate) -> Result<Self, Violation> {
        let interval = Duration::from_nanos(wire.fill_interval);
        Rate::new(wire.max_tokens, wire.tokens_per_fill, interval)
    }
}

fn name(field: &'static str, text: &str) -> Result<Name, Violation> {
    Name::parse(text).ok_or_else(|| Violation::new(field, Name::RULE))
}

fn scope(field: &'static str, names: &[String]) -> Result<Scope, Violation> {
    if names.len() > SCOPE_NAMES_MAX {
        return Err(Violation::new(field, "must be at most 8 names"));
    }
    let names = names.iter().map(|text| name(field, text)).collect::<Result<_, _>>()?;
    Ok(Scope::of(names))
}
