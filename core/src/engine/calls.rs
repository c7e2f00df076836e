//! The calls in flight, in the order of their deadlines: all have the same time, so that is the order of the calls.

use bytes::Bytes;
use std::time::Duration;

use super::{Failure, Moment, Ticket, copies::Announcement};
use crate::{events::Operation as CallKind, key::Key, lease::LeaseToken};

/// No place.
const NOWHERE: u32 = u32::MAX;

/// A call, which may have been answered since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct CallId {
    place: u32,
    generation: u32,
}

/// What a call asks for.
pub(super) enum Asked {
    Get {
        key: Key,
        announced: Announcement,
    },
    Lookup {
        key: Key,
        announced: Announcement,
        /// The lease that this lookup would take, once a script was sent for it.
        token: Option<LeaseToken>,
        /// Whether its value was read, and none was there.
        was_read: bool,
        /// Whether Redis refused the script, so that there is no lease to be had.
        is_refused: bool,
    },
    Set {
        key: Key,
        value: Bytes,
        ttl: Duration,
        lease: Option<LeaseToken>,
    },
    Release {
        key: Key,
        lease: LeaseToken,
    },
    Purge {
        /// How many of its keys are not answered yet.
        waiting: usize,
        deleted: u64,
        /// Why any of them is pending.
        failure: Option<Failure>,
        /// Whether it stands for a value that is too large to be stored.
        is_discard: bool,
    },
    /// A pass deletes it, whose every command has a deadline of its own.
    Broad,
}

impl Asked {
    pub fn kind(&self) -> CallKind {
        match self {
            Self::Get { .. } | Self::Lookup { .. } => CallKind::Read,
            Self::Set { .. } | Self::Release { .. } => CallKind::Write,
            Self::Purge { .. } | Self::Broad => CallKind::Purge,
        }
    }

    /// The key of a call of one key.
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::Get { key, .. } | Self::Lookup { key, .. } | Self::Set { key, .. } | Self::Release { key, .. } => {
                Some(key)
            }
            Self::Purge { .. } | Self::Broad => None,
        }
    }
}

pub(super) struct Call {
    pub ticket: Ticket,
    pub asked_at: Moment,
    pub asked: Asked,
    /// How often a cluster sent it elsewhere.
    pub redirects: u8,
}

struct Place {
    generation: u32,
    previous: u32,
    next: u32,
    call: Option<Call>,
}

/// The calls in flight.
pub(super) struct Calls {
    places: Vec<Place>,
    free: Vec<u32>,
    first: u32,
    last: u32,
    count: usize,
    /// Calls without a deadline among them.
    broad: usize,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            first: NOWHERE,
            last: NOWHERE,
            count: 0,
            broad: 0,
        }
    }
}

impl Calls {
    pub fn insert(&mut self, call: Call) -> CallId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                generation: 0,
                previous: NOWHERE,
                next: NOWHERE,
                call: None,
            });
            u32::try_from(self.places.len() - 1).expect("calls in flight are bounded")
        });
        self.count += 1;
        let has_deadline = !matches!(call.asked, Asked::Broad);
        self.broad += usize::from(!has_deadline);
        let (previous, next) = if has_deadline {
            (self.last, NOWHERE)
        } else {
            (place, place)
        };
        let entry = &mut self.places[place as usize];
        entry.call = Some(call);
        entry.previous = previous;
        entry.next = next;
        let generation = entry.generation;
        if has_deadline {
            match self.last {
                NOWHERE => self.first = place,
                last => self.places[last as usize].next = place,
            }
            self.last = place;
        }
        CallId { place, generation }
    }

    pub fn get(&self, id: CallId) -> Option<&Call> {
        let place = self.places.get(id.place as usize)?;
        place.call.as_ref().filter(|_| place.generation == id.generation)
    }

    pub fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        let place = self.places.get_mut(id.place as usize)?;
        place.call.as_mut().filter(|_| place.generation == id.generation)
    }

    pub fn remove(&mut self, id: CallId) -> Option<Call> {
        self.get(id)?;
        let place = &mut self.places[id.place as usize];
        place.generation = place.generation.wrapping_add(1);
        let call = place.call.take()?;
        let (previous, next) = (place.previous, place.next);
        self.free.push(id.place);
        self.count -= 1;
        if matches!(call.asked, Asked::Broad) {
            self.broad -= 1;
            return Some(call);
        }
        match previous {
            NOWHERE => self.first = next,
            previous => self.places[previous as usize].next = next,
        }
        match next {
            NOWHERE => self.last = previous,
            next => self.places[next as usize].previous = previous,
        }
        Some(call)
    }

    /// The call whose deadline comes first, of those that have one.
    pub fn oldest(&self) -> Option<(CallId, &Call)> {
        let place = self.places.get(self.first as usize)?;
        let id = CallId {
            place: self.first,
            generation: place.generation,
        };
        place.call.as_ref().map(|call| (id, call))
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All calls, in no order.
    pub fn ids(&self) -> Vec<CallId> {
        let places = self.places.iter().enumerate().filter(|(_, place)| place.call.is_some());
        places
            .filter_map(|(index, place)| {
                Some(CallId {
                    place: u32::try_from(index).ok()?,
                    generation: place.generation,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(ticket: Ticket) -> Call {
        Call {
            ticket,
            asked_at: Moment::ZERO,
            asked: Asked::Purge {
                waiting: 1,
                deleted: 0,
                failure: None,
                is_discard: false,
            },
            redirects: 0,
        }
    }

    #[test]
    fn calls_leave_from_anywhere_and_the_oldest_stays_first() {
        let mut calls = Calls::default();
        let ids: Vec<_> = (0..4).map(|ticket| calls.insert(call(ticket))).collect();
        assert_eq!(calls.remove(ids[1]).map(|call| call.ticket), Some(1));
        assert!(calls.remove(ids[1]).is_none(), "an answered call is gone");
        assert_eq!(calls.remove(ids[0]).map(|call| call.ticket), Some(0));
        assert_eq!(calls.oldest().map(|(_, call)| call.ticket), Some(2));
        let again = calls.insert(call(9));
        assert!(calls.get(ids[0]).is_none() && calls.get(again).is_some());
        assert_eq!(calls.remove(ids[3]).map(|call| call.ticket), Some(3));
        assert_eq!(calls.remove(ids[2]).map(|call| call.ticket), Some(2));
        assert_eq!(calls.oldest().map(|(_, call)| call.ticket), Some(9));
    }

    #[test]
    fn a_broad_purge_has_no_deadline() {
        let mut calls = Calls::default();
        let broad = calls.insert(Call {
            asked: Asked::Broad,
            ..call(1)
        });
        assert!(calls.oldest().is_none() && !calls.is_empty());
        calls.remove(broad);
        assert!(calls.is_empty());
    }
}
