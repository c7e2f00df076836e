//! Equal or error (`protocol.md` §1), for calls of every shape: the canonical form is the one JSON text of what was
//! given, or there is none for a reason that can be seen in the call.

use arbitrary::{Arbitrary, Unstructured};
use mizan_cache_core::{
    canonical::{Canonical, MAX_CANONICAL_BYTES, MAX_DEPTH, MAX_REV, ParamValue, UserId, check_context},
    error::ErrorCode,
};
use serde_json::{Map, Value};
use std::fmt::Write;

#[derive(Arbitrary, Debug)]
struct Call {
    /// `None` for a legal one.
    context: Option<String>,
    params: Vec<(String, Node)>,
    user: Option<User>,
    rev: u64,
}

#[derive(Arbitrary, Debug)]
enum User {
    Text(String),
    Small(i64),
    Integer(i128),
}

#[derive(Arbitrary, Clone, Debug)]
enum Node {
    Null,
    Bool(bool),
    Small(i64),
    Integer(i128),
    Float(f64),
    /// A float of few digits, as people write them.
    Decimal(i32, u8),
    Text(String),
    /// So many of one character; from 250 on, sixty thousand more.
    Repeated(char, u8),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
    /// As deep as so many lists.
    Deep(u8, Box<Node>),
}

pub fn check(bytes: &[u8]) {
    let Ok(call) = Call::arbitrary(&mut Unstructured::new(bytes)) else {
        return;
    };
    let context = call.context.as_deref().unwrap_or("user");
    let params: Vec<_> = call.params.iter().map(to_member).collect();
    let user = call.user.as_ref().map(|user| match user {
        User::Text(id) => UserId::Text(id.clone()),
        User::Small(id) => UserId::Integer((*id).into()),
        User::Integer(id) => UserId::Integer(*id),
    });
    let mut faults = Vec::new();
    find_faults(&call, context, &params, user.as_ref(), &mut faults);
    match Canonical::new(context, &params, user.as_ref(), call.rev) {
        Err(error) if error.code() == ErrorCode::Size => {
            let most = most_bytes(&params) + text_bytes(context) + user.as_ref().map_or(0, user_bytes) + 64;
            assert!(most > MAX_CANONICAL_BYTES, "a short call is too long: {call:?}");
        }
        Err(error) => assert!(faults.contains(&error.code()), "{error} in {call:?}"),
        Ok(canonical) => {
            assert_eq!(faults, [], "no error in {call:?}");
            check_text(&canonical, context, &params, user.as_ref(), call.rev);
        }
    }
}

fn check_text(canonical: &Canonical, context: &str, params: &[(String, ParamValue)], user: Option<&UserId>, rev: u64) {
    let text = canonical.as_str();
    assert!(text.len() <= MAX_CANONICAL_BYTES);
    let parsed: Value = serde_json::from_str(text).expect("a canonical form is JSON");
    assert_eq!(
        to_ascii(&parsed),
        text,
        "the keys are in order, and nothing is written in another way"
    );
    assert_eq!(parsed["c"], context);
    assert_eq!(parsed["r"], rev);
    match user {
        None => assert_eq!(parsed.get("u"), None),
        Some(UserId::Text(id)) => assert_eq!(parsed["u"], *id),
        Some(UserId::Integer(id)) => assert_eq!(parsed["u"], id.to_string()),
    }
    check_members(&parsed["p"], params);
    let again = to_params(&parsed["p"]);
    let again = Canonical::new(context, &again, user, rev).expect("what was written can be written");
    assert_eq!(again.as_str(), text, "written again it stays as it is");
    let crossed = Canonical::from_written(text.to_owned(), context.len()).expect("it crosses the boundary");
    assert_eq!(&crossed, canonical);
}

fn check_members(parsed: &Value, members: &[(String, ParamValue)]) {
    assert_eq!(parsed.as_object().map(Map::len), Some(members.len()));
    for (name, value) in members {
        check_value(&parsed[name], value);
    }
}

fn check_value(parsed: &Value, value: &ParamValue) {
    match value {
        ParamValue::Null => assert_eq!(parsed, "null"),
        ParamValue::Bool(flag) => assert_eq!(parsed, &flag.to_string()),
        ParamValue::Integer(integer) => assert_eq!(parsed, &integer.to_string()),
        ParamValue::Float(float) => {
            let read: f64 = parsed.as_str().and_then(|text| text.parse().ok()).expect("a number");
            assert_eq!(read.to_bits(), float.to_bits(), "{parsed}");
        }
        ParamValue::Text(text) => assert_eq!(parsed, text),
        ParamValue::List(items) => {
            let parsed = parsed.as_array().expect("an array");
            assert_eq!(parsed.len(), items.len());
            parsed
                .iter()
                .zip(items)
                .for_each(|(parsed, item)| check_value(parsed, item));
        }
        ParamValue::Map(members) => check_members(parsed, members),
    }
}

fn find_faults(
    call: &Call,
    context: &str,
    params: &[(String, ParamValue)],
    user: Option<&UserId>,
    faults: &mut Vec<ErrorCode>,
) {
    if check_context(context).is_err() {
        faults.push(ErrorCode::Context);
    }
    if call.rev > MAX_REV {
        faults.push(ErrorCode::Rev);
    }
    if matches!(user, Some(UserId::Integer(id)) if !in_range(*id)) {
        faults.push(ErrorCode::User);
    }
    find_faults_of_members(params, 1, faults);
}

fn find_faults_of_members(members: &[(String, ParamValue)], depth: usize, faults: &mut Vec<ErrorCode>) {
    find_depth(depth, faults);
    let mut names: Vec<_> = members.iter().map(|(name, _)| name).collect();
    names.sort();
    names.dedup();
    if names.len() < members.len() {
        faults.push(ErrorCode::DuplicateKey);
    }
    for (_, value) in members {
        find_faults_of_value(value, depth, faults);
    }
}

fn find_faults_of_value(value: &ParamValue, depth: usize, faults: &mut Vec<ErrorCode>) {
    match value {
        ParamValue::Integer(integer) if !in_range(*integer) => faults.push(ErrorCode::ParamNumber),
        ParamValue::Float(float) if !float.is_finite() || float.fract() == 0.0 => faults.push(ErrorCode::ParamNumber),
        ParamValue::List(items) => {
            find_depth(depth + 1, faults);
            for item in items {
                find_faults_of_value(item, depth + 1, faults);
            }
        }
        ParamValue::Map(members) => find_faults_of_members(members, depth + 1, faults),
        _ => {}
    }
}

fn find_depth(depth: usize, faults: &mut Vec<ErrorCode>) {
    if depth > MAX_DEPTH {
        faults.push(ErrorCode::Depth);
    }
}

fn in_range(integer: i128) -> bool {
    i64::try_from(integer).is_ok() || u64::try_from(integer).is_ok()
}

/// At least as many bytes as are written, but for context, user and rev.
fn most_bytes(members: &[(String, ParamValue)]) -> usize {
    2 + members
        .iter()
        .map(|(name, value)| text_bytes(name) + 2 + most_bytes_of_value(value))
        .sum::<usize>()
}

fn most_bytes_of_value(value: &ParamValue) -> usize {
    match value {
        ParamValue::Text(text) => text_bytes(text),
        ParamValue::List(items) => 2 + items.iter().map(|item| 1 + most_bytes_of_value(item)).sum::<usize>(),
        ParamValue::Map(members) => most_bytes(members),
        _ => 42,
    }
}

fn user_bytes(user: &UserId) -> usize {
    match user {
        UserId::Text(id) => text_bytes(id),
        UserId::Integer(_) => 42,
    }
}

fn text_bytes(text: &str) -> usize {
    to_ascii(&Value::from(text)).len()
}

fn to_member((name, node): &(String, Node)) -> (String, ParamValue) {
    (name.clone(), to_value(node))
}

fn to_value(node: &Node) -> ParamValue {
    match node {
        Node::Null => ParamValue::Null,
        Node::Bool(flag) => ParamValue::Bool(*flag),
        Node::Small(integer) => ParamValue::Integer((*integer).into()),
        Node::Integer(integer) => ParamValue::Integer(*integer),
        Node::Float(float) => ParamValue::Float(*float),
        Node::Decimal(digits, places) => ParamValue::Float(f64::from(*digits) / 10_f64.powi((*places).into())),
        Node::Text(text) => ParamValue::Text(text.clone()),
        Node::Repeated(character, count) => {
            let more = if *count < 250 { 0 } else { 60_000 };
            ParamValue::Text(character.to_string().repeat(usize::from(*count) + more))
        }
        Node::List(items) => ParamValue::List(items.iter().map(to_value).collect()),
        Node::Map(members) => ParamValue::Map(members.iter().map(to_member).collect()),
        Node::Deep(levels, inner) => (0..*levels % 40).fold(to_value(inner), |inner, _| ParamValue::List(vec![inner])),
    }
}

fn to_params(parsed: &Value) -> Vec<(String, ParamValue)> {
    let members = parsed.as_object().expect("an object");
    members
        .iter()
        .map(|(name, value)| (name.clone(), to_param(value)))
        .collect()
}

fn to_param(parsed: &Value) -> ParamValue {
    match parsed {
        Value::Array(items) => ParamValue::List(items.iter().map(to_param).collect()),
        Value::Object(_) => ParamValue::Map(to_params(parsed)),
        leaf => ParamValue::Text(leaf.as_str().expect("leaves are text").to_owned()),
    }
}

/// JSON as Python's `json.dumps` writes it with sorted keys and without white space, from another writer than ours.
fn to_ascii(value: &Value) -> String {
    let mut ascii = String::new();
    for character in value.to_string().chars() {
        if matches!(character, ' '..='~') {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(ascii, "\\u{unit:04x}").expect("a String takes what is written to it");
            }
        }
    }
    ascii
}
