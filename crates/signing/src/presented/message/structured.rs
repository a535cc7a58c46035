//! Dictionaries of structured fields (RFC 8941, and RFC 9651, which adds two types).
//!
//! Read as the standards say, byte by byte, but for this: a key that stands twice, in a dictionary or among
//! parameters, is an error, where the standards let the last one count. Values that are of no use here are checked
//! and not kept.
//!
//! The crate `sfv` reads the same. It was tried and not taken: see ARCHITECTURE.md.

/// The most members, items of a list, and parameters of one thing.
const PARTS_MAX: usize = 64;

/// The longest integer, in digits.
const INTEGER_DIGITS_MAX: usize = 15;

/// The most digits of a decimal before its point, and after it.
const DECIMAL_DIGITS_MAX: (usize, usize) = (12, 3);

/// One member of a dictionary.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member<'a> {
    /// Its key.
    pub(super) key: &'a str,
    /// What stands after the equals sign.
    pub(super) text: &'a str,
    /// The same, understood.
    pub(super) value: Value<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Item(Bare<'a>, Parameters<'a>),
    Inner(Inner<'a>),
}

pub(super) type Parameters<'a> = Vec<(&'a str, Bare<'a>)>;

/// A list of items with parameters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Inner<'a> {
    pub(super) items: Vec<(Bare<'a>, Parameters<'a>)>,
    pub(super) parameters: Parameters<'a>,
}

/// A value without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bare<'a> {
    /// Its digits, with a sign if it has one, not necessarily as they are serialized.
    Integer(&'a str),
    /// What stands between the quotes; backslashes stand before quotes and backslashes only.
    String(&'a str),
    /// Base64, or what has only its letters.
    Bytes(&'a str),
    /// True.
    True,
    /// A value of another type: as it stands there.
    Other(&'a str),
}

impl Inner<'_> {
    /// How this is serialized, as far as its values are as they are serialized.
    pub(super) fn canonical(&self) -> String {
        let mut out = String::from("(");
        for (at, (item, parameters)) in self.items.iter().enumerate() {
            out.push_str(if at == 0 { "" } else { " " });
            push(item, &mut out);
            push_all(parameters, &mut out);
        }
        out.push(')');
        push_all(&self.parameters, &mut out);
        out
    }
}

fn push_all(parameters: &[(&str, Bare<'_>)], out: &mut String) {
    for (key, value) in parameters {
        out.push(';');
        out.push_str(key);
        if *value != Bare::True {
            out.push('=');
            push(value, out);
        }
    }
}

fn push(value: &Bare<'_>, out: &mut String) {
    let (around, text) = match value {
        Bare::String(text) => ("\"", *text),
        Bare::Bytes(text) => (":", *text),
        Bare::Integer(text) | Bare::Other(text) => ("", *text),
        Bare::True => ("", "?1"),
    };
    [around, text, around].into_iter().for_each(|part| out.push_str(part));
}

/// Reads a dictionary; none if it is not one.
pub(super) fn dictionary(text: &str) -> Option<Vec<Member<'_>>> {
    let mut rest = Rest(text);
    let mut members: Vec<Member<'_>> = Vec::new();
    loop {
        let key = rest.key()?;
        let (text, value) = match rest.take(b'=') {
            true => {
                let begin = rest.0;
                let value = rest.value()?;
                (begin.strip_suffix(rest.0)?, value)
            }
            false => ("", Value::Item(Bare::True, rest.parameters()?)),
        };
        if members.len() >= PARTS_MAX || members.iter().any(|known| known.key == key) {
            return None;
        }
        members.push(Member { key, text, value });
        if rest.0.is_empty() {
            return Some(members);
        }
        rest.skip(b" \t");
        if !rest.take(b',') {
            return None;
        }
        rest.skip(b" \t");
    }
}

/// What is still to be read.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn peek(&self) -> Option<u8> {
        self.0.as_bytes().first().copied()
    }

    /// Takes this byte if it is the next: one of ASCII.
    fn take(&mut self, byte: u8) -> bool {
        let rest = self.0.strip_prefix(char::from(byte));
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// The bytes that follow as long as they are of this sort, which has ASCII alone.
    fn take_while(&mut self, is_one: impl Fn(u8) -> bool) -> &'a str {
        let length = self.0.bytes().take_while(|byte| byte.is_ascii() && is_one(*byte)).count();
        let (taken, rest) = self.0.split_at_checked(length).unwrap_or(("", self.0));
        self.0 = rest;
        taken
    }

    fn skip(&mut self, bytes: &[u8]) {
        self.take_while(|byte| bytes.contains(&byte));
    }

    fn key(&mut self) -> Option<&'a str> {
        let is_first = |byte: u8| byte.is_ascii_lowercase() || byte == b'*';
        self.peek().filter(|byte| is_first(*byte))?;
        Some(self.take_while(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
        }))
    }

    fn value(&mut self) -> Option<Value<'a>> {
        if !self.take(b'(') {
            let item = self.bare()?;
            return Some(Value::Item(item, self.parameters()?));
        }
        let mut items = Vec::new();
        loop {
            let before = self.0.len();
            self.skip(b" ");
            if self.take(b')') {
                return Some(Value::Inner(Inner { items, parameters: self.parameters()? }));
            }
            let is_apart = items.is_empty() || self.0.len() < before;
            if !is_apart || items.len() >= PARTS_MAX {
                return None;
            }
            items.push((self.bare()?, self.parameters()?));
        }
    }

    fn parameters(&mut self) -> Option<Parameters<'a>> {
        let mut all = Parameters::new();
        while self.take(b';') {
            self.skip(b" ");
            let key = self.key()?;
            let value = if self.take(b'=') { self.bare()? } else { Bare::True };
            if all.len() >= PARTS_MAX || all.iter().any(|(known, _)| *known == key) {
                return None;
            }
            all.push((key, value));
        }
        Some(all)
    }

    fn bare(&mut self) -> Option<Bare<'a>> {
        let begin = self.0;
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte);
        match self.peek()? {
            b'"' => self.string().map(Bare::String),
            b':' => {
                self.take(b':');
                let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte);
                let text = self.take_while(is_base64);
                self.take(b':').then_some(Bare::Bytes(text))
            }
            b'?' => {
                self.take(b'?');
                let is_true = self.take(b'1');
                let is_boolean = is_true || self.take(b'0');
                is_boolean.then_some(if is_true { Bare::True } else { Bare::Other("?0") })
            }
            b'@' => {
                self.take(b'@');
                let is_date = matches!(self.number()?, Bare::Integer(_));
                is_date.then(|| begin.strip_suffix(self.0).map(Bare::Other)).flatten()
            }
            b'%' => self.display_string().then(|| begin.strip_suffix(self.0).map(Bare::Other))?,
            byte if byte == b'-' || byte.is_ascii_digit() => self.number(),
            byte if byte == b'*' || byte.is_ascii_alphabetic() => {
                Some(Bare::Other(self.take_while(is_token)))
            }
            _ => None,
        }
    }

    fn string(&mut self) -> Option<&'a str> {
        self.take(b'"');
        let begin = self.0;
        loop {
            self.take_while(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\');
            match self.peek()? {
                b'"' => {
                    let text = begin.strip_suffix(self.0);
                    self.take(b'"');
                    return text;
                }
                b'\\' => {
                    self.take(b'\\');
                    if !self.take(b'"') && !self.take(b'\\') {
                        return None;
                    }
                }
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<Bare<'a>> {
        let begin = self.0;
        self.take(b'-');
        let whole = self.take_while(|byte| byte.is_ascii_digit()).len();
        if whole == 0 {
            return None;
        }
        if !self.take(b'.') {
            let fits = whole <= INTEGER_DIGITS_MAX;
            return fits.then(|| begin.strip_suffix(self.0).map(Bare::Integer)).flatten();
        }
        let part = self.take_while(|byte| byte.is_ascii_digit()).len();
        let (whole_max, part_max) = DECIMAL_DIGITS_MAX;
        let fits = whole <= whole_max && (1..=part_max).contains(&part);
        fits.then(|| begin.strip_suffix(self.0).map(Bare::Other)).flatten()
    }

    /// Takes text that is not ASCII: UTF-8, whose bytes are percent-encoded where they have to be.
    fn display_string(&mut self) -> bool {
        self.take(b'%');
        if !self.take(b'"') {
            return false;
        }
        let mut decoded = Vec::new();
        loop {
            let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'%';
            decoded.extend_from_slice(self.take_while(plain).as_bytes());
            if self.take(b'"') {
                return std::str::from_utf8(&decoded).is_ok();
            }
            if !self.take(b'%') {
                return false;
            }
            let Some((digits, rest)) = self.0.split_at_checked(2) else { return false };
            let mut byte = [0];
            if base16ct::lower::decode(digits, &mut byte).is_err() {
                return false;
            }
            decoded.extend_from_slice(&byte);
            self.0 = rest;
        }
    }
}

#[cfg(test)]
mod tests;
