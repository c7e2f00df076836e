//! Frames of RESP3, read where they arrived.
//!
//! [`measure`] says where a frame ends without reading it; [`Frames`] then reads it piece by piece, without copies. Only
//! what decides the speed is read so (values, answers of the lease scripts, invalidations): everything else goes through
//! the `redis` crate ([`value`]).

use redis::Value;

/// Nested deeper, a frame is refused: Redis answers none of our commands so.
const MAX_DEPTH: usize = 16;
/// Elements of one aggregate, as Redis bounds them too.
const MAX_ELEMENTS: usize = 1024 * 1024;
/// The largest string that Redis can hold, and some room for what a reply adds.
const MAX_STRING: usize = 512 * 1024 * 1024 + 1024;
/// A line holds a number or a short text; errors are the longest.
const MAX_LINE: usize = 64 * 1024;

/// What is known of the frame at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// It takes so many bytes, all of which are there.
    Whole(usize),
    /// It takes at least so many bytes, which are not there yet.
    Needs(usize),
    /// It is no frame.
    Malformed,
}

/// Where the frame ends that begins with the first of these bytes.
#[must_use]
pub fn measure(bytes: &[u8]) -> Measure {
    let mut frames = Frames { bytes, position: 0 };
    match frames.skip(0) {
        Ok(()) => Measure::Whole(frames.position),
        Err(Stop::Needs(end)) => Measure::Needs(end),
        Err(Stop::Malformed) => Measure::Malformed,
    }
}

/// One frame, or the head of an aggregate whose elements follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Text or bytes, in whatever kind of frame.
    Text(&'a [u8]),
    /// What an error says, its code first.
    Error(&'a [u8]),
    /// An integer.
    Integer(i64),
    /// Nothing.
    Null,
    /// An array or a set of so many elements.
    Array(usize),
    /// A map of so many pairs.
    Map(usize),
    /// A message nobody asked for, of so many elements.
    Push(usize),
}

#[derive(Clone, Copy)]
enum Stop {
    Needs(usize),
    Malformed,
}

/// Reads frames one after the other.
pub struct Frames<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Frames<'a> {
    /// Over bytes that [`measure`] found whole.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// The next frame, of an aggregate the head alone; `None` at the end.
    pub fn next_frame(&mut self) -> Option<Frame<'a>> {
        self.head().ok()
    }

    /// Passes over the next frame with all its elements; `None` at the end.
    pub fn skip_frame(&mut self) -> Option<()> {
        self.skip(0).ok()
    }

    fn skip(&mut self, depth: usize) -> Result<(), Stop> {
        let elements = match self.head()? {
            Frame::Array(elements) | Frame::Push(elements) => elements,
            Frame::Map(pairs) => 2 * pairs,
            _ => return Ok(()),
        };
        if depth == MAX_DEPTH {
            return Err(Stop::Malformed);
        }
        for _ in 0..elements {
            self.skip(depth + 1)?;
        }
        Ok(())
    }

    fn head(&mut self) -> Result<Frame<'a>, Stop> {
        let kind = *self.bytes.get(self.position).ok_or(Stop::Needs(self.position + 1))?;
        let line = self.line()?;
        Ok(match kind {
            b'$' => match length(line, MAX_STRING)? {
                Some(length) => Frame::Text(self.string(length)?),
                None => Frame::Null,
            },
            b'=' => Frame::Text(verbatim(
                self.string(length(line, MAX_STRING)?.ok_or(Stop::Malformed)?)?,
            )?),
            b'!' => Frame::Error(self.string(length(line, MAX_STRING)?.ok_or(Stop::Malformed)?)?),
            b'*' => length(line, MAX_ELEMENTS)?.map_or(Frame::Null, Frame::Array),
            b'~' => Frame::Array(length(line, MAX_ELEMENTS)?.ok_or(Stop::Malformed)?),
            b'%' => Frame::Map(length(line, MAX_ELEMENTS)?.ok_or(Stop::Malformed)?),
            b'>' => Frame::Push(length(line, MAX_ELEMENTS)?.ok_or(Stop::Malformed)?),
            b':' => Frame::Integer(integer(line)?),
            b'-' => Frame::Error(line),
            b'_' if line.is_empty() => Frame::Null,
            b'#' if matches!(line, b"t" | b"f") => Frame::Text(line),
            b'+' | b',' | b'(' => Frame::Text(line),
            _ => return Err(Stop::Malformed),
        })
    }

    /// What stands between the kind and the end of the line.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.position + 1..];
        let shown = &rest[..rest.len().min(MAX_LINE)];
        match shown.iter().position(|byte| *byte == b'\r') {
            Some(end) => match rest.get(end + 1) {
                Some(b'\n') => {
                    self.position += end + 3;
                    Ok(&rest[..end])
                }
                Some(_) => Err(Stop::Malformed),
                None => Err(Stop::Needs(self.bytes.len() + 1)),
            },
            None if shown.len() == MAX_LINE => Err(Stop::Malformed),
            None => Err(Stop::Needs(self.bytes.len() + 1)),
        }
    }

    fn string(&mut self, length: usize) -> Result<&'a [u8], Stop> {
        let end = self.position + length;
        let Some(string) = self.bytes.get(self.position..end + 2) else {
            return Err(Stop::Needs(end + 2));
        };
        self.position = end + 2;
        string.strip_suffix(b"\r\n").ok_or(Stop::Malformed)
    }
}

/// The text behind its format, which has three characters.
fn verbatim(string: &[u8]) -> Result<&[u8], Stop> {
    match string.iter().position(|byte| *byte == b':') {
        Some(3) => Ok(&string[4..]),
        _ => Err(Stop::Malformed),
    }
}

/// A length, or nothing where it is −1.
fn length(line: &[u8], most: usize) -> Result<Option<usize>, Stop> {
    if line == b"-1" {
        return Ok(None);
    }
    let length = usize::try_from(integer(line)?).map_err(|_| Stop::Malformed)?;
    if length > most {
        return Err(Stop::Malformed);
    }
    Ok(Some(length))
}

fn integer(line: &[u8]) -> Result<i64, Stop> {
    let (negative, digits) = match line {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 19 {
        return Err(Stop::Malformed);
    }
    let mut value: i64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Stop::Malformed);
        }
        // Downwards: the least integer has no positive counterpart.
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_sub(i64::from(digit)))
            .ok_or(Stop::Malformed)?;
    }
    if negative {
        Ok(value)
    } else {
        value.checked_neg().ok_or(Stop::Malformed)
    }
}

/// A whole frame as the `redis` crate reads it; an error of the server is a value too.
#[must_use]
pub fn value(frame: &[u8]) -> Option<Value> {
    redis::parse_redis_value(frame).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_measured_wherever_it_was_cut() {
        let frames: [&[u8]; 12] = [
            b"$5\r\nhello\r\n",
            b"$-1\r\n",
            b"*2\r\n$1\r\na\r\n:-7\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b">2\r\n+invalidate\r\n*1\r\n$3\r\nkey\r\n",
            b"%1\r\n+a\r\n*1\r\n_\r\n",
            b"-ERR no\r\n",
            b"!5\r\nERR x\r\n",
            b"=7\r\ntxt:abc\r\n",
            b"#t\r\n",
            b",1.5\r\n",
        ];
        for frame in frames {
            assert_eq!(measure(frame), Measure::Whole(frame.len()));
            for cut in 0..frame.len() {
                match measure(&frame[..cut]) {
                    Measure::Needs(needs) => assert!((cut + 1..=frame.len()).contains(&needs)),
                    other => panic!("{other:?} of {:?}", String::from_utf8_lossy(&frame[..cut])),
                }
            }
        }
    }

    #[test]
    fn a_long_value_is_waited_for_as_a_whole() {
        assert_eq!(measure(b"*1\r\n$100000\r\nabc"), Measure::Needs(4 + 9 + 100_000 + 2));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for bytes in [
            &b"x\r\n"[..],
            b"$a\r\n",
            b"$-2\r\n",
            b"$3\r\nabcde",
            b"*99999999999\r\n",
            b":\r\n",
            b":9223372036854775808\r\n",
            b"+a\rb\n",
            b"#x\r\n",
            b"=2\r\nab\r\n",
            b"=5\r\nabcde\r\n",
            b"=-1\r\n",
        ] {
            assert_eq!(
                measure(bytes),
                Measure::Malformed,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        assert_eq!(measure(&b"*1\r\n".repeat(MAX_DEPTH + 2)), Measure::Malformed);
        assert_eq!(measure(&b"+".repeat(MAX_LINE + 1)), Measure::Malformed);
    }

    #[test]
    fn integers_have_their_whole_range() {
        for number in [i64::MIN, -1, 0, 7, i64::MAX] {
            let frame = format!(":{number}\r\n");
            assert_eq!(Frames::new(frame.as_bytes()).next_frame(), Some(Frame::Integer(number)));
        }
    }
}
