//! States as they stand in a node's memory: a million of them in every Envoy, so each byte counts,
//! and each request of their subjects reads them.
//!
//! Layout, little-endian: a byte of the number of registers and `111`, then each register as
//! `tag u8 | sequence? | lane? | at | event id | end? | effect`, where an effect is
//! `reason | scope?`, `reason?`, `emptied at | scope?` or `limit | rate?`, all as the tag says. A time
//! is a number of milliseconds, doubled, and one more if the microseconds follow; a number is
//! LEB128; a text has its length before it. An event id that is a UUID as UUIDs are written
//! stands as its 16 bytes, and is the same text when it is read. More than 31 registers have 0 for
//! their number in the first byte, and a byte of it after that.
//!
//! No state is no bytes. What an older module has written is a `State` of `push.proto`, whose
//! first byte is another: it is still read. In protobuf `111` is no type that a field can have, so
//! that an older module cannot take a packed state for one that says nothing.

mod reader;

use std::time::Duration;

use super::{Block, Effect, Lane, Register, Scope, State, Version, Zero};
use crate::name::UUID_BYTES;
use crate::push::{self, Message};
use crate::time::UnixMicros;
use reader::{Head, Reader};

/// The number of this form, as polls say which of them a node reads. Form 1 had no lanes.
pub const PACKED_FORM: u32 = 2;

/// The lower bits of the first byte; the others are the number of registers.
const FORM: u8 = 0b111;
const FORM_BITS: u32 = 3;
/// Most registers that the first byte can count.
const COUNTED_MAX: usize = (u8::MAX >> FORM_BITS) as usize;
/// A state of one register, which nearly all are.
const SOLE: u8 = first_byte(1);
/// What a state in protobuf begins with: its only field is the first one, and has a length.
const PROTOBUF: u8 = 0x0a;

const fn first_byte(registers: u8) -> u8 {
    registers << FORM_BITS | FORM
}

/// Room for all but long registers: growing by and by took half of the time of a snapshot.
const REGISTER_BYTES: usize = 64;

// What is in a tag.
const KIND_BITS: u8 = 0b11;
const BLOCK: u8 = 0;
const LIFT: u8 = 1;
const ZERO: u8 = 2;
const OVERRIDE: u8 = 3;
const SEQUENCED: u8 = 1 << 2;
const UUID: u8 = 1 << 3;
const ENDS: u8 = 1 << 4;
/// A block is disclosed, a lift has a reason, or an override has a rate.
const MORE: u8 = 1 << 5;
const SCOPED: u8 = 1 << 6;
/// The sequence is of a lane that has a name.
const LANE: u8 = 1 << 7;

/// The bits that a tag of this kind can have.
const fn bits_of(kind: u8) -> u8 {
    KIND_BITS
        | SEQUENCED
        | UUID
        | LANE
        | match kind {
            BLOCK => ENDS | MORE | SCOPED,
            LIFT => MORE,
            ZERO => ENDS | SCOPED,
            _ => ENDS | MORE,
        }
}

impl State {
    /// The state as it is kept in memory: the same bytes for equal states.
    #[must_use]
    pub fn pack(&self) -> Vec<u8> {
        if self.registers.is_empty() {
            return Vec::new();
        }
        let mut out = Vec::with_capacity(self.registers.len().saturating_mul(REGISTER_BYTES));
        let count = self.registers.len();
        let byte = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        out.push(first_byte(if count <= COUNTED_MAX { byte(count) } else { 0 }));
        if count > COUNTED_MAX {
            out.push(byte(count));
        }
        for register in &self.registers {
            push_register(&mut out, register);
        }
        out
    }

    /// Reads what [`State::pack`] has written, or an older module. Takes arbitrary bytes.
    #[must_use]
    pub fn unpack(bytes: &[u8]) -> Option<Self> {
        let Some((first, rest)) = bytes.split_first() else { return Some(Self::default()) };
        if *first == PROTOBUF {
            return Self::try_from(push::State::decode(bytes).ok()?).ok();
        }
        if first & FORM != FORM {
            return None;
        }
        let mut reader = Reader::new(rest);
        let count = match usize::from(first >> FORM_BITS) {
            0 => Some(usize::from(reader.byte()?)).filter(|count| *count > COUNTED_MAX)?,
            count => count,
        };
        let mut registers = Vec::with_capacity(count);
        for _ in 0..count {
            registers.push(reader.register()?);
        }
        let state = Self::of(registers)?;
        (reader.is_at_end() && state.registers.len() == count).then_some(state)
    }

    /// Whether packed bytes say nothing any more, once what ended longer than `retention` ago is
    /// forgotten. What cannot be read says something.
    #[must_use]
    pub fn is_over(bytes: &[u8], now: UnixMicros, retention: Duration) -> bool {
        if let Some(is_over) = is_sole_block_over(bytes, now.saturating_sub(retention)) {
            return is_over;
        }
        Self::unpack(bytes).is_some_and(|mut state| {
            state.prune(now, retention);
            state.is_empty()
        })
    }
}

/// [`State::is_over`] of one block, without reading all of it; nothing for any other state.
fn is_sole_block_over(bytes: &[u8], horizon: UnixMicros) -> Option<bool> {
    let (&SOLE, rest) = bytes.split_first()? else { return None };
    let mut reader = Reader::new(rest);
    let Head { tag, at, .. } = reader.head()?;
    if tag & KIND_BITS != BLOCK {
        return None;
    }
    let id_bytes = if tag & UUID != 0 { UUID_BYTES } else { usize::from(reader.byte()?) };
    reader.bytes(id_bytes)?;
    let end = reader.end(tag)?;
    Some(end.is_some_and(|end| end < horizon) && at < horizon)
}

fn push_register(out: &mut Vec<u8>, register: &Register) {
    let Register { version: Version { sequence, at, event_id }, effect } = register;
    let uuid = event_id.as_uuid();
    let if_some = |is_there: bool, bit: u8| if is_there { bit } else { 0 };
    let (end, of_effect) = match effect {
        Effect::Block(Block { until, disclose, scope, .. }) => {
            (*until, BLOCK | if_some(*disclose, MORE) | if_some(*scope != Scope::All, SCOPED))
        }
        Effect::Lift { reason } => (None, LIFT | if_some(reason.is_some(), MORE)),
        Effect::Zero(Zero { until, scope, .. }) => {
            (*until, ZERO | if_some(*scope != Scope::All, SCOPED))
        }
        Effect::Override(o) => (o.until, OVERRIDE | if_some(o.rate.is_some(), MORE)),
    };
    let lane = sequence.map(|sequence| sequence.lane).filter(|lane| *lane != Lane::default());
    let common = if_some(sequence.is_some(), SEQUENCED)
        | if_some(lane.is_some(), LANE)
        | if_some(uuid.is_some(), UUID);
    out.push(of_effect | common | if_some(end.is_some(), ENDS));
    if let Some(sequence) = sequence {
        push_number(out, sequence.number);
    }
    if let Some(Lane(lane)) = lane {
        out.extend_from_slice(&lane.to_le_bytes());
    }
    push_time(out, *at);
    match uuid {
        Some(bytes) => out.extend_from_slice(&bytes),
        None => push_text(out, event_id.as_str()),
    }
    if let Some(end) = end {
        push_time(out, end);
    }
    push_effect(out, effect);
}

fn push_effect(out: &mut Vec<u8>, effect: &Effect) {
    match effect {
        Effect::Block(block) => {
            push_text(out, block.reason.as_str());
            push_scope(out, &block.scope);
        }
        Effect::Lift { reason } => {
            if let Some(reason) = reason {
                push_text(out, reason.as_str());
            }
        }
        Effect::Zero(zero) => {
            push_time(out, zero.at);
            push_scope(out, &zero.scope);
        }
        Effect::Override(o) => {
            push_text(out, o.limit.as_str());
            if let Some(rate) = &o.rate {
                let rate = push::Rate::from(rate);
                push_number(out, rate.max_tokens.into());
                push_number(out, rate.tokens_per_fill.into());
                push_number(out, rate.fill_interval);
            }
        }
    }
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}

fn push_time(out: &mut Vec<u8>, UnixMicros(at): UnixMicros) {
    let micros = (at % 1_000) as u16;
    push_number(out, at / 1_000 * 2 + u64::from(micros != 0));
    if micros != 0 {
        out.extend_from_slice(&micros.to_le_bytes());
    }
}

/// Names and event ids are far shorter than a length may be.
fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(text.as_bytes());
}

fn push_scope(out: &mut Vec<u8>, scope: &Scope) {
    let names = scope.names();
    if !names.is_empty() {
        out.push(u8::try_from(names.len()).unwrap_or(u8::MAX));
        names.iter().for_each(|name| push_text(out, name.as_str()));
    }
}

#[cfg(test)]
mod tests;
