//! Text as a JSON string in ASCII (§1.2).

/// How many bytes each byte of UTF-8 comes to. A character's first byte stands for the whole: one UTF-16 unit is six
/// bytes, the two of a character of four bytes are twelve.
const ESCAPED_LENGTHS: [u8; 256] = {
    let mut lengths = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        lengths[byte] = match byte {
            0x08 | 0x09 | 0x0A | 0x0C | 0x0D | 0x22 | 0x5C => 2,
            0x20..=0x7E => 1,
            0x80..=0xBF => 0,
            0xF0..=0xFF => 12,
            _ => 6,
        };
        byte += 1;
    }
    lengths
};

/// The length of a text once it is escaped, without its quotes. Never less than the length of its UTF-8.
pub(super) fn escaped_length(text: &str) -> usize {
    text.bytes()
        .map(|byte| usize::from(ESCAPED_LENGTHS[usize::from(byte)]))
        .sum()
}

/// Appends a text as a JSON string.
pub(super) fn push(output: &mut String, text: &str) {
    output.push('"');
    push_escaped(output, text);
    output.push('"');
}

/// Appends a text as it stands inside a JSON string.
pub(super) fn push_escaped(output: &mut String, text: &str) {
    let mut rest = text;
    loop {
        let literal = rest
            .bytes()
            .position(|byte| ESCAPED_LENGTHS[usize::from(byte)] != 1)
            .unwrap_or(rest.len());
        output.push_str(&rest[..literal]);
        rest = &rest[literal..];
        let Some(character) = rest.chars().next() else { return };
        push_escape(output, character);
        rest = &rest[character.len_utf8()..];
    }
}

fn push_escape(output: &mut String, character: char) {
    match character {
        '"' => output.push_str("\\\""),
        '\\' => output.push_str("\\\\"),
        '\u{8}' => output.push_str("\\b"),
        '\t' => output.push_str("\\t"),
        '\n' => output.push_str("\\n"),
        '\u{C}' => output.push_str("\\f"),
        '\r' => output.push_str("\\r"),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                output.push_str("\\u");
                for shift in [12, 8, 4, 0] {
                    let digit = u32::from(*unit >> shift & 0xF);
                    output.extend(char::from_digit(digit, 16));
                }
            }
        }
    }
}
