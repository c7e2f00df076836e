//! The Redis backend on real servers that the tests start.

mod cluster;
mod standalone;
mod support;
