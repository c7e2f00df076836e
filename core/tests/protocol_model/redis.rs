//! What Redis holds, and how a broad purge goes over it.

use std::collections::BTreeSet;

pub type Version = u8;
pub type Token = usize;
pub type Row = usize;
/// A key of Redis: that of row `n` is `n`; leases that stand beside the entries have keys of their own after those.
pub type KeyIndex = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    Nothing,
    Lease(Token),
    Value(Version),
}

/// One pass of SCAN and UNLINK. All that is modelled of SCAN is its promise: a key that stands from the beginning of a
/// full iteration to its end is returned, in no particular order; any other that stands may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pass {
    pub rows: BTreeSet<Row>,
    /// The purges that it serves.
    pub writers: BTreeSet<usize>,
    /// Which of several scans this is.
    pub scan: usize,
    /// Standing since the scan began, and not yet returned.
    pub owed: BTreeSet<KeyIndex>,
    /// Returned, and the UNLINK is on its way.
    pub returned: BTreeSet<KeyIndex>,
}

impl Pass {
    /// A key that does not stand for a moment is owed no more.
    pub fn saw_nothing_at(&mut self, key: KeyIndex) {
        self.owed.remove(&key);
    }

    pub fn is_over(&self) -> bool {
        self.owed.is_empty() && self.returned.is_empty()
    }
}
