//! Events of a cache, as JavaScript is told them.

use mizan_cache_core::events::{ConnectionEvent, Event};

use crate::js::{Env, Outcome, Value};

/// The last part of the event's channel, and its message.
pub fn message<'scope>(env: Env<'scope>, event: &Event) -> Outcome<(&'static str, Value<'scope>)> {
    let object = env.object()?;
    let text = |name, text: &str| object.define(name, env.string(text)?);
    let channel = match event {
        Event::Connection(event) => {
            let (state, reason) = match event {
                ConnectionEvent::Made => ("made", None),
                ConnectionEvent::Lost => ("lost", None),
                ConnectionEvent::Failed(reason) => ("failed", Some(reason)),
                ConnectionEvent::Closed => ("closed", None),
            };
            text(c"state", state)?;
            if let Some(reason) = reason {
                text(c"reason", reason.as_str())?;
            }
            "connection"
        }
        Event::FenceRefused => {
            text(c"state", "fence refused")?;
            "connection"
        }
        Event::Circuit(circuit) => {
            text(c"state", circuit.as_str())?;
            "circuit"
        }
        Event::Failed {
            operation,
            reason,
            calls,
        } => {
            text(c"operation", operation.as_str())?;
            text(c"reason", reason.as_str())?;
            object.define(c"calls", env.count(*calls)?)?;
            "error"
        }
        Event::CallRefused(operation) => {
            text(c"operation", operation.as_str())?;
            text(c"reason", "breaks connections")?;
            object.define(c"calls", env.count(1)?)?;
            "error"
        }
        Event::PurgesPending(count) | Event::PurgesDelivered(count) | Event::PurgesLost(count) => {
            let state = match event {
                Event::PurgesPending(_) => "pending",
                Event::PurgesDelivered(_) => "delivered",
                _ => "lost",
            };
            text(c"state", state)?;
            object.define(c"purges", env.count(*count)?)?;
            "pending-purges"
        }
        Event::PurgeRefused { scope, context } => {
            text(c"state", "refused")?;
            object.define(c"purges", env.count(1)?)?;
            text(c"scope", scope.as_str())?;
            let context = context
                .as_deref()
                .map_or_else(|| env.null(), |context| env.string(context))?;
            object.define(c"context", context)?;
            "pending-purges"
        }
    };
    Ok((channel, object))
}
