//! What must hold, whatever happens.
//!
//! The database gives each change of a key a version. What is checked is that nobody sees a version that an answered
//! purge should have ended. Allowed, and why (`docs/protocol.md` §§4, 5, 8):
//! - **A pending purge**: Redis does not have it yet. Other processes may read what it covers until it is delivered; its own
//!   process treats it as missing, in all its threads.
//! - **A forgotten purge**: the server that took it lost it (it restarted from an older snapshot, or a replica that lagged
//!   took its place). Other processes may read what it covered until its process has noticed and delivered it again.
//! - **A primary that was replaced and does not know it**: whoever still asks it reads what it has; a purge that it took
//!   counts as forgotten.
//! - **A copy of another process**: for at most two seconds by that process's own clock after the purge was done, because a
//!   copy is trusted that long after its connection was heard. A copy in the purging process is never older.
//!
//! A read is judged by when it began: what completed before must show.

use std::{collections::BTreeMap, time::Duration};

use crate::server::{Bytes, Micros};

/// How long the copies of a connection are trusted after it was heard.
pub const TRUSTED: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not answered yet.
    Asked,
    /// Answered, and Redis does not have it.
    Pending,
    /// Redis has it since then.
    Done(Micros),
    /// Redis had it and has lost it.
    Forgotten { with_split: bool },
    /// Its process is gone, or it is older than what is promised.
    Void,
}

/// A change of one key, and the purge that follows.
#[derive(Clone, Debug)]
pub struct Mutation {
    pub key: usize,
    pub version: u64,
    pub process: usize,
    pub is_broad: bool,
    pub asked: Micros,
    /// When its caller was answered.
    pub answered: Option<Micros>,
    pub state: State,
    /// Whether the servers in authority executed it since it was asked for.
    pub is_effective: bool,
    /// Whether it was lost before it was answered, and whether because a primary was replaced.
    pub lost: Option<bool>,
    /// Until when its process took it for done by a primary that was replaced.
    pub misled_until: Option<Micros>,
    /// What the clock of each process showed when it was done.
    done_by_clock: Vec<Duration>,
}

/// How a value was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Redis,
    Copy,
    Load,
}

pub struct Read {
    pub process: usize,
    pub key: usize,
    pub version: u64,
    pub began: Micros,
    pub began_by_clock: Duration,
    pub source: Source,
}

/// The database, and what was purged.
#[derive(Default)]
pub struct Oracle {
    versions: Vec<u64>,
    last_version: u64,
    pub mutations: Vec<Mutation>,
    /// Mutations that are pending or forgotten.
    pub undone: Vec<usize>,
    /// For each key until when a replaced primary served it, and what each clock showed then.
    pub splits: BTreeMap<usize, (Micros, Vec<Duration>)>,
    /// Tokens that were given to a caller, and to whom.
    pub holders: BTreeMap<Bytes, usize>,
}

impl Oracle {
    pub fn new(keys: usize) -> Self {
        Self {
            versions: vec![0; keys],
            ..Self::default()
        }
    }

    /// What the database holds.
    pub fn current(&self, key: usize) -> u64 {
        self.versions[key]
    }

    /// Commits a change.
    pub fn commit(&mut self, key: usize) -> u64 {
        self.last_version += 1;
        self.versions[key] = self.last_version;
        self.last_version
    }

    /// A purge is asked for that follows a change.
    pub fn ask(&mut self, key: usize, version: u64, process: usize, is_broad: bool, now: Micros) -> usize {
        self.mutations.push(Mutation {
            key,
            version,
            process,
            is_broad,
            asked: now,
            answered: None,
            state: State::Asked,
            is_effective: false,
            lost: None,
            misled_until: None,
            done_by_clock: Vec::new(),
        });
        self.mutations.len() - 1
    }

    pub fn set_done(&mut self, index: usize, now: Micros, clocks: Vec<Duration>) {
        let mutation = &mut self.mutations[index];
        mutation.state = State::Done(now);
        mutation.done_by_clock = clocks;
        self.undone.retain(|other| *other != index);
    }

    pub fn set_undone(&mut self, index: usize, state: State) {
        self.mutations[index].state = state;
        if !self.undone.contains(&index) {
            self.undone.push(index);
        }
    }

    /// Servers lost what was done after a moment, of some keys.
    pub fn forget(&mut self, after: Micros, with_split: bool, is_concerned: impl Fn(usize) -> bool) {
        for index in 0..self.mutations.len() {
            let mutation = &mut self.mutations[index];
            if mutation.state == State::Asked && is_concerned(mutation.key) {
                mutation.is_effective = false;
                mutation.lost = Some(with_split);
            }
            if matches!(mutation.state, State::Done(at) if at >= after) && is_concerned(mutation.key) {
                self.mutations[index].is_effective = false;
                self.set_undone(index, State::Forgotten { with_split });
            }
        }
    }

    /// What a read must not be older than, and is.
    pub fn judge(&self, read: &Read) -> Option<String> {
        let is_split = self.splits.get(&read.key).is_some_and(|(until, clocks)| {
            read.began <= *until
                || read.source == Source::Copy
                    && clocks
                        .get(read.process)
                        .is_some_and(|clock| read.began_by_clock < *clock + TRUSTED)
        });
        let late = self.mutations.iter().find(|mutation| {
            let is_answered = mutation.answered.is_some_and(|at| at <= read.began);
            if mutation.key != read.key || mutation.version <= read.version || !is_answered {
                return false;
            }
            let is_own = mutation.process == read.process;
            match mutation.state {
                State::Asked | State::Void => false,
                State::Pending => is_own && mutation.misled_until.is_none_or(|until| until < read.began),
                State::Forgotten { with_split } => is_own && !with_split,
                State::Done(at) if at > read.began => false,
                State::Done(_) if is_split => false,
                State::Done(_) => {
                    let bound = mutation.done_by_clock.get(read.process).map(|clock| *clock + TRUSTED);
                    is_own || read.source != Source::Copy || bound.is_none_or(|bound| read.began_by_clock >= bound)
                }
            }
        })?;
        Some(format!(
            "process {} read version {} of key {} ({:?}), which began at {}; the purge of version {} by process {} is {:?}",
            read.process, read.version, read.key, read.source, read.began, late.version, late.process, late.state
        ))
    }

    /// What a value must not be older than that is written to the server in authority.
    pub fn judge_stored(&self, key: usize, version: u64) -> Option<&Mutation> {
        self.mutations.iter().find(|mutation| {
            mutation.key == key && mutation.version > version && matches!(mutation.state, State::Done(_))
        })
    }

    /// The newest purge of a key that must have its effect in the end.
    pub fn newest_purged(&self, key: usize) -> Option<&Mutation> {
        let of_key = self.mutations.iter().filter(|mutation| mutation.key == key);
        of_key
            .filter(|mutation| mutation.state != State::Void)
            .max_by_key(|mutation| mutation.version)
    }
}
