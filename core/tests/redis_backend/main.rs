//! The Redis backend on real servers that the tests start.

mod cluster;
mod driver;
mod standalone;
mod support;
