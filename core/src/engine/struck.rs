//! Which entries have large values, and which calls took their connection along.
//!
//! A value over a limit of the server (`proto-max-bulk-len`, the output buffer) cuts the connection it travels by, again
//! and again. So a call that its connection broke under twice goes by the bulk link from then on, alone; if that breaks
//! under it twice, it is refused for a while.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::{Moment, batch::LARGE};
use crate::{events::Operation as CallKind, key::Key};

/// The oldest are forgotten: to be taken for a small value costs a large one nothing but its neighbours' patience.
const MOST: usize = 1_000;
/// So often a call may take a link along before it goes elsewhere, or nowhere.
const STRIKES: u32 = 2;
/// How long strikes are remembered, and a call is refused.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How often connections broke under calls of one sort.
#[derive(Default)]
struct Strikes {
    on_main: u32,
    on_bulk: u32,
    at: Moment,
}

/// What is known of entries that are not like others.
#[derive(Default)]
pub(super) struct Struck {
    large: HashMap<u64, bool>,
    order: VecDeque<u64>,
    strikes: HashMap<(u64, bool), Strikes>,
}

impl Struck {
    /// Whether a value is expected to be large, or connections broke under it.
    pub fn is_large(&self, key: &Key) -> bool {
        !self.large.is_empty() && self.large.get(&key.digest().short()).copied().unwrap_or(false)
    }

    /// Whether a call is not sent any more.
    pub fn is_refused(&self, key: &Key, kind: CallKind, now: Moment) -> bool {
        !self.strikes.is_empty()
            && self
                .strikes
                .get(&place(key, kind))
                .is_some_and(|strikes| strikes.on_bulk >= STRIKES && now < strikes.at + REMEMBERED)
    }

    /// Whether connections broke under a call, which is therefore not to be sent by the main link.
    pub fn is_struck(&self, key: &Key) -> bool {
        let kinds = [CallKind::Read, CallKind::Write];
        let of = |kind| self.strikes.get(&place(key, kind));
        !self.strikes.is_empty()
            && kinds
                .into_iter()
                .filter_map(of)
                .any(|strikes| strikes.on_main >= STRIKES || strikes.on_bulk > 0)
    }

    /// Notes how large the value was that Redis answered with.
    pub fn note_size(&mut self, key: &Key, bytes: usize) {
        let is_large = bytes > LARGE;
        if is_large || !self.large.is_empty() {
            self.set_large(key, is_large);
        }
        self.note_answered(key, CallKind::Read);
    }

    /// Notes that a call was answered.
    pub fn note_answered(&mut self, key: &Key, kind: CallKind) {
        if !self.strikes.is_empty() {
            self.strikes.remove(&place(key, kind));
        }
    }

    /// A connection broke under a call. `true` if it is refused from now on.
    pub fn strike(&mut self, key: &Key, kind: CallKind, is_bulk: bool, now: Moment) -> bool {
        if self.strikes.len() >= MOST {
            self.strikes.retain(|_, strikes| now < strikes.at + REMEMBERED);
        }
        if self.strikes.len() >= MOST {
            return false;
        }
        let strikes = self.strikes.entry(place(key, kind)).or_default();
        if strikes.at + REMEMBERED <= now {
            *strikes = Strikes::default();
        }
        strikes.at = now;
        let count = if is_bulk {
            &mut strikes.on_bulk
        } else {
            &mut strikes.on_main
        };
        *count += 1;
        let is_enough = *count == STRIKES;
        if is_enough && !is_bulk {
            self.set_large(key, true);
        }
        is_enough && is_bulk
    }

    fn set_large(&mut self, key: &Key, is_large: bool) {
        let short = key.digest().short();
        match self.large.get_mut(&short) {
            Some(known) => *known = is_large,
            None if is_large => {
                self.large.insert(short, true);
                self.order.push_back(short);
                if self.order.len() > MOST
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.large.remove(&oldest);
                }
            }
            None => {}
        }
    }
}

fn place(key: &Key, kind: CallKind) -> (u64, bool) {
    (key.digest().short(), kind == CallKind::Read)
}
