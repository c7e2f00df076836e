//! A second link to the same servers, on which only values are read that are expected to be large: their answers hold
//! up one another, and no others.
//!
//! It is made when the first of them is asked for. Until it stands, and where it cannot be had, the first link serves.

use std::sync::OnceLock;

use tokio::sync::Notify;

use super::topology::Link;

#[derive(Default)]
pub(super) struct LargeLink {
    link: OnceLock<Link>,
    wanted: Notify,
}

impl LargeLink {
    /// The link, if it stands; if not, it is wanted from now on.
    pub fn want(&self) -> Option<&Link> {
        let link = self.link.get();
        if link.is_none() {
            self.wanted.notify_one();
        }
        link
    }

    /// The link, if it stands.
    pub fn get(&self) -> Option<&Link> {
        self.link.get()
    }

    /// Resolves when somebody wants the link.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    pub fn set(&self, link: Link) {
        // There is one task that makes it, once.
        let _ = self.link.set(link);
    }
}
