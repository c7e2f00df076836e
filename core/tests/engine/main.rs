//! The engine on real servers, driven step by step.

mod cluster;
mod faults;
mod host;
mod server;
mod single;
