//! Whatever bytes come from a server: they are no frame, or the beginning of one, or a frame that says what the `redis`
//! crate reads in it.

use mizan_cache_core::engine::resp::{self, Frame, Frames, Measure};
use redis::Value;

pub fn check(bytes: &[u8]) {
    match resp::measure(bytes) {
        Measure::Whole(length) => check_frame(&bytes[..length]),
        Measure::Needs(length) => assert!(length > bytes.len(), "{length} bytes are there"),
        Measure::Malformed => {}
    }
}

fn check_frame(frame: &[u8]) {
    // Longer frames are cut at some places only.
    for cut in (0..frame.len()).step_by(frame.len() / 1_024 + 1) {
        let Measure::Needs(length) = resp::measure(&frame[..cut]) else {
            panic!("{cut} bytes of {:?} are not the beginning of a frame", show(frame));
        };
        assert!((cut + 1..=frame.len()).contains(&length), "{:?}", show(frame));
    }
    let mut frames = Frames::new(frame);
    assert_eq!(frames.skip_frame(), Some(()));
    assert_eq!(frames.next_frame(), None);

    let Ok(value) = redis::parse_redis_value(frame) else {
        assert!(is_refused_by_the_crate_alone(frame), "{:?}", show(frame));
        assert_eq!(resp::value(frame), None);
        return;
    };
    let mut frames = Frames::new(frame);
    check_value(&mut frames, &value, frame);
    assert_eq!(frames.next_frame(), None);
    // Not itself: a number may be none.
    assert_eq!(format!("{:?}", resp::value(frame)), format!("{:?}", Some(value)));
}

/// The crate wants lines to be UTF-8, numbers with a point to be numbers, and pushes to begin with their kind. Nothing
/// depends on any of these where frames are passed over.
fn is_refused_by_the_crate_alone(frame: &[u8]) -> bool {
    frame.iter().any(|byte| !byte.is_ascii() || matches!(byte, b',' | b'>'))
}

fn check_value(frames: &mut Frames<'_>, value: &Value, of: &[u8]) {
    let frame = frames.next_frame().expect("the frame is whole");
    let is_the_same = match (frame, value) {
        (Frame::Text(text), Value::BulkString(said) | Value::BigNumber(said)) => text == said,
        (Frame::Text(text), Value::SimpleString(said)) => text == said.as_bytes(),
        (Frame::Text(text), Value::Okay) => text == b"OK",
        (Frame::Text(text), Value::Boolean(said)) => text == if *said { b"t" } else { b"f" },
        (Frame::Text(text), Value::Double(said)) => {
            let number: f64 = show(text).trim().parse().expect("a number");
            number.to_bits() == said.to_bits()
        }
        (Frame::Text(text), Value::VerbatimString { text: said, .. }) => show(text) == *said,
        (Frame::Error(error), Value::ServerError(said)) => {
            let error = show(error);
            let (code, details) = match error.split_once(' ') {
                Some((code, details)) => (code, Some(details)),
                None => (&*error, None),
            };
            (code, details) == (said.code(), said.details())
        }
        (Frame::Integer(number), Value::Int(said)) => number == *said,
        (Frame::Null, Value::Nil) => true,
        (Frame::Array(count), Value::Array(values) | Value::Set(values)) => {
            for value in values {
                check_value(frames, value, of);
            }
            count == values.len()
        }
        (Frame::Map(count), Value::Map(pairs)) => {
            for (key, value) in pairs {
                check_value(frames, key, of);
                check_value(frames, value, of);
            }
            count == pairs.len()
        }
        (Frame::Push(count), Value::Push { data, .. }) => {
            let kind = (count > 0).then(|| frames.next_frame());
            for value in data {
                check_value(frames, value, of);
            }
            kind.is_none_or(|kind| matches!(kind, Some(Frame::Text(_)))) && count.saturating_sub(1) == data.len()
        }
        _ => false,
    };
    assert!(is_the_same, "{frame:?} is not {value:?} in {:?}", show(of));
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
