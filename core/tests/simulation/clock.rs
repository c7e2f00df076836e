//! Clocks: each process has one of its own, which runs apart from the others, may stand still and may jump.

use std::time::Duration;

use crate::server::Micros;

/// The clock of a process. It never goes back.
#[derive(Clone, Debug)]
pub struct Clock {
    /// What it showed at `since`.
    shown: u64,
    since: Micros,
    /// Microseconds that it gains in each second; it may lose some too.
    gains: i64,
    is_stopped: bool,
}

impl Clock {
    pub const fn new(shown: u64, gains: i64) -> Self {
        Self {
            shown,
            since: 0,
            gains,
            is_stopped: false,
        }
    }

    fn micros(&self, now: Micros) -> u64 {
        if self.is_stopped {
            return self.shown;
        }
        let passed = now - self.since;
        let gained = i64::try_from(passed).unwrap_or_default() * self.gains / 1_000_000;
        self.shown + passed.saturating_add_signed(gained)
    }

    /// What the clock shows.
    pub fn moment(&self, now: Micros) -> Duration {
        Duration::from_micros(self.micros(now))
    }

    /// When it will show a moment, at the earliest.
    pub fn when(&self, moment: Duration, now: Micros) -> Micros {
        let left = moment.saturating_sub(self.moment(now));
        // A clock that gains or loses is asked again.
        now + u64::try_from(left.as_nanos().div_ceil(1_000))
            .unwrap_or(u64::MAX / 4)
            .min(u64::MAX / 4)
    }

    pub fn jump(&mut self, by: u64, now: Micros) {
        self.shown = self.micros(now) + by;
        self.since = now;
    }

    pub fn stop(&mut self, now: Micros) {
        self.shown = self.micros(now);
        self.since = now;
        self.is_stopped = true;
    }

    pub fn go_on(&mut self, now: Micros) {
        if self.is_stopped {
            self.is_stopped = false;
            self.since = now;
        }
    }
}
