//! Configuration given as a `google.protobuf.Struct`: Envoy hands it over encoded, not as JSON.

use prost::Message;
use prost_types::value::Kind;
use serde_json::{Map, Number, Value};

/// Decodes a `Struct` to the JSON object it stands for; none if the bytes are no `Struct`.
pub(super) fn to_json(bytes: &[u8]) -> Option<Value> {
    prost_types::Struct::decode(bytes).ok().map(object)
}

fn object(fields: prost_types::Struct) -> Value {
    let members = fields.fields.into_iter().map(|(key, field)| (key, value(field)));
    Value::Object(members.collect::<Map<_, _>>())
}

// prost bounds how deep the message may nest, so the recursion is bounded.
fn value(field: prost_types::Value) -> Value {
    match field.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => self::number(number),
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::BoolValue(truth)) => Value::Bool(truth),
        Some(Kind::StructValue(fields)) => object(fields),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(value).collect(),
    }
}

/// A `Struct` has only floating-point numbers: whole ones become integers again.
fn number(number: f64) -> Value {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let whole = number.fract() == 0.0 && number.abs() <= EXACT_MAX;
    if whole {
        // Exact, as just checked.
        return Value::Number(Number::from(number as i64));
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}
