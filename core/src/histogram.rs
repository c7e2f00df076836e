//! How long calls took, as a histogram with fixed bounds.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The upper bounds of all buckets but the last, which has none; each belongs to its bucket.
pub const BOUNDS: [Duration; 16] = {
    let ms = Duration::from_millis;
    [
        Duration::from_micros(100),
        Duration::from_micros(200),
        Duration::from_micros(500),
        ms(1),
        ms(2),
        ms(5),
        ms(10),
        ms(20),
        ms(50),
        ms(100),
        ms(200),
        ms(500),
        ms(1_000),
        ms(2_000),
        ms(5_000),
        ms(10_000),
    ]
};

/// A histogram as it was at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many calls there were.
    pub count: u64,
    /// How long they took together.
    pub sum: Duration,
    /// How many of them fell into each bucket.
    pub counts: [u64; BOUNDS.len() + 1],
}

/// The histogram that is being recorded.
#[derive(Default)]
pub(crate) struct Recorder {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Recorder {
    /// Adds calls that took this long, each of them.
    pub fn record(&self, took: Duration, calls: u64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < took);
        self.counts[bucket].fetch_add(calls, Relaxed);
        // All calls together would have to take 584 years to overflow.
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds.saturating_mul(calls), Relaxed);
    }

    pub fn snapshot(&self) -> Histogram {
        let counts = array::from_fn(|bucket| self.counts[bucket].load(Relaxed));
        Histogram {
            // Of these very buckets: a counter of its own could disagree with them.
            count: counts.iter().sum(),
            sum: Duration::from_nanos(self.nanoseconds.load(Relaxed)),
            counts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket_and_what_is_longer_than_all_has_one_too() {
        let recorder = Recorder::default();
        recorder.record(Duration::ZERO, 1);
        recorder.record(BOUNDS[0], 1);
        recorder.record(BOUNDS[0] + Duration::from_nanos(1), 3);
        recorder.record(Duration::from_secs(11), 1);
        let histogram = recorder.snapshot();
        assert_eq!(histogram.count, 6);
        assert_eq!(histogram.counts[..3], [2, 3, 0]);
        assert_eq!(histogram.counts[BOUNDS.len()], 1);
        assert_eq!(
            histogram.sum,
            BOUNDS[0] * 4 + Duration::from_nanos(3) + Duration::from_secs(11)
        );
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS.is_sorted_by(|one, next| one < next));
    }
}
