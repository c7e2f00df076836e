//! Numbers as text (§1.4, §1.5): what Python's `str` and `repr` print.

use std::fmt::Write;

/// Whether an integer is in [−2^63, 2^64−1].
pub(super) fn in_range(integer: i128) -> bool {
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&integer)
}

/// The length of an integer's decimal digits, with the sign.
pub(super) fn length(integer: i128) -> usize {
    let digits = integer
        .unsigned_abs()
        .checked_ilog10()
        .map_or(1, |exponent| exponent as usize + 1);
    digits + usize::from(integer < 0)
}

/// Appends an integer's decimal digits.
pub(super) fn push_integer(output: &mut String, integer: i128) {
    write!(output, "{integer}").expect("a String takes what is written to it");
}

/// Checks that a double is finite and not integral.
pub(super) fn check_float(float: f64) -> Result<(), &'static str> {
    if !float.is_finite() {
        return Err("a number must be finite");
    }
    if float.fract() == 0.0 {
        return Err("a float must not have an integral value; pass an integer");
    }
    Ok(())
}

/// A finite double that is not integral, as Python's `repr` prints it: the shortest digits that read back as the same
/// double, in fixed notation from 1e-4 up.
///
/// JavaScript's layout, which `ryu-js` writes, differs only below 1e-4: it is fixed down to 1e-6, and an exponent has no
/// leading zero. No integral double means no double from 2^53 up, so neither writes a positive exponent.
pub(super) fn float_text(float: f64) -> String {
    let mut buffer = ryu_js::Buffer::new();
    let printed = buffer.format_finite(float);
    if float.abs() >= 1e-4 {
        return printed.to_owned();
    }
    let (sign, magnitude) = printed
        .strip_prefix('-')
        .map_or(("", printed), |magnitude| ("-", magnitude));
    if let Some((mantissa, exponent)) = magnitude.split_once("e-") {
        return format!("{sign}{mantissa}e-{exponent:0>2}");
    }
    let decimals = magnitude.trim_start_matches("0.");
    let digits = decimals.trim_start_matches('0');
    let exponent = decimals.len() - digits.len() + 1;
    let (first, others) = digits.split_at(1);
    let point = if others.is_empty() { "" } else { "." };
    format!("{sign}{first}{point}{others}e-{exponent:0>2}")
}
