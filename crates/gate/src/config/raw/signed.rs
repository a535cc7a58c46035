//! Integrations and the keys of signed requests, as operators spell them.

use super::Matcher;
use crate::config::json::Json;
use crate::config::read::{FromJson, Read, choice, must_be, object};

object! {
    struct Integration {
        name: String, required "name";
        matchers: Vec<Matcher>, required "match";
        allow_ips: Option<Vec<String>>, optional "allow_ips";
        content_types: Option<Vec<String>>, optional "content_types";
        body_bytes_max: Option<u32>, optional "body_bytes_max";
        signature: Option<Signature>, optional "signature";
        shadow: bool, optional "shadow";
    }
}

object! {
    struct Signature {
        profile: Profile, required "profile";
        partner: Option<String>, optional "partner";
        tolerance: Option<String>, optional "tolerance";
        nonce: Option<NonceRule>, optional "nonce";
        replay_status: Option<u32>, optional "replay_status";
        keys_max: Option<u32>, optional "keys_max";
        retries: Option<Retries>, optional "retries";
        remember: Option<String>, optional "remember";
        on_clock_skew: Option<OnClockSkew>, optional "on_clock_skew";
        components: Option<Vec<String>>, optional "components";
        tag: Option<String>, optional "tag";
    }
}

#[derive(Clone, Copy, Default)]
pub(in crate::config) enum Profile {
    #[default]
    Portcullis,
    Body,
    StandardWebhooks,
    Stripe,
    Github,
    Rfc9421,
}

impl FromJson for Profile {
    fn read(&mut self, json: Json) -> Read<()> {
        let all = [
            ("portcullis", Self::Portcullis),
            ("body", Self::Body),
            ("standard-webhooks", Self::StandardWebhooks),
            ("stripe", Self::Stripe),
            ("github", Self::Github),
            ("rfc9421", Self::Rfc9421),
        ];
        *self = choice(json, &all)?;
        Ok(())
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::config) enum NonceRule {
    #[default]
    Required,
    Optional,
}

impl FromJson for NonceRule {
    fn read(&mut self, json: Json) -> Read<()> {
        *self = choice(json, &[("required", Self::Required), ("optional", Self::Optional)])?;
        Ok(())
    }
}

object! {
    struct Mark {
        mark: Vec<String>, required "mark";
        up_to: String, required "up_to";
    }
}

/// What to do with requests whose time alone is wrong: a word, or where they are marked.
#[derive(Default)]
pub(in crate::config) enum OnClockSkew {
    #[default]
    Reject,
    Mark(Mark),
}

impl FromJson for OnClockSkew {
    fn read(&mut self, json: Json) -> Read<()> {
        if let Json::Text(text) = &json {
            if text != "reject" {
                return must_be(
                    "\"reject\", or {\"mark\": […], \"up_to\": …} with the route groups whose requests are \
                     marked, and how far their time may be off",
                );
            }
            return Ok(());
        }
        let mut mark = Mark::default();
        mark.read(json)?;
        *self = Self::Mark(mark);
        Ok(())
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::config) enum Retries {
    #[default]
    Pass,
    Refuse,
}

impl FromJson for Retries {
    fn read(&mut self, json: Json) -> Read<()> {
        *self = choice(json, &[("pass", Self::Pass), ("refuse", Self::Refuse)])?;
        Ok(())
    }
}

// Never `Debug`: it holds the secret in clear.
object! {
    struct Key {
        id: String, required "id";
        partner: String, required "partner";
        secret: String, required "secret";
        not_before: Option<String>, optional "not_before";
        not_after: Option<String>, optional "not_after";
        integrations: Option<Vec<String>>, optional "integrations";
        algorithms: Option<Vec<String>>, optional "algorithms";
        profile: Option<Profile>, optional "profile";
        secret_encoding: Option<SecretEncoding>, optional "secret_encoding";
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::config) enum SecretEncoding {
    #[default]
    Text,
    Base64,
}

impl FromJson for SecretEncoding {
    fn read(&mut self, json: Json) -> Read<()> {
        *self = choice(json, &[("text", Self::Text), ("base64", Self::Base64)])?;
        Ok(())
    }
}

object! {
    struct Replay {
        slabs: Option<u32>, optional "slabs";
        slab_bytes_max: Option<u32>, optional "slab_bytes_max";
    }
}

object! {
    struct Held {
        requests_max: Option<u32>, optional "requests_max";
        bytes_max: Option<u32>, optional "bytes_max";
        address_requests_max: Option<u32>, optional "address_requests_max";
        address_bytes_max: Option<u32>, optional "address_bytes_max";
        time_max: Option<String>, optional "time_max";
    }
}

object! {
    struct Unverified {
        bytes_per_second: Option<u32>, optional "bytes_per_second";
        bytes_burst: Option<u32>, optional "bytes_burst";
    }
}
