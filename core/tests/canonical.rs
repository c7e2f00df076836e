//! The canonical form beyond the vectors: generated calls against `serde_json`, numbers at every edge of their layout,
//! and the limits.

use mizan_cache_core::{
    canonical::{Canonical, MAX_CANONICAL_BYTES, MAX_DEPTH, MAX_REV, ParamValue, UserId},
    error::{Error, ErrorCode},
};
use proptest::{collection::btree_map, prelude::*};
use serde_json::{Value, json};
use std::fmt::Write;

type Params = Vec<(String, ParamValue)>;

fn named(name: &str, value: ParamValue) -> Params {
    vec![(name.to_owned(), value)]
}

fn text(text: &str) -> ParamValue {
    ParamValue::Text(text.to_owned())
}

/// The canonical form of a value as the parameter `a`.
fn of_value(value: ParamValue) -> Result<String, Error> {
    Canonical::new("user", &named("a", value), None, 0).map(|canonical| canonical.as_str().to_owned())
}

/// The text of a number as the parameter `a`.
fn of_float(float: f64) -> String {
    let canonical = of_value(ParamValue::Float(float)).unwrap();
    let text = canonical.strip_prefix(r#"{"c":"user","p":{"a":""#).unwrap();
    text.strip_suffix(r#""},"r":0}"#).unwrap().to_owned()
}

fn code_of(params: &Params) -> ErrorCode {
    Canonical::new("user", params, None, 0).unwrap_err().code()
}

/// What `serde_json` writes, which sorts names by their bytes, made ASCII as Python does it.
fn expected(call: &Value) -> String {
    let mut ascii = String::new();
    for character in call.to_string().chars() {
        if (' '..='~').contains(&character) {
            ascii.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(ascii, "\\u{unit:04x}").unwrap();
            }
        }
    }
    ascii
}

/// The same value as JSON, its leaves as text.
fn json_of(value: &ParamValue) -> Value {
    match value {
        ParamValue::Null => json!("null"),
        ParamValue::Bool(value) => json!(value.to_string()),
        ParamValue::Integer(integer) => json!(integer.to_string()),
        ParamValue::Float(float) => json!(of_float(*float)),
        ParamValue::Text(text) => json!(text),
        ParamValue::List(items) => items.iter().map(json_of).collect(),
        ParamValue::Map(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), json_of(value)))
            .collect(),
    }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]{0,2}", "[\\x00-\\x20\"\\\\/\\x7e-\\xa0]{0,6}", ".{0,6}"]
}

fn any_value() -> impl Strategy<Value = ParamValue> {
    let leaf = prop_oneof![
        Just(ParamValue::Null),
        any::<bool>().prop_map(ParamValue::Bool),
        (i128::from(i64::MIN)..=i128::from(u64::MAX)).prop_map(ParamValue::Integer),
        any::<i32>().prop_map(|integer| ParamValue::Integer(integer.into())),
        any::<i32>().prop_map(|integer| ParamValue::Float(f64::from(integer) + 0.25)),
        any_text().prop_map(ParamValue::Text),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(ParamValue::List),
            members(inner).prop_map(ParamValue::Map),
        ]
    })
}

fn members(value: impl Strategy<Value = ParamValue>) -> impl Strategy<Value = Params> {
    btree_map(any_text(), value, 0..6)
        .prop_map(|members| members.into_iter().collect::<Params>())
        .prop_shuffle()
}

fn any_user() -> impl Strategy<Value = Option<UserId>> {
    prop_oneof![
        Just(None),
        any_text().prop_map(|id| Some(UserId::Text(id))),
        any::<i64>().prop_map(|id| Some(UserId::Integer(id.into()))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_call_is_written_as_sorted_ascii_json(params in members(any_value()), user in any_user(), rev in 0..=MAX_REV) {
        let mut call = json!({ "c": "user", "p": json_of(&ParamValue::Map(params.clone())), "r": rev });
        match &user {
            None => {}
            Some(UserId::Text(id)) => call["u"] = json!(id),
            Some(UserId::Integer(id)) => call["u"] = json!(id.to_string()),
        }
        let canonical = Canonical::new("user", &params, user.as_ref(), rev).unwrap();
        prop_assert_eq!(canonical.as_str(), expected(&call));
    }

    #[test]
    fn a_float_reads_back_as_itself_in_pythons_layout(bits: u64) {
        let float = f64::from_bits(bits);
        prop_assume!(float.is_finite() && float.fract() != 0.0);
        check_layout(float);
    }

    /// Random bits are seldom near 1: these are the magnitudes that people use.
    #[test]
    fn an_ordinary_float_reads_back_as_itself_in_pythons_layout(digits in 1_i64..1_000_000_000, exponent in -16..0_i32) {
        let float = format!("{digits}e{exponent}").parse::<f64>().unwrap();
        prop_assume!(float.fract() != 0.0);
        check_layout(float);
        check_layout(-float);
    }

    #[test]
    fn a_name_that_occurs_twice_is_an_error(mut params in members(any_value()), at in any::<prop::sample::Index>()) {
        prop_assume!(!params.is_empty());
        let name = params[at.index(params.len())].0.clone();
        params.insert(0, (name, ParamValue::Null));
        prop_assert_eq!(code_of(&params), ErrorCode::DuplicateKey);
        prop_assert_eq!(code_of(&named("a", ParamValue::List(vec![ParamValue::Map(params)]))), ErrorCode::DuplicateKey);
    }
}

fn check_layout(float: f64) {
    let text = of_float(float);
    assert_eq!(text.parse::<f64>().unwrap().to_bits(), float.to_bits(), "{text}");

    let magnitude = text.trim_start_matches('-');
    let Some((mantissa, exponent)) = magnitude.split_once('e') else {
        assert!(float.abs() >= 1e-4, "{text}");
        let (whole, decimals) = magnitude.split_once('.').unwrap();
        assert!(
            !decimals.ends_with('0') && (whole == "0" || !whole.starts_with('0')),
            "{text}"
        );
        return;
    };
    assert!(float.abs() < 1e-4, "{text}");
    let exponent = exponent.strip_prefix('-').unwrap();
    assert!(
        exponent.len() == 2 || exponent.len() == 3 && !exponent.starts_with('0'),
        "{text}"
    );
    let (first, decimals) = mantissa.split_once('.').unwrap_or((mantissa, "1"));
    assert!(first.len() == 1 && first != "0" && !decimals.ends_with('0'), "{text}");
}

/// The right-hand sides are what Python 3 prints.
#[test]
fn floats_at_the_edges_of_the_layout() {
    let cases = [
        (1e-4, "0.0001"),
        (0.000_123_4, "0.0001234"),
        (f64::from_bits(1e-4_f64.to_bits() - 1), "9.999999999999999e-05"),
        (1e-5, "1e-05"),
        (1.5e-5, "1.5e-05"),
        (1e-6, "1e-06"),
        (1.25e-6, "1.25e-06"),
        (1e-7, "1e-07"),
        (1.25e-7, "1.25e-07"),
        (1e-9, "1e-09"),
        (1e-10, "1e-10"),
        (1.5e-99, "1.5e-99"),
        (1.5e-100, "1.5e-100"),
        (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        (
            f64::from_bits(f64::MIN_POSITIVE.to_bits() - 1),
            "2.225073858507201e-308",
        ),
        (f64::from_bits(1), "5e-324"),
        (f64::from_bits(3), "1.5e-323"),
        (0.1 + 0.2, "0.30000000000000004"),
        (4_503_599_627_370_495.5, "4503599627370495.5"),
        // Halfway between two shortest candidates: ties go to the even digit.
        (182_411_393_343_379.0 + 0.125, "182411393343379.12"),
        (1_125_899_906_842_624.0 + 0.25, "1125899906842624.2"),
        (1_125_899_906_842_624.0 + 0.75, "1125899906842624.8"),
    ];
    for (float, expected) in cases {
        assert_eq!(of_float(float), expected);
        assert_eq!(of_float(-float), format!("-{expected}"));
    }
}

#[test]
fn numbers_out_of_range_are_errors() {
    for float in [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        0.0,
        -0.0,
        1.0,
        -3.0,
        1e15,
        1e300,
    ] {
        assert_eq!(
            of_value(ParamValue::Float(float)).unwrap_err().code(),
            ErrorCode::ParamNumber,
            "{float}"
        );
    }
    let (lowest, highest) = (i128::from(i64::MIN), i128::from(u64::MAX));
    for integer in [lowest, -1, 0, 1, 9, 10, highest] {
        assert_eq!(
            of_value(ParamValue::Integer(integer)).unwrap(),
            of_value(text(&integer.to_string())).unwrap()
        );
        assert!(Canonical::new("user", &[], Some(&UserId::Integer(integer)), 0).is_ok());
    }
    for integer in [lowest - 1, highest + 1, i128::MIN, i128::MAX] {
        assert_eq!(
            of_value(ParamValue::Integer(integer)).unwrap_err().code(),
            ErrorCode::ParamNumber
        );
        let error = Canonical::new("user", &[], Some(&UserId::Integer(integer)), 0).unwrap_err();
        assert_eq!(error.code(), ErrorCode::User);
    }
    assert_eq!(
        Canonical::new("user", &[], None, MAX_REV + 1).unwrap_err().code(),
        ErrorCode::Rev
    );
}

#[test]
fn depth_is_limited_whatever_the_containers() {
    let list = |inner| ParamValue::List(vec![inner]);
    let map = |inner| ParamValue::Map(named("a", inner));
    let wraps: [&dyn Fn(ParamValue) -> ParamValue; 2] = [&list, &map];
    for wrap in wraps {
        let nested = |levels| (0..levels).fold(ParamValue::Null, |inner, _| wrap(inner));
        // The parameters themselves are the first level, and an empty container is one like any other.
        assert!(of_value(nested(MAX_DEPTH - 1)).is_ok());
        assert_eq!(of_value(nested(MAX_DEPTH)).unwrap_err().code(), ErrorCode::Depth);
        assert_eq!(of_value(nested(100_000)).unwrap_err().code(), ErrorCode::Depth);
    }
    let empty = (0..MAX_DEPTH - 1).fold(ParamValue::List(Vec::new()), |inner, _| list(inner));
    assert_eq!(of_value(empty).unwrap_err().code(), ErrorCode::Depth);
}

#[test]
fn length_is_limited_to_the_byte() {
    let frame = of_value(text("")).unwrap().len();
    for (character, length) in [("x", 1), ("\n", 2), ("\u{7F}", 6), ("é", 6), ("€", 6), ("𐀀", 12)] {
        let count = (MAX_CANONICAL_BYTES - frame) / length;
        let padding = "x".repeat((MAX_CANONICAL_BYTES - frame) % length);
        let longest = of_value(text(&(character.repeat(count) + &padding))).unwrap();
        assert_eq!(longest.len(), MAX_CANONICAL_BYTES);
        let longer = text(&(character.repeat(count) + &padding + "x"));
        assert_eq!(of_value(longer).unwrap_err().code(), ErrorCode::Size);
    }
    let many = |count| {
        ParamValue::List(
            std::iter::repeat_with(|| ParamValue::List(Vec::new()))
                .take(count)
                .collect(),
        )
    };
    assert!(of_value(many(300_000)).is_ok());
    assert_eq!(of_value(many(400_000)).unwrap_err().code(), ErrorCode::Size);
    assert_eq!(
        code_of(&named(&"x".repeat(MAX_CANONICAL_BYTES), ParamValue::Null)),
        ErrorCode::Size
    );
    let user = UserId::Text("x".repeat(MAX_CANONICAL_BYTES));
    assert_eq!(
        Canonical::new("user", &[], Some(&user), 0).unwrap_err().code(),
        ErrorCode::Size
    );
}

#[test]
fn an_error_names_the_place_and_never_the_value() {
    let bad = || ParamValue::Float(f64::NAN);
    let cases = [
        (named("a", bad()), "params.a"),
        (named("$a_1", bad()), "params.$a_1"),
        (named("user", ParamValue::Map(named("id", bad()))), "params.user.id"),
        (
            named("items", ParamValue::List(vec![ParamValue::Null, bad()])),
            "params.items[1]",
        ),
        (named("a b", bad()), r#"params["a b"]"#),
        (named("", bad()), r#"params[""]"#),
        (named("1a", bad()), r#"params["1a"]"#),
        (named("\"\n\u{202E}é", bad()), r#"params["\"\n\u202e\u00e9"]"#),
        (named(&"x".repeat(64), bad()), &format!("params.{}", "x".repeat(64))),
        (
            named(&"x".repeat(65), bad()),
            &format!("params[\"{}...\"]", "x".repeat(64)),
        ),
        (
            named(&"€".repeat(65), bad()),
            &format!("params[\"{}...\"]", "\\u20ac".repeat(64)),
        ),
    ];
    for (params, path) in cases {
        let error = Canonical::new("user", &params, None, 0).unwrap_err();
        assert_eq!(error.message(), format!("{path}: a number must be finite"));
    }
    let secret = text("the value");
    let twice = vec![("a".to_owned(), secret.clone()), ("a".to_owned(), secret)];
    let error = Canonical::new("user", &twice, None, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "ERR_MIZAN_DUPLICATE_KEY: params.a: the name occurs twice"
    );
}

#[test]
fn what_was_written_elsewhere_is_taken_only_around_a_legal_context() {
    let written = |text: &str, length| Canonical::from_written(text.to_owned(), length);
    let canonical = written(r#"{"c":"user","p":{},"r":0}"#, 4).unwrap();
    assert_eq!(canonical.context(), "user");
    assert_eq!(canonical, Canonical::new("user", &[], None, 0).unwrap());

    let refused = [
        ("", 0, ErrorCode::Internal),
        (r#"{"c":"user","p":{},"r":0}"#, 3, ErrorCode::Internal),
        (r#"{"c":"user","p":{},"r":0}"#, 5, ErrorCode::Internal),
        (r#"{"c":"user","p":{},"r":0}"#, usize::MAX, ErrorCode::Internal),
        (r#"{"c":"user","p":{"a":"é"},"r":0}"#, 4, ErrorCode::Internal),
        (r#"{"c":"é","p":{},"r":0}"#, 1, ErrorCode::Internal),
        (r#"{"x":"user","p":{},"r":0}"#, 4, ErrorCode::Internal),
        (r#"{"c":"","p":{},"r":0}"#, 0, ErrorCode::Context),
        (r#"{"c":"us:er","p":{},"r":0}"#, 5, ErrorCode::Context),
        (r#"{"c":"a","p":{},"c":"user","p":{},"r":0}"#, 19, ErrorCode::Context),
    ];
    for (text, length, code) in refused {
        assert_eq!(written(text, length).unwrap_err().code(), code, "{text}");
    }
    let frame = r#"{"c":"user","p":{"a":""},"r":0}"#.len();
    let sized = |length: usize| format!(r#"{{"c":"user","p":{{"a":"{}"}},"r":0}}"#, "x".repeat(length - frame));
    assert!(written(&sized(MAX_CANONICAL_BYTES), 4).is_ok());
    assert_eq!(
        written(&sized(MAX_CANONICAL_BYTES + 1), 4).unwrap_err().code(),
        ErrorCode::Size
    );
}
