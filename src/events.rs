//! Events of caches on their way to JavaScript.

use std::collections::VecDeque;

use mizan_cache_core::events::{ConnectionEvent, Event};

use crate::js::{Env, Outcome, Value};

/// Should JavaScript not run for so long that more than this happens, the oldest is not told any more.
const MOST_WAITING: usize = 256;

/// Events that JavaScript was not told yet. What is the same but for a count is one event.
#[derive(Default)]
pub struct Untold {
    events: VecDeque<Event>,
}

impl Untold {
    /// Adds an event.
    pub fn add(&mut self, event: Event) {
        if self.events.iter_mut().any(|other| merge(other, event)) {
            return;
        }
        if self.events.len() == MOST_WAITING {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// As JavaScript is told them.
    pub fn into_value(self, env: Env<'_>) -> Outcome<Value<'_>> {
        let events = self.events.into_iter().map(|event| value_of(env, event));
        env.array(&events.collect::<Outcome<Vec<_>>>()?)
    }
}

/// Adds an event to one of the same sort, if it is one.
fn merge(into: &mut Event, event: Event) -> bool {
    match (into, event) {
        (
            Event::Failed {
                operation,
                reason,
                calls,
            },
            Event::Failed {
                operation: another,
                reason: why,
                calls: more,
            },
        ) if *operation == another && *reason == why => *calls += more,
        (Event::PurgesKept(count), Event::PurgesKept(more))
        | (Event::PurgesDelivered(count), Event::PurgesDelivered(more)) => *count += more,
        _ => return false,
    }
    true
}

fn value_of(env: Env<'_>, event: Event) -> Outcome<Value<'_>> {
    let object = env.object()?;
    let kind = match event {
        Event::Connection(event) => {
            let (state, reason) = match event {
                ConnectionEvent::Made => ("made", None),
                ConnectionEvent::Lost => ("lost", None),
                ConnectionEvent::Failed(reason) => ("failed", Some(reason)),
                ConnectionEvent::Closed => ("closed", None),
            };
            object.set(c"state", env.string(state)?)?;
            if let Some(reason) = reason {
                object.set(c"reason", env.string(reason.as_str())?)?;
            }
            "connection"
        }
        Event::Circuit(circuit) => {
            object.set(c"state", env.string(circuit.as_str())?)?;
            "circuit"
        }
        Event::Failed {
            operation,
            reason,
            calls,
        } => {
            object.set(c"operation", env.string(operation.as_str())?)?;
            object.set(c"reason", env.string(reason.as_str())?)?;
            object.set(c"calls", env.count(calls)?)?;
            "error"
        }
        Event::PurgesKept(count) | Event::PurgesDelivered(count) | Event::PurgesGivenUp(count) => {
            let state = match event {
                Event::PurgesKept(_) => "kept",
                Event::PurgesDelivered(_) => "delivered",
                _ => "given up",
            };
            object.set(c"state", env.string(state)?)?;
            object.set(c"purges", env.count(count)?)?;
            "kept-purges"
        }
    };
    env.array(&[env.string(kind)?, object])
}
