//! The protocol of leases and purges, one step at a time.
//!
//! A step is what happens at once: a command or script in Redis, a process taking notice of an answer, a load reading
//! the database, a commit. Between any two steps of one actor all others may take theirs. Leases and entries may expire
//! at any time.
//!
//! Two things are taken to be at their hardest, which leaves fewer states: a read begins just when its first lookup
//! reaches Redis, and a purge has completed as soon as its last command has.

use std::collections::BTreeSet;

use stateright::{Model, Property};

use crate::redis::{Content, KeyIndex, Pass, Row, Token, Version};

/// The rules of `protocol.md` §5, or one of them broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    AsSpecified,
    /// A fill stores without being asked for a lease.
    NoLeases,
    /// A process takes all its leases with the same token.
    OneTokenPerProcess,
    /// The lease is compared in one command and the value stored in the next.
    FillInTwoSteps,
    /// Whoever misses joins a load of its process, whatever lease its lookup saw.
    JoinWithoutTheLease,
    /// A broad purge is content with the pass that already runs.
    JoinTheRunningPass,
    /// The lease stands at a key of its own, and a broad purge makes these scans.
    LeaseBeside(Scans),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scans {
    One,
    ValuesThenLeases,
    LeasesThenValues,
}

/// Who there is: each reader reads one row once, each writer changes its rows once and purges them.
#[derive(Clone)]
pub struct Protocol {
    pub rules: Rules,
    pub rows: usize,
    pub readers: Vec<Reader>,
    pub writers: Vec<Writer>,
}

#[derive(Clone, Copy)]
pub struct Reader {
    pub process: usize,
    pub row: Row,
}

#[derive(Clone)]
pub struct Writer {
    pub process: usize,
    pub purge: Purge,
}

#[derive(Clone)]
pub enum Purge {
    Scoped(Row),
    /// By an origin that knows no leases: it deletes the entry's key and nothing else.
    Foreign(Row),
    /// Of all rows of these contexts, of which each has one.
    Broad(BTreeSet<Row>),
}

impl Purge {
    fn rows(&self) -> BTreeSet<Row> {
        match self {
            Self::Scoped(row) | Self::Foreign(row) => BTreeSet::from([*row]),
            Self::Broad(rows) => rows.clone(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub keys: Vec<Content>,
    pub committed: Vec<Version>,
    /// Per row, what was committed when the newest completed purge began.
    pub purged: Vec<Version>,
    pub readers: Vec<Reading>,
    pub writers: Vec<Writing>,
    /// Per process, the broad purge that runs. What waits for the next are writers that have `Asked`.
    pub passes: Vec<Option<Pass>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reading {
    pub step: Step,
    /// What its answer must not be older than.
    pub purged: Version,
    /// The leases of other processes that it has waited for: whoever sees one of them may join it.
    pub followed: BTreeSet<Token>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    NotBegun,
    /// Redis has answered; the process does not know yet.
    LookedUp(Found),
    /// Loads under its lease; others of its process may join.
    Leading(Token),
    /// Has its answer, and its fill is on its way to Redis.
    Filling {
        lease: Token,
        loaded: Version,
    },
    /// Its lease has been compared and found standing.
    Storing {
        loaded: Version,
    },
    /// Waits for a lease that another process holds.
    Following(Token),
    /// Waits for the answer of another reader of its process.
    Joined(usize),
    Answered,
    /// Answered with what was older than a purge that had completed when it began.
    AnsweredStale,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    Leased(Token),
    Held(Token),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Writing {
    NotBegun,
    Committed,
    /// Has asked for a broad purge; what was committed then.
    Asked(Vec<Version>),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    LookUp(usize),
    TakeNotice(usize),
    Load(usize),
    Fill(usize),
    Store(usize),
    LookAgain(usize),
    StopWaiting(usize),
    Commit(usize),
    Purge(usize),
    BeginPass { process: usize },
    ScanReturns { process: usize, key: KeyIndex },
    Unlink { process: usize, key: KeyIndex },
    EndScan { process: usize },
    Expire(KeyIndex),
}

impl Protocol {
    fn lease_key(&self, row: Row) -> KeyIndex {
        match self.rules {
            Rules::LeaseBeside(_) => self.rows + row,
            _ => row,
        }
    }

    fn key_count(&self) -> usize {
        self.lease_key(self.rows - 1) + 1
    }

    fn process_count(&self) -> usize {
        let of_readers = self.readers.iter().map(|reader| reader.process);
        let of_writers = self.writers.iter().map(|writer| writer.process);
        of_readers.chain(of_writers).max().map_or(0, |last| last + 1)
    }

    /// A reader takes one lease at most, so its number is a token of its own.
    fn token(&self, reader: usize) -> Token {
        match self.rules {
            Rules::OneTokenPerProcess => self.readers[reader].process,
            _ => reader,
        }
    }

    /// What each scan of a pass goes over.
    fn scans(&self, rows: &BTreeSet<Row>) -> Vec<BTreeSet<KeyIndex>> {
        let values = rows.clone();
        let leases: BTreeSet<_> = rows.iter().map(|row| self.lease_key(*row)).collect();
        match self.rules {
            Rules::LeaseBeside(Scans::ValuesThenLeases) => vec![values, leases],
            Rules::LeaseBeside(Scans::LeasesThenValues) => vec![leases, values],
            _ => vec![&values | &leases],
        }
    }

    fn row(&self, reader: usize) -> Row {
        self.readers[reader].row
    }

    fn look_up(&self, state: &mut State, reader: usize) -> Option<Found> {
        let row = self.row(reader);
        let lease_key = self.lease_key(row);
        if let Content::Value(version) = state.keys[row] {
            state.answer(reader, version);
            return None;
        }
        if let Content::Lease(held) = state.keys[lease_key] {
            return Some(Found::Held(held));
        }
        let token = self.token(reader);
        if self.rules != Rules::NoLeases {
            state.keys[lease_key] = Content::Lease(token);
        }
        Some(Found::Leased(token))
    }

    /// The reader of the same process that loads under this lease.
    fn leader(&self, state: &State, reader: usize, seen: Option<Token>) -> Option<usize> {
        self.find_neighbour(state, reader, |other| match other.step {
            Step::Leading(lease) | Step::Filling { lease, .. } => {
                seen == Some(lease) || self.rules == Rules::JoinWithoutTheLease
            }
            _ => false,
        })
    }

    fn find_neighbour(&self, state: &State, reader: usize, is_it: impl Fn(&Reading) -> bool) -> Option<usize> {
        let Reader { process, row } = self.readers[reader];
        (0..self.readers.len()).find(|other| {
            let neighbour = self.readers[*other];
            *other != reader && neighbour.process == process && neighbour.row == row && is_it(&state.readers[*other])
        })
    }

    /// What `origin/get-or-load.ts` does about the answer to a lookup.
    fn take_notice(&self, state: &mut State, reader: usize, found: Found) {
        let seen = match found {
            Found::Held(token) => Some(token),
            Found::Leased(_) => None,
        };
        let other = self.leader(state, reader, seen).or_else(|| {
            self.find_neighbour(state, reader, |other| {
                seen.is_some_and(|token| other.followed.contains(&token))
            })
        });
        match (other, found) {
            (Some(other), _) => state.join(reader, other),
            (None, Found::Leased(lease)) => state.readers[reader].step = Step::Leading(lease),
            (None, Found::Held(held)) => {
                state.readers[reader].step = Step::Following(held);
                state.readers[reader].followed.insert(held);
            }
        }
    }

    fn fill(&self, state: &mut State, reader: usize, lease: Token, loaded: Version) {
        let row = self.row(reader);
        let lease_key = self.lease_key(row);
        let stands = state.keys[lease_key] == Content::Lease(lease);
        state.readers[reader].step = Step::Answered;
        match self.rules {
            Rules::NoLeases => state.keys[row] = Content::Value(loaded),
            _ if !stands => {}
            Rules::FillInTwoSteps => state.readers[reader].step = Step::Storing { loaded },
            _ => {
                if lease_key != row {
                    state.delete(lease_key);
                }
                state.keys[row] = Content::Value(loaded);
            }
        }
    }

    fn purge(&self, state: &mut State, writer: usize) {
        let Writer { process, purge } = &self.writers[writer];
        match purge {
            Purge::Scoped(row) | Purge::Foreign(row) => {
                state.delete(*row);
                if matches!(purge, Purge::Scoped(_)) {
                    state.delete(self.lease_key(*row));
                }
                state.writers[writer] = Writing::Done;
                state.purged[*row] = state.committed[*row];
            }
            Purge::Broad(rows) => {
                state.writers[writer] = Writing::Asked(state.committed.clone());
                if let (Rules::JoinTheRunningPass, Some(pass)) = (self.rules, &mut state.passes[*process])
                    && pass.rows.is_superset(rows)
                {
                    pass.writers.insert(writer);
                }
            }
        }
    }

    /// The writers of a process whose broad purges no pass serves yet.
    fn waiting(&self, state: &State, process: usize) -> BTreeSet<usize> {
        let running = state.passes[process].iter().flat_map(|pass| pass.writers.clone());
        let served: BTreeSet<usize> = running.collect();
        let asked = (0..self.writers.len()).filter(|writer| {
            self.writers[*writer].process == process && matches!(state.writers[*writer], Writing::Asked(_))
        });
        asked.filter(|writer| !served.contains(writer)).collect()
    }

    fn begin_pass(&self, state: &mut State, process: usize) {
        let writers = self.waiting(state, process);
        let rows = writers.iter().flat_map(|writer| self.writers[*writer].purge.rows());
        let mut pass = Pass {
            rows: rows.collect(),
            writers,
            ..Pass::default()
        };
        self.begin_scan(&state.keys, &mut pass);
        state.passes[process] = Some(pass);
    }

    fn begin_scan(&self, keys: &[Content], pass: &mut Pass) {
        let scanned = &self.scans(&pass.rows)[pass.scan];
        pass.owed = scanned
            .iter()
            .copied()
            .filter(|key| keys[*key] != Content::Nothing)
            .collect();
    }

    fn end_scan(&self, state: &mut State, process: usize) {
        let Some(mut pass) = state.passes[process].take() else {
            return;
        };
        pass.scan += 1;
        if pass.scan < self.scans(&pass.rows).len() {
            self.begin_scan(&state.keys, &mut pass);
            state.passes[process] = Some(pass);
            return;
        }
        for writer in pass.writers {
            let Writing::Asked(committed) = std::mem::replace(&mut state.writers[writer], Writing::Done) else {
                continue;
            };
            for row in self.writers[writer].purge.rows() {
                state.purged[row] = state.purged[row].max(committed[row]);
            }
        }
    }
}

impl State {
    fn delete(&mut self, key: KeyIndex) {
        self.keys[key] = Content::Nothing;
        for pass in self.passes.iter_mut().flatten() {
            pass.saw_nothing_at(key);
        }
    }

    fn join(&mut self, reader: usize, other: usize) {
        match self.readers[other].step {
            Step::Filling { loaded, .. } => self.answer(reader, loaded),
            _ => self.readers[reader].step = Step::Joined(other),
        }
    }

    /// Answers a reader, and all who have joined it.
    fn answer(&mut self, reader: usize, version: Version) {
        let stale = version < self.readers[reader].purged;
        let step = if stale { Step::AnsweredStale } else { Step::Answered };
        self.readers[reader] = Reading::of(step);
        self.answer_joined(reader, version);
    }

    fn answer_joined(&mut self, reader: usize, version: Version) {
        for other in 0..self.readers.len() {
            if self.readers[other].step == Step::Joined(reader) {
                self.answer(other, version);
            }
        }
    }
}

impl Reading {
    fn of(step: Step) -> Self {
        Self {
            step,
            purged: 0,
            followed: BTreeSet::new(),
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            keys: vec![Content::Nothing; self.key_count()],
            committed: vec![0; self.rows],
            purged: vec![0; self.rows],
            readers: vec![Reading::of(Step::NotBegun); self.readers.len()],
            writers: vec![Writing::NotBegun; self.writers.len()],
            passes: vec![None; self.process_count()],
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (reader, reading) in state.readers.iter().enumerate() {
            match reading.step {
                Step::NotBegun => actions.push(Action::LookUp(reader)),
                Step::LookedUp(_) => actions.push(Action::TakeNotice(reader)),
                Step::Leading(_) => actions.push(Action::Load(reader)),
                Step::Filling { .. } => actions.push(Action::Fill(reader)),
                Step::Storing { .. } => actions.push(Action::Store(reader)),
                Step::Following(_) => actions.extend([Action::LookAgain(reader), Action::StopWaiting(reader)]),
                Step::Joined(_) | Step::Answered | Step::AnsweredStale => {}
            }
        }
        for (writer, writing) in state.writers.iter().enumerate() {
            match writing {
                Writing::NotBegun => actions.push(Action::Commit(writer)),
                Writing::Committed => actions.push(Action::Purge(writer)),
                Writing::Asked(_) | Writing::Done => {}
            }
        }
        for (process, pass) in state.passes.iter().enumerate() {
            let Some(pass) = pass else {
                if !self.waiting(state, process).is_empty() {
                    actions.push(Action::BeginPass { process });
                }
                continue;
            };
            let standing = self.scans(&pass.rows)[pass.scan].clone().into_iter();
            let returned = standing.filter(|key| state.keys[*key] != Content::Nothing && !pass.returned.contains(key));
            actions.extend(returned.map(|key| Action::ScanReturns { process, key }));
            actions.extend(pass.returned.iter().map(|key| Action::Unlink { process, key: *key }));
            if pass.is_over() {
                actions.push(Action::EndScan { process });
            }
        }
        let standing = (0..state.keys.len()).filter(|key| state.keys[*key] != Content::Nothing);
        actions.extend(standing.map(Action::Expire));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::LookUp(reader) => {
                state.readers[reader].purged = state.purged[self.row(reader)];
                if let Some(found) = self.look_up(&mut state, reader) {
                    state.readers[reader].step = Step::LookedUp(found);
                }
            }
            Action::TakeNotice(reader) => {
                if let Step::LookedUp(found) = last.readers[reader].step {
                    self.take_notice(&mut state, reader, found);
                }
            }
            Action::Load(reader) => {
                if let Step::Leading(lease) = last.readers[reader].step {
                    let loaded = state.committed[self.row(reader)];
                    state.readers[reader] = Reading::of(Step::Filling { lease, loaded });
                    state.answer_joined(reader, loaded);
                }
            }
            Action::Fill(reader) => {
                if let Step::Filling { lease, loaded } = last.readers[reader].step {
                    self.fill(&mut state, reader, lease, loaded);
                }
            }
            Action::Store(reader) => {
                if let Step::Storing { loaded } = last.readers[reader].step {
                    state.keys[self.row(reader)] = Content::Value(loaded);
                    state.readers[reader].step = Step::Answered;
                }
            }
            Action::LookAgain(reader) => {
                if let Step::Following(held) = last.readers[reader].step {
                    if let Some(leader) = self.leader(&state, reader, Some(held)) {
                        state.join(reader, leader);
                    } else if let Some(found) = self.look_up(&mut state, reader)
                        && found != Found::Held(held)
                    {
                        state.readers[reader].step = Step::LookedUp(found);
                    }
                }
            }
            Action::StopWaiting(reader) => state.answer(reader, state.committed[self.row(reader)]),
            Action::Commit(writer) => {
                for row in self.writers[writer].purge.rows() {
                    state.committed[row] += 1;
                }
                state.writers[writer] = Writing::Committed;
            }
            Action::Purge(writer) => self.purge(&mut state, writer),
            Action::BeginPass { process } => self.begin_pass(&mut state, process),
            Action::ScanReturns { process, key } => {
                if let Some(pass) = &mut state.passes[process] {
                    pass.owed.remove(&key);
                    pass.returned.insert(key);
                }
            }
            Action::Unlink { process, key } => {
                state.delete(key);
                if let Some(pass) = &mut state.passes[process] {
                    pass.returned.remove(&key);
                }
            }
            Action::EndScan { process } => self.end_scan(&mut state, process),
            Action::Expire(key) => state.delete(key),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(NOTHING_STALE_STANDS, |_, state: &State| {
                let mut rows = state.keys.iter().zip(&state.purged);
                rows.all(|(content, purged)| !matches!(content, Content::Value(version) if version < purged))
            }),
            Property::always(NOTHING_STALE_IS_ANSWERED, |_, state: &State| {
                !state.readers.iter().any(|reading| reading.step == Step::AnsweredStale)
            }),
            Property::sometimes(A_FILL_IS_STORED, |_, state: &State| {
                state.keys.iter().any(|content| matches!(content, Content::Value(_)))
            }),
            Property::sometimes(A_FILL_COMES_TOO_LATE, |protocol, state: &State| {
                let mut readings = state.readers.iter().enumerate();
                readings.any(|(reader, reading)| {
                    let row = protocol.row(reader);
                    matches!(reading.step, Step::Filling { loaded, .. } if loaded < state.purged[row])
                })
            }),
            Property::sometimes(A_READER_JOINS, |_, state: &State| {
                state
                    .readers
                    .iter()
                    .any(|reading| matches!(reading.step, Step::Joined(_)))
            }),
            Property::sometimes(A_PASS_SERVES_TWO, |_, state: &State| {
                state.passes.iter().flatten().any(|pass| pass.writers.len() > 1)
            }),
        ]
    }
}

/// What stands in Redis is what a read that begins now is given.
pub const NOTHING_STALE_STANDS: &str = "no entry is older than a purge that has completed";
pub const NOTHING_STALE_IS_ANSWERED: &str = "no answer is older than a purge that had completed when the read began";

// What must be possible: a model in which it is not proves nothing.
pub const A_FILL_IS_STORED: &str = "a fill is stored";
pub const A_FILL_COMES_TOO_LATE: &str = "a fill with what was read before a purge comes after it";
pub const A_READER_JOINS: &str = "a reader joins another of its process";
pub const A_PASS_SERVES_TWO: &str = "a pass serves two purges";
