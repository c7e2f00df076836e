//! What a cache tells those who observe it: what happens to its connection, and which calls fail and why. No event
//! holds a key, a parameter, a value or an address.

use std::sync::Arc;

use crate::stats::Circuit;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something happened to the connection to Redis.
    Connection(ConnectionEvent),
    /// The circuit is another one now.
    Circuit(Circuit),
    /// Calls failed. Those that return at once because there is no connection are not told: the circuit was.
    Failed {
        /// What they were.
        operation: Operation,
        /// Why they failed.
        reason: Reason,
        /// How many.
        calls: u64,
    },
    /// So many purges could not be done at once, or must be repeated, and are pending.
    PurgesPending(u64),
    /// Redis took so many purges that were pending.
    PurgesDelivered(u64),
    /// Redis refused a purge, which is pending and tried again by itself.
    PurgeRefused {
        /// What it was to delete.
        scope: PurgeScope,
        /// The context, but of a purge of everything.
        context: Option<Arc<str>>,
    },
    /// The cache was closed, and so many pending purges are lost.
    PurgesLost(u64),
    /// Redis refused to end an old connection (`CLIENT KILL`): a write that was given up there may still be executed, after
    /// a purge that came later. Told once.
    FenceRefused,
    /// A call is not sent any more: twice its connection broke while it was answered. Its value may be over a limit of
    /// the server.
    CallRefused(Operation),
}

/// What a purge was to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PurgeScope {
    /// One entry.
    Entry,
    /// A context.
    Context,
    /// Everything.
    Everything,
}

impl PurgeScope {
    /// The name as users see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Context => "context",
            Self::Everything => "everything",
        }
    }
}

/// What happened to the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// It stands.
    Made,
    /// It broke, or was dropped because it did not answer.
    Lost,
    /// It could not be made. Told again only for another reason.
    Failed(Reason),
    /// It stood until the cache was closed.
    Closed,
}

/// What a call was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `get` or `lookup`.
    Read,
    /// `put`.
    Write,
    /// `purge` or `clear`.
    Purge,
}

impl Operation {
    /// The name as users see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Purge => "purge",
        }
    }
}

/// Why something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There was no answer in time.
    Timeout,
    /// Redis answered with an error; or, of a connection, nothing listens there.
    Refused,
    /// The connection broke.
    Broken,
    /// As many calls were in flight as may be.
    Overload,
    /// The server's certificate could not be verified, or the server does not take ours.
    Certificate,
    /// The server does not take the credentials, or the host has none to give.
    Credentials,
    /// The user may not do what a connection needs.
    Permission,
    /// What answers does not speak RESP3 as Redis does.
    Protocol,
}

impl Reason {
    /// The name as users see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Overload => "overload",
            Self::Certificate => "certificate",
            Self::Credentials => "credentials",
            Self::Permission => "permission",
            Self::Protocol => "protocol",
        }
    }
}
