//! Hosts of the [`Engine`](crate::engine::Engine): they open its sockets, wait, and tell it the time.

mod observers;
mod tokio;

pub use self::{
    observers::Observer,
    tokio::{AskForCredentials, Driver},
};
