//! The core of the Mizan cache, usable from any Rust program: one key for one call (`protocol.md` §1), two backends
//! (§3), purges (§4) and leases that keep a purge from being undone by a slow reader (§5).
#![forbid(unsafe_code)]

#[cfg(feature = "tokio")]
pub mod cache;
pub mod canonical;
pub mod config;
#[cfg(feature = "tokio")]
mod drivers;
pub mod engine;
pub mod error;
pub mod events;
pub mod histogram;
pub mod key;
pub mod lease;
pub mod memory;
pub mod shared_cache;
pub mod stats;
