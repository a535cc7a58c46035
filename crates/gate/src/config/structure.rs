//! Configuration given as a `google.protobuf.Struct`: Envoy hands it over encoded, not as JSON.

use prost::Message;
use prost_types::value::Kind;

use super::json::Json;

/// The largest of the whole numbers up to which a double holds every one.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// Decodes a `Struct` to the JSON object it stands for; none if the bytes are no `Struct`.
pub(super) fn to_json(bytes: &[u8]) -> Option<Json> {
    prost_types::Struct::decode(bytes).ok().map(object)
}

fn object(fields: prost_types::Struct) -> Json {
    Json::Object(fields.fields.into_iter().map(|(key, field)| (key, value(field))).collect())
}

// prost bounds how deep the message may nest, so the recursion is bounded.
fn value(field: prost_types::Value) -> Json {
    match field.kind {
        None | Some(Kind::NullValue(_)) => Json::Null,
        Some(Kind::NumberValue(number)) => self::number(number),
        Some(Kind::StringValue(text)) => Json::Text(text),
        Some(Kind::BoolValue(truth)) => Json::Bool(truth),
        Some(Kind::StructValue(fields)) => object(fields),
        Some(Kind::ListValue(list)) => Json::List(list.values.into_iter().map(value).collect()),
    }
}

/// A `Struct` has only floating-point numbers: whole ones become integers again.
fn number(number: f64) -> Json {
    match number.fract() == 0.0 && (0.0..=EXACT_MAX).contains(&number) {
        // Exact, as just checked.
        true => Json::Whole(number as u64),
        false => Json::OtherNumber,
    }
}
