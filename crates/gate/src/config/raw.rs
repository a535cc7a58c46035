//! The configuration as operators spell it, before any rule but its shape is checked.

mod signed;

use model::subject::Kind;

use super::json::Json;
use super::read::{ByName, FromJson, Read, Variant, choice, must_be, object, unknown_variant};
pub(super) use signed::{
    Held, Integration, Key, NonceRule, OnClockSkew, Profile, Replay, Retries, SecretEncoding,
    Signature, Unverified,
};

object! {
    struct Config {
        node: Option<String>, optional "node";
        stat_prefix: Option<String>, optional "stat_prefix";
        shadow: bool, optional "shadow";
        identity: Identity, optional "identity";
        paths: Paths, optional "paths";
        route_groups: Vec<RouteGroup>, optional "route_groups";
        limits: Vec<Limit>, optional "limits";
        blocks: Blocks, optional "blocks";
        responses: Responses, optional "responses";
        invalidator: Option<Invalidator>, optional "invalidator";
        fail_policy: FailPolicy, required "fail_policy";
        storage: Storage, optional "storage";
        integrations: Vec<Integration>, optional "integrations";
        keys: Vec<Key>, optional "keys";
        replay: Option<Replay>, optional "replay";
        held: Held, optional "held";
        unverified: Unverified, optional "unverified";
    }
}

object! {
    struct Identity {
        user: Vec<Source>, optional "user";
        session: Vec<Source>, optional "session";
        partner: Vec<Source>, optional "partner";
        missing_user: Option<Answer>, optional "missing_user";
        commas: Commas, optional "commas";
        unusable_claim: UnusableClaim, optional "unusable_claim";
        client_ip: Networks, optional "client_ip";
        shadow: bool, optional "shadow";
    }
}

object! {
    struct Networks {
        ipv4_prefix: Option<u32>, optional "ipv4_prefix";
        ipv6_prefix: Option<u32>, optional "ipv6_prefix";
    }
}

/// Whether it is the second of two words; the first is the default.
#[derive(Default)]
pub(super) struct Commas(pub(super) bool);

impl FromJson for Commas {
    fn read(&mut self, json: Json) -> Read<()> {
        self.0 = choice(json, &[("refuse", false), ("keep", true)])?;
        Ok(())
    }
}

/// Whether it is the second of two words; the first is the default.
#[derive(Default)]
pub(super) struct UnusableClaim(pub(super) bool);

impl FromJson for UnusableClaim {
    fn read(&mut self, json: Json) -> Read<()> {
        self.0 = choice(json, &[("deny", false), ("ignore", true)])?;
        Ok(())
    }
}

object! {
    struct Paths {
        parameters: Parameters, optional "parameters";
        encoded_slashes: EncodedSlashes, optional "encoded_slashes";
        ignore_case: bool, optional "ignore_case";
        connect: Connect, optional "connect";
        regex_bytes_max: Option<u32>, optional "regex_bytes_max";
        shadow: bool, optional "shadow";
    }
}

/// Whether it is the second of two words; the first is the default.
#[derive(Default)]
pub(super) struct Parameters(pub(super) bool);

impl FromJson for Parameters {
    fn read(&mut self, json: Json) -> Read<()> {
        self.0 = choice(json, &[("ignore", false), ("refuse", true)])?;
        Ok(())
    }
}

/// Whether it is the second of two words; the first is the default.
#[derive(Default)]
pub(super) struct EncodedSlashes(pub(super) bool);

impl FromJson for EncodedSlashes {
    fn read(&mut self, json: Json) -> Read<()> {
        self.0 = choice(json, &[("refuse", false), ("decode", true)])?;
        Ok(())
    }
}

/// Whether it is the second of two words; the first is the default.
#[derive(Default)]
pub(super) struct Connect(pub(super) bool);

impl FromJson for Connect {
    fn read(&mut self, json: Json) -> Read<()> {
        self.0 = choice(json, &[("refuse", false), ("allow", true)])?;
        Ok(())
    }
}

// Its default, and that of the enums below, holds the place of one that is required until it is read.
pub(super) enum Source {
    JwtClaim(JwtClaim),
    Header(String),
    Cookie(String),
    ClientIp(bool),
}

impl Default for Source {
    fn default() -> Self {
        Self::ClientIp(false)
    }
}

impl FromJson for Source {
    fn read(&mut self, json: Json) -> Read<()> {
        let names = ["jwt_claim", "header", "cookie", "client_ip"];
        let source = Variant::of(json, &names)?;
        *self = match source.name {
            "jwt_claim" => Self::JwtClaim(source.value()?),
            "header" => Self::Header(source.value()?),
            "cookie" => Self::Cookie(source.value()?),
            "client_ip" => Self::ClientIp(source.value()?),
            other => return Err(unknown_variant(other, &names)),
        };
        Ok(())
    }
}

object! {
    struct JwtClaim {
        payload: String, required "payload";
        claim: String, required "claim";
    }
}

#[derive(Clone, Copy, Default)]
pub(super) enum Answer {
    Allow,
    #[default]
    Deny,
}

impl FromJson for Answer {
    fn read(&mut self, json: Json) -> Read<()> {
        *self = choice(json, &[("allow", Self::Allow), ("deny", Self::Deny)])?;
        Ok(())
    }
}

object! {
    struct RouteGroup {
        name: String, required "name";
        matchers: Vec<Matcher>, required "match";
    }
}

object! {
    struct Matcher {
        methods: Option<Vec<String>>, optional "methods";
        path: Option<Path>, optional "path";
        route_group: Option<String>, optional "route_group";
    }
}

pub(super) enum Path {
    Exact(String),
    Prefix(String),
    Regex(String),
}

impl Default for Path {
    fn default() -> Self {
        Self::Exact(String::new())
    }
}

impl FromJson for Path {
    fn read(&mut self, json: Json) -> Read<()> {
        let names = ["exact", "prefix", "regex"];
        let path = Variant::of(json, &names)?;
        *self = match path.name {
            "exact" => Self::Exact(path.value()?),
            "prefix" => Self::Prefix(path.value()?),
            "regex" => Self::Regex(path.value()?),
            other => return Err(unknown_variant(other, &names)),
        };
        Ok(())
    }
}

object! {
    struct Limit {
        name: String, required "name";
        key: LimitKey, required "key";
        matchers: Option<Vec<Matcher>>, optional "match";
        max_tokens: u32, required "max_tokens";
        tokens_per_fill: u32, required "tokens_per_fill";
        fill_interval: String, required "fill_interval";
        shadow: bool, optional "shadow";
        slab_full: Option<Answer>, optional "slab_full";
        fleet: Option<FleetLimit>, optional "fleet";
    }
}

object! {
    struct FleetLimit {
        on_loss: OnLoss, required "on_loss";
        debt_max_percent: Option<u32>, optional "debt_max_percent";
        first_sights_per_second: Option<u32>, optional "first_sights_per_second";
    }
}

/// What is done by a node that hears nothing of the fleet; its default holds the place of one that is required.
pub(super) struct OnLoss(pub(super) fleet::loss::OnLoss);

impl Default for OnLoss {
    fn default() -> Self {
        Self(fleet::loss::OnLoss::Deny)
    }
}

impl FromJson for OnLoss {
    fn read(&mut self, json: Json) -> Read<()> {
        use fleet::loss::OnLoss::{Deny, Divide, Local};
        self.0 = choice(json, &[("local", Local), ("divide", Divide), ("deny", Deny)])?;
        Ok(())
    }
}

/// Whose requests share a bucket; what its kind is of is not checked yet.
pub(super) struct LimitKey(pub(super) Kind);

impl Default for LimitKey {
    /// A place for what is read: the field is required.
    fn default() -> Self {
        Self(Kind::User)
    }
}

impl FromJson for LimitKey {
    fn read(&mut self, json: Json) -> Read<()> {
        let plain = |name: &str| Kind::named(name, None);
        let kind = match json {
            Json::Text(word) if !Kind::NAMES.contains(&word.as_str()) => {
                return Err(unknown_variant(&word, &Kind::NAMES));
            }
            Json::Text(word) => match plain(&word) {
                Some(kind) => Some(kind),
                None => return must_be("an object such as {\"header\": \"x-api-key\"}"),
            },
            Json::Object(_) => match Variant::of(json, &Kind::NAMES)? {
                key if plain(key.name).is_some() => {
                    return must_be(&format!("just \"{}\", not an object", key.name));
                }
                key => Kind::named(key.name, Some(&key.value::<String>()?)),
            },
            _ => None,
        };
        let Some(kind) = kind else { return must_be("a string or an object") };
        self.0 = kind;
        Ok(())
    }
}

object! {
    struct Blocks {
        shadow: bool, optional "shadow";
        open_streams: OpenStreams, optional "open_streams";
        open_streams_shadow: bool, optional "open_streams_shadow";
    }
}

/// What becomes of what is open: ends, unless it says otherwise.
#[derive(Clone, Copy, Default)]
pub(super) enum Ending {
    #[default]
    End,
    Keep,
}

impl FromJson for Ending {
    fn read(&mut self, json: Json) -> Read<()> {
        *self = choice(json, &[("end", Self::End), ("keep", Self::Keep)])?;
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct OpenStreams(pub(super) EndingByRoute);

impl FromJson for OpenStreams {
    fn read(&mut self, json: Json) -> Read<()> {
        let read = match json {
            Json::Object(_) => self.0.read(json),
            word => self.0.default.read(word),
        };
        read.or_else(|_| must_be("\"end\", \"keep\", or an object with default and route_groups"))
    }
}

object! {
    struct EndingByRoute {
        default: Ending, required "default";
        route_groups: ByName<Ending>, optional "route_groups";
    }
}

object! {
    struct Responses {
        ratelimit_headers: RateLimitHeaders, optional "ratelimit_headers";
        legacy_headers: bool, optional "legacy_headers";
    }
}

#[derive(Clone, Copy, Default)]
pub(super) enum RateLimitHeaders {
    Off,
    #[default]
    OnReject,
    Always,
}

impl FromJson for RateLimitHeaders {
    fn read(&mut self, json: Json) -> Read<()> {
        let all = [("off", Self::Off), ("on_reject", Self::OnReject), ("always", Self::Always)];
        *self = choice(json, &all)?;
        Ok(())
    }
}

object! {
    struct Invalidator {
        cluster: String, required "cluster";
        secret: String, required "secret";
        stale_after: String, required "stale_after";
        shadow: bool, optional "shadow";
    }
}

object! {
    struct FailPolicy {
        never_synced: Option<AnswerByRoute>, optional "never_synced";
        stale: Option<AnswerByRoute>, optional "stale";
        slab_full: Answer, required "slab_full";
        contention: Answer, required "contention";
    }
}

#[derive(Default)]
pub(super) struct AnswerByRoute(pub(super) ByRoute);

impl FromJson for AnswerByRoute {
    fn read(&mut self, json: Json) -> Read<()> {
        let read = match json {
            Json::Object(_) => self.0.read(json),
            word => self.0.default.read(word),
        };
        read.or_else(|_| must_be("\"allow\", \"deny\", or an object with default and route_groups"))
    }
}

object! {
    struct ByRoute {
        default: Answer, required "default";
        route_groups: ByName<Answer>, optional "route_groups";
    }
}

object! {
    struct Storage {
        slabs: Option<u32>, optional "slabs";
        slab_bytes_max: Option<u32>, optional "slab_bytes_max";
    }
}
