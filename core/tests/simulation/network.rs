//! The network: each connection is two pipes, each of which delays, stands still, or loses what is written to it.

use std::collections::VecDeque;

use mizan_cache_core::engine::ConnectionId;

use crate::server::Micros;

#[derive(Debug)]
pub enum Parcel {
    Bytes(Vec<u8>),
    /// The other side closed the connection.
    Close,
}

/// One direction of a connection. What is written arrives in its order, if it arrives.
#[derive(Debug, Default)]
pub struct Pipe {
    pub parcels: VecDeque<(Micros, Parcel)>,
    last: Micros,
    pub frozen_until: Micros,
    /// Whether what is written is lost from now on.
    pub is_lost: bool,
}

impl Pipe {
    /// Takes what is written, and says when it arrives.
    pub fn write(&mut self, parcel: Parcel, arrives: Micros) -> Option<Micros> {
        if self.is_lost {
            return None;
        }
        self.last = self.last.max(arrives);
        self.parcels.push_back((self.last, parcel));
        Some(self.last)
    }

    /// What has arrived.
    pub fn read(&mut self, now: Micros) -> Option<Parcel> {
        if self.frozen_until > now || self.parcels.front().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        self.parcels.pop_front().map(|(_, parcel)| parcel)
    }

    /// When there is something to read, if there is anything.
    pub fn next(&self) -> Option<Micros> {
        self.parcels.front().map(|(at, _)| (*at).max(self.frozen_until))
    }

    pub fn lose_all(&mut self) {
        self.parcels.clear();
        self.is_lost = true;
    }
}

/// A connection of an engine to a server.
#[derive(Debug)]
pub struct Connection {
    pub thread: usize,
    /// Which engine of the thread, one after the other.
    pub life: u64,
    pub id: ConnectionId,
    pub server: usize,
    /// The server's number of it, once it was accepted.
    pub client: Option<u64>,
    pub run: u64,
    /// Whether the engine has it, open or being opened.
    pub is_open: bool,
    pub is_established: bool,
    pub to_server: Pipe,
    pub to_client: Pipe,
    /// Since when nothing comes through, without the client knowing.
    pub dead_since: Option<Micros>,
}
