//! Decodes a call as `vectors.json` writes it; its notes say how.

use mizan_cache_core::{
    canonical::{Canonical, ParamValue, Path, UserId},
    error::{Error, ErrorCode},
    key::{Key, Signer},
};
use serde_json::Value;

/// Decodes a call and derives its key.
///
/// What Rust's types rule out, such as a boolean as user id, is refused here with the code that a binding would give.
pub fn derive(call: &Value) -> Result<(Canonical, Key), Error> {
    let context = text(&call["context"], ErrorCode::Context, &Path::CONTEXT)?;
    let params = match &call["params"] {
        Value::Null => Vec::new(),
        params => match &mut value(params, &Path::PARAMS)? {
            ParamValue::Map(members) => std::mem::take(members),
            _ => return Err(Path::PARAMS.error(ErrorCode::ParamType, "must be an object")),
        },
    };
    let user = match &call["userId"] {
        Value::Null => None,
        user => Some(match integer(user) {
            Some(integer) => UserId::Integer(integer),
            None => UserId::Text(text(user, ErrorCode::User, &Path::USER)?),
        }),
    };
    let rev = match &call["rev"] {
        Value::Null => 0,
        rev => integer(rev)
            .and_then(|rev| u64::try_from(rev).ok())
            .ok_or_else(|| Error::new(ErrorCode::Rev, "rev must be an integer in [0, 2^53-1]"))?,
    };
    let canonical = Canonical::new(&context, &params, user.as_ref(), rev)?;
    let key = Signer::new(&secret(call)?)?.key(&canonical);
    Ok((canonical, key))
}

fn secret(call: &Value) -> Result<Vec<u8>, Error> {
    if let Some(hex) = call["secretHex"].as_str() {
        let byte = |index| u8::from_str_radix(&hex[index..index + 2], 16).expect("secretHex holds hex digits");
        return Ok((0..hex.len()).step_by(2).map(byte).collect());
    }
    match &call["secret"] {
        Value::String(secret) => Ok(secret.clone().into_bytes()),
        secret => match encoding(secret) {
            Some(("$utf16", units)) => well_formed(units)
                .map(String::into_bytes)
                .ok_or_else(|| surrogate(&"secret")),
            _ => Err(Error::new(ErrorCode::Secret, "secret must be text or bytes")),
        },
    }
}

fn text(value: &Value, code: ErrorCode, path: &Path) -> Result<String, Error> {
    match value {
        Value::String(text) => Ok(text.clone()),
        value => match encoding(value) {
            Some(("$utf16", units)) => well_formed(units).ok_or_else(|| surrogate(path)),
            _ => Err(path.error(code, "has the wrong type")),
        },
    }
}

fn value(encoded: &Value, path: &Path) -> Result<ParamValue, Error> {
    match encoding(encoded) {
        Some(("$float", float)) => {
            return Ok(ParamValue::Float(string(float).parse().expect("$float holds a float")));
        }
        Some(("$utf16", units)) => return well_formed(units).map(ParamValue::Text).ok_or_else(|| surrogate(path)),
        Some(("$map", pairs)) => {
            let pairs = pairs.as_array().expect("$map holds an array");
            return pairs
                .iter()
                .map(|pair| member(&pair[0], &pair[1], path))
                .collect::<Result<_, _>>()
                .map(ParamValue::Map);
        }
        Some(("$nest", depth)) => {
            let lists = depth.as_u64().expect("$nest holds a depth") - 1;
            let nested = (0..lists).fold(ParamValue::Text("x".to_owned()), |inner, _| {
                ParamValue::List(vec![inner])
            });
            return Ok(ParamValue::Map(vec![("a".to_owned(), nested)]));
        }
        Some(("$repeat", parts)) => {
            let count = usize::try_from(parts[2].as_u64().expect("$repeat holds a count")).expect("the count fits");
            let repeated = ParamValue::Text(string(&parts[1]).repeat(count));
            return Ok(ParamValue::Map(vec![(string(&parts[0]).to_owned(), repeated)]));
        }
        _ => {}
    }
    if let Some(integer) = integer(encoded) {
        return Ok(ParamValue::Integer(integer));
    }
    Ok(match encoded {
        Value::Null => ParamValue::Null,
        Value::Bool(value) => ParamValue::Bool(*value),
        Value::Number(number) => ParamValue::Float(number.as_f64().expect("a number that is no integer is a float")),
        Value::String(text) => ParamValue::Text(text.clone()),
        Value::Array(items) => {
            let items = items
                .iter()
                .enumerate()
                .map(|(index, item)| value(item, &path.item(index)));
            ParamValue::List(items.collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| member(&Value::String(name.clone()), value, path));
            ParamValue::Map(members.collect::<Result<_, _>>()?)
        }
    })
}

fn member(name: &Value, encoded: &Value, path: &Path) -> Result<(String, ParamValue), Error> {
    let name = text(name, ErrorCode::ParamType, path)?;
    let value = value(encoded, &path.member(&name))?;
    Ok((name, value))
}

fn integer(value: &Value) -> Option<i128> {
    match encoding(value) {
        Some(("$int", digits)) => Some(string(digits).parse().expect("$int holds an integer")),
        _ => value
            .as_i64()
            .map(i128::from)
            .or_else(|| value.as_u64().map(i128::from)),
    }
}

/// The name and content of an encoding such as `{"$int":"5"}`.
fn encoding(value: &Value) -> Option<(&str, &Value)> {
    let members = value.as_object()?;
    let (name, content) = members.iter().next()?;
    (members.len() == 1 && name.starts_with('$')).then_some((name, content))
}

fn well_formed(units: &Value) -> Option<String> {
    let hex = string(units);
    let unit = |index| u16::from_str_radix(&hex[index..index + 4], 16).expect("$utf16 holds hex digits");
    String::from_utf16(&(0..hex.len()).step_by(4).map(unit).collect::<Vec<_>>()).ok()
}

fn surrogate(path: &impl std::fmt::Display) -> Error {
    Error::new(
        ErrorCode::Surrogate,
        format!("{path}: text must not hold an unpaired surrogate"),
    )
}

fn string(value: &Value) -> &str {
    value.as_str().expect("an encoding holds a string")
}
