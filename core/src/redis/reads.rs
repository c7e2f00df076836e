//! How values are read: what this process has a copy of at once, the rest by one command, and all by one deadline.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

use ::redis::{RedisResult, Value, aio::ConnectionLike, cmd, pipe};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::{sync::SemaphorePermit, time::Instant};

use super::{Shared, connection::Failure, lease_scripts::look_up, topology::Link};
use crate::{
    events::Operation,
    expected_size::ExpectedSize,
    key::Key,
    lease::{LeaseToken, Lookup},
    memory::Versioned,
    replies::{self, Found},
};

/// So many lookups keep Redis for less than half a millisecond.
const LOOKUPS_IN_A_SCRIPT: usize = 32;

/// What a read of one key comes to.
enum Read {
    Value(Bytes),
    /// There is no value at the key; a lease may stand there.
    Nothing,
    /// Redis was not asked, or did not answer.
    Failed,
}

impl Shared {
    /// A copy in this process.
    pub fn peek(&self, key: &Key) -> Option<Versioned> {
        let copy = self.local.as_ref()?.get(key)?;
        if self.kept.covers(key) {
            return None;
        }
        self.counters.local_hits.increment();
        Some(copy)
    }

    pub async fn get(&self, keys: &[Key], size: ExpectedSize) -> Vec<Option<Bytes>> {
        let reads = self.read(self.connection.deadline(), keys, size, false).await;
        let value = |read| {
            if let Read::Value(value) = read {
                Some(value)
            } else {
                None
            }
        };
        reads.into_iter().map(value).collect()
    }

    /// One key costs one command. Of several most are expected to be hits: they are read together, and then what is
    /// missing is leased together. Only where most of the last ones were missing are all leased or found by scripts, which
    /// cost Redis more for each hit.
    pub async fn get_or_lease(&self, keys: &[Key], lease_time: Duration, size: ExpectedSize) -> Vec<Lookup> {
        let deadline = self.connection.deadline();
        if let [key] = keys {
            return self.look_up(deadline, &[key], lease_time, size).await;
        }
        let reads = if self.misses_expected.load(Relaxed) {
            keys.iter().map(|_| Read::Nothing).collect()
        } else {
            self.read(deadline, keys, size, true).await
        };
        let missing: HashSet<&Key> = keys
            .iter()
            .zip(&reads)
            .filter_map(|(key, read)| matches!(read, Read::Nothing).then_some(key))
            .collect();
        let missing: Vec<&Key> = missing.into_iter().collect();
        let together = self.connection.keys_together(LOOKUPS_IN_A_SCRIPT);
        let lookups = missing
            .chunks(together)
            .map(|missing| self.look_up(deadline, missing, lease_time, size));
        let looked_up = join_all(lookups).await.into_iter().flatten();
        let mut looked_up: HashMap<&Key, Lookup> = missing.iter().copied().zip(looked_up).collect();
        let answers = keys.iter().zip(reads).map(|(key, read)| match read {
            Read::Value(value) => Lookup::Hit(value),
            Read::Nothing => looked_up.get_mut(key).map_or(Lookup::Miss, hand_out),
            Read::Failed => Lookup::Miss,
        });
        let answers: Vec<_> = answers.collect();
        let hits = answers.iter().filter(|it| matches!(it, Lookup::Hit(_))).count();
        self.misses_expected.store(2 * hits < answers.len(), Relaxed);
        answers
    }

    /// Looks keys up by one command.
    async fn look_up(&self, deadline: Instant, keys: &[&Key], lease_time: Duration, size: ExpectedSize) -> Vec<Lookup> {
        let mut found = vec![Lookup::Miss; keys.len()];
        let mut asked = Vec::with_capacity(keys.len());
        for (position, key) in keys.iter().enumerate() {
            if let Some(copy) = self.peek(key) {
                found[position] = Lookup::Hit(copy.value);
            } else if !self.kept.covers(key) {
                asked.push(position);
            }
        }
        let _permits = self.admit(deadline, &mut asked);
        let Ok(tokens) = asked.iter().map(|_| LeaseToken::new()).collect::<Result<Vec<_>, _>>() else {
            self.end(Operation::Read, deadline, asked.len(), Some(Failure::Overload));
            return found;
        };
        if asked.is_empty() {
            return found;
        }
        let announcements: Vec<_> = asked.iter().map(|&position| self.announce(keys[position])).collect();
        let answer = self
            .connection
            .read_by(deadline, size, |link| {
                look_up(link, asked.iter().map(|&position| keys[position]), tokens, lease_time)
            })
            .await;
        self.end(Operation::Read, deadline, asked.len(), answer.as_ref().err().copied());
        let mut answers = answer.unwrap_or_default().into_iter();
        for (position, announcement) in asked.into_iter().zip(announcements) {
            let key = keys[position];
            let (looked_up, lives) = answers.next().unwrap_or((Lookup::Miss, None));
            let value = if let Lookup::Hit(value) = &looked_up {
                Some(value)
            } else {
                None
            };
            self.keep(key, announcement.as_ref(), value, lives);
            // A purge that was kept meanwhile covers what Redis still has.
            if !self.kept.covers(key) {
                found[position] = looked_up;
            }
        }
        found
    }

    /// `looks_up` says that a call that finds nothing does not end with this.
    async fn read(&self, deadline: Instant, keys: &[Key], size: ExpectedSize, looks_up: bool) -> Vec<Read> {
        let mut reads = Vec::with_capacity(keys.len());
        let mut asked = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(copy) = self.peek(key) {
                reads.push(Read::Value(copy.value));
                continue;
            }
            if !self.kept.covers(key) {
                asked.push((reads.len(), key));
            }
            reads.push(Read::Failed);
        }
        let _permits = self.admit(deadline, &mut asked);
        let together = self.connection.keys_together(asked.len().max(1));
        let answers = asked
            .chunks(together)
            .map(|asked| self.ask(deadline, asked, size, looks_up));
        for (position, read) in join_all(answers).await.into_iter().flatten() {
            reads[position] = read;
        }
        reads
    }

    /// Reads keys by one command.
    async fn ask(
        &self,
        deadline: Instant,
        asked: &[(usize, &Key)],
        size: ExpectedSize,
        looks_up: bool,
    ) -> Vec<(usize, Read)> {
        let announcements: Vec<_> = asked.iter().map(|(_, key)| self.announce(key)).collect();
        let with_lives = announcements.iter().any(Option::is_some);
        let answer = self
            .connection
            .read_by(deadline, size, |link| fetch(link, asked, with_lives))
            .await;
        let failure = answer.as_ref().err().copied();
        let mut found = answer.ok().map(Vec::into_iter);
        let mut reads = Vec::with_capacity(asked.len());
        for ((position, key), announcement) in asked.iter().zip(announcements) {
            let value = found.as_mut().map(|found| found.next().flatten());
            let (value, lives) = match value {
                Some(Some((value, lives))) => (Read::Value(value), lives),
                Some(None) => (Read::Nothing, None),
                None => (Read::Failed, None),
            };
            let copy = if let Read::Value(value) = &value {
                Some(value)
            } else {
                None
            };
            self.keep(key, announcement.as_ref(), copy, lives);
            // A purge that was kept meanwhile covers what Redis still has.
            let read = if self.kept.covers(key) { Read::Failed } else { value };
            reads.push((*position, read));
        }
        let goes_on = |read: &Read| looks_up && matches!(read, Read::Nothing);
        let ended = reads.iter().filter(|(_, read)| !goes_on(read)).count();
        self.end(Operation::Read, deadline, ended, failure);
        reads
    }

    fn announce(&self, key: &Key) -> Option<LeaseToken> {
        self.local.as_ref()?.announce(key)
    }

    /// Keeps a copy of what an announced read brought, or takes the announcement back.
    fn keep(&self, key: &Key, announcement: Option<&LeaseToken>, value: Option<&Bytes>, lives: Option<Duration>) {
        let (Some(local), Some(announcement)) = (&self.local, announcement) else {
            return;
        };
        match (value, lives) {
            (Some(value), Some(lives)) => local.keep(key, announcement, value, lives),
            _ => local.forget(std::slice::from_ref(key)),
        }
    }

    /// Leaves as many to be asked for as may be under way.
    fn admit<T>(&self, deadline: Instant, asked: &mut Vec<T>) -> Option<SemaphorePermit<'_>> {
        let permits = self.permits(asked.len());
        let granted = permits.as_ref().map_or(0, SemaphorePermit::num_permits);
        if asked.len() > granted {
            let refused = asked.len() - granted;
            self.end(Operation::Read, deadline, refused, Some(Failure::Overload));
        }
        asked.truncate(granted);
        permits
    }

    /// As many as there are of the permits that are wanted.
    fn permits(&self, wanted: usize) -> Option<SemaphorePermit<'_>> {
        let all = u32::try_from(wanted)
            .ok()
            .and_then(|wanted| self.in_flight.try_acquire_many(wanted).ok());
        if all.is_some() {
            return all;
        }
        let mut permits = self.in_flight.try_acquire().ok()?;
        while permits.num_permits() < wanted {
            let Ok(one_more) = self.in_flight.try_acquire() else {
                break;
            };
            permits.merge(one_more);
        }
        Some(permits)
    }
}

/// What one lookup found, for several who asked for the same key at once: the first is given the lease.
fn hand_out(found: &mut Lookup) -> Lookup {
    let next = match *found {
        Lookup::Leased(ref lease) => Lookup::Held(lease.clone()),
        ref other => other.clone(),
    };
    std::mem::replace(found, next)
}

async fn fetch(mut link: Link, asked: &[(usize, &Key)], with_lives: bool) -> RedisResult<Vec<Found>> {
    // A single GET would err on a lease; this is nothing there.
    let mut values = cmd("MGET");
    for (_, key) in asked {
        values.arg(key.as_str());
    }
    if !with_lives {
        let values = values.query_async(&mut link).await?;
        return Ok(replies::values(values, std::iter::repeat(None)));
    }
    let mut pipeline = pipe();
    pipeline.add_command(values);
    for (_, key) in asked {
        pipeline.cmd("PTTL").arg(key.as_str());
    }
    let mut answers = link
        .req_packed_commands(&pipeline, 0, asked.len() + 1)
        .await?
        .into_iter();
    let values = answers.next().unwrap_or(Value::Nil).extract_error()?;
    Ok(replies::values(
        values,
        answers.map(|answer| replies::time_left(&answer)),
    ))
}
