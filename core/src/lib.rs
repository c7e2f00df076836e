//! The core of the Mizan cache, usable from any Rust program: one key for one call (`protocol.md` §1), two backends
//! (§3), purges (§4) and leases that keep a purge from being undone by a slow reader (§5).
#![forbid(unsafe_code)]

pub mod cache;
pub mod canonical;
pub mod config;
pub mod error;
pub mod events;
pub mod expected_size;
pub mod histogram;
pub mod key;
pub mod lease;
pub mod memory;
mod redis;
#[doc(hidden)]
pub mod replies;
pub mod run_together;
pub mod stats;
