//! Reading packed states: see the parent for what stands where.

use std::time::Duration;

use super::{BLOCK, ENDS, KIND_BITS, LANE, LIFT, MORE, SCOPED, SEQUENCED, UUID, ZERO, bits_of};
use crate::bucket::Rate;
use crate::name::{EventId, Name, UUID_BYTES};
use crate::state::{
    Block, Effect, Lane, Override, Register, SCOPE_NAMES_MAX, Scope, Sequence, Version, Zero,
};
use crate::time::UnixMicros;

/// What is not read yet. Every answer is none if the bytes end too early, or break a rule.
pub(super) struct Reader<'a>(&'a [u8]);

/// What every register begins with.
pub(super) struct Head {
    pub(super) tag: u8,
    pub(super) sequence: Option<Sequence>,
    pub(super) at: UnixMicros,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            number |= part.checked_mul(1 << shift)?;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn small_number(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    pub(super) fn time(&mut self) -> Option<UnixMicros> {
        let number = self.number()?;
        let micros = match number & 1 {
            0 => 0,
            _ => u16::from_le_bytes(*self.bytes(2)?.first_chunk()?),
        };
        if micros >= 1_000 {
            return None;
        }
        let millis = (number / 2).checked_mul(1_000)?;
        millis.checked_add(micros.into()).map(UnixMicros)
    }

    /// The end, if the tag says that there is one.
    pub(super) fn end(&mut self, tag: u8) -> Option<Option<UnixMicros>> {
        if tag & ENDS == 0 {
            return Some(None);
        }
        self.time().map(Some)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.byte()?;
        std::str::from_utf8(self.bytes(length.into())?).ok()
    }

    fn name(&mut self) -> Option<Name> {
        Name::parse(self.text()?)
    }

    fn event_id(&mut self, tag: u8) -> Option<EventId> {
        if tag & UUID == 0 {
            return EventId::parse(self.text()?);
        }
        self.bytes(UUID_BYTES)?.first_chunk().map(EventId::of_uuid)
    }

    fn scope(&mut self, tag: u8) -> Option<Scope> {
        if tag & SCOPED == 0 {
            return Some(Scope::All);
        }
        let count = usize::from(self.byte()?);
        if count > SCOPE_NAMES_MAX {
            return None;
        }
        (0..count).map(|_| self.name()).collect::<Option<_>>().map(Scope::of)
    }

    fn rate(&mut self) -> Option<Rate> {
        let (max, per_fill) = (self.small_number()?, self.small_number()?);
        Rate::new(max, per_fill, Duration::from_nanos(self.number()?)).ok()
    }

    pub(super) fn head(&mut self) -> Option<Head> {
        let tag = self.byte()?;
        if tag & !bits_of(tag & KIND_BITS) != 0 {
            return None;
        }
        let number = if tag & SEQUENCED != 0 { Some(self.number()?) } else { None };
        let lane = if tag & LANE != 0 { self.lane()? } else { Lane::default() };
        if tag & LANE != 0 && (number.is_none() || lane == Lane::default()) {
            return None;
        }
        let sequence = number.map(|number| Sequence { lane, number });
        Some(Head { tag, sequence, at: self.time()? })
    }

    fn lane(&mut self) -> Option<Lane> {
        self.bytes(8)?.first_chunk().map(|bytes| Lane(u64::from_le_bytes(*bytes)))
    }

    pub(super) fn register(&mut self) -> Option<Register> {
        let Head { tag, sequence, at } = self.head()?;
        let has = |bit: u8| tag & bit != 0;
        let event_id = self.event_id(tag)?;
        let until = self.end(tag)?;
        let effect = match tag & KIND_BITS {
            BLOCK => {
                let (reason, scope) = (self.name()?, self.scope(tag)?);
                Effect::Block(Block { reason, scope, until, disclose: has(MORE) })
            }
            LIFT => Effect::Lift { reason: if has(MORE) { Some(self.name()?) } else { None } },
            ZERO => {
                let (at, scope) = (self.time()?, self.scope(tag)?);
                Effect::Zero(Zero { scope, at, until })
            }
            _ => {
                let limit = self.name()?;
                let rate = if has(MORE) { Some(self.rate()?) } else { None };
                Effect::Override(Override { limit, rate, until })
            }
        };
        Some(Register { version: Version { sequence, at, event_id }, effect })
    }
}
