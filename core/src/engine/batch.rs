//! The calls of one turn become few commands, and replies become answers.
//!
//! Calls that go together go out together: values by MGET, leases and fills by scripts, purges by UNLINK. Of one key the
//! order of the calls is kept: where a call has the key of one of another sort that is still being gathered, what was
//! gathered goes out first. On a cluster each call has a command of its own, and all go out in one piece.

use std::collections::HashMap;

use super::{
    Answer, Engine, Failure, Moment, Operation, Ticket, Turn,
    address::error_code,
    calls::{Asked, Call, CallId},
    command::{Command, EntryPurge},
    copies::Announcement,
    link::{LinkId, Purpose},
    purge_ledger::{Stamp, Target},
    resp::{Frame, Frames},
    rules::{Rule, holds},
    slots::SlotSet,
};
use crate::{
    events::{Event, Operation as CallKind, PurgeScope},
    key::Key,
    lease::LeaseToken,
    shared_cache::SharedRedis,
};
use std::{slice, sync::atomic::Ordering::Relaxed, time::Duration};

/// Keys of one MGET: while their values are on the way, and then while they are answered, the next are gathered.
const READS_TOGETHER: usize = 128;
/// So many keep Redis for less than half a millisecond.
const SCRIPTED_TOGETHER: usize = 32;
/// Larger values have a fill of their own, or one with few others.
const FILL_BYTES: usize = 64 * 1024;
/// Purges of one turn that each have a command, whose answer is then their own. Beyond it many share one, and its count.
const PURGES_APART: usize = 128;
/// Keys of one UNLINK of many purges.
const KEYS_OF_AN_UNLINK: usize = 512;
/// How often a cluster may send a call elsewhere.
const MOST_REDIRECTS: u8 = 5;
/// A larger value takes longer to send over a local network than a round trip.
pub(super) const LARGE: usize = 65_536;

/// Calls that may go together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    Reads,
    LookUps,
    Writes,
    Fills,
    Purges,
}

/// What is gathered of one turn.
#[derive(Default)]
pub(super) struct Batch {
    reads: Vec<CallId>,
    look_ups: Vec<CallId>,
    fills: Vec<CallId>,
    fill_bytes: usize,
    purges: Vec<EntryPurge>,
    purge_calls: usize,
    /// The group that each key is in, once there is more than one.
    groups: HashMap<u64, Group>,
    last: Option<Group>,
    is_mixed: bool,
}

impl Engine {
    pub(super) fn take(&mut self, ticket: Ticket, operation: Operation, batch: &mut Batch, turn: &mut Turn<'_>) {
        let asked = match operation {
            Operation::Get(key) => Asked::Get {
                announced: self.announce(&key),
                key,
            },
            Operation::Lookup(key) => Asked::Lookup {
                announced: self.announce(&key),
                key,
                token: None,
                was_read: false,
                is_refused: false,
            },
            Operation::Set { key, value, ttl, lease } => {
                // So that a later read goes behind it.
                self.redis().drop_copies(|copies| copies.drop_entry(&key));
                Asked::Set {
                    ttl: ttl.unwrap_or_else(|| self.spread_ttl()),
                    key,
                    value,
                    lease: lease.filter(|_| holds(Rule::FillCompares)),
                }
            }
            Operation::Release(key, lease) => Asked::Release { key, lease },
            Operation::Purge(keys) => return self.take_purge(ticket, &keys, false, batch, turn),
            Operation::Discard(keys) => return self.take_purge(ticket, &keys, true, batch, turn),
            Operation::PurgeContext(context) => {
                return self.take_broad_purge(ticket, Target::Context(context), batch, turn);
            }
            Operation::Clear => return self.take_broad_purge(ticket, Target::Everything, batch, turn),
        };
        let call = Call {
            ticket,
            asked_at: turn.now,
            asked,
            redirects: 0,
        };
        self.take_call(call, batch, turn);
    }

    /// A call of one key.
    fn take_call(&mut self, call: Call, batch: &mut Batch, turn: &mut Turn<'_>) {
        let kind = call.asked.kind();
        let Some(key) = call.asked.key().cloned() else { return };
        // A release is no answer that could be stale.
        if self.redis().ledger.covers(&key) && !matches!(call.asked, Asked::Release { .. }) {
            return self.answer_failed(&call, None, turn);
        }
        if self.struck.is_refused(&key, kind, turn.now) {
            return self.answer_failed(&call, Some(Failure::Refused), turn);
        }
        let bytes = match &call.asked {
            Asked::Set { value, .. } => value.len(),
            _ => 0,
        };
        if !self.admit(bytes) {
            return self.answer_failed(&call, Some(Failure::Overload), turn);
        }
        let is_large = bytes > LARGE || (kind == CallKind::Read && self.struck.is_large(&key));
        let id = self.calls.insert(call);
        if is_large || self.is_clustered() || self.is_on_bulk_link(&key) {
            self.send_batch(batch, turn);
            self.send_call(id, is_large, turn);
            return;
        }
        let group = self.group_of(id);
        self.make_room_for(group, &key, batch, turn);
        match group {
            Group::Reads => batch.reads.push(id),
            Group::LookUps => batch.look_ups.push(id),
            Group::Fills => {
                batch.fills.push(id);
                batch.fill_bytes += bytes;
            }
            Group::Writes | Group::Purges => {
                // Of other keys than those that are gathered, so nobody can tell who came first.
                self.send_call(id, false, turn);
            }
        }
        if batch.reads.len() == READS_TOGETHER
            || batch.look_ups.len() == SCRIPTED_TOGETHER
            || batch.fills.len() == SCRIPTED_TOGETHER
            || batch.fill_bytes > FILL_BYTES
        {
            self.send_batch(batch, turn);
        }
    }

    fn group_of(&self, id: CallId) -> Group {
        match self.calls.get(id).map(|call| &call.asked) {
            Some(Asked::Lookup { .. }) if self.expects_misses => Group::LookUps,
            Some(Asked::Get { .. } | Asked::Lookup { .. }) => Group::Reads,
            Some(Asked::Set { lease: Some(_), .. }) => Group::Fills,
            _ => Group::Writes,
        }
    }

    /// Sends what is gathered if this key is in another of its groups, and notes that it is in this one.
    fn make_room_for(&mut self, group: Group, key: &Key, batch: &mut Batch, turn: &mut Turn<'_>) {
        if !holds(Rule::OrderInBatch) {
            return;
        }
        if batch.last.is_some_and(|last| last != group) && !batch.is_mixed {
            batch.is_mixed = true;
            // Who came before was of one group: of each its keys are looked for only from now on.
            self.note_groups(batch);
        }
        batch.last = Some(group);
        if !batch.is_mixed {
            return;
        }
        let short = key.digest().short();
        if batch.groups.get(&short).is_some_and(|other| *other != group) {
            self.send_batch(batch, turn);
            batch.is_mixed = true;
            batch.last = Some(group);
        }
        batch.groups.insert(short, group);
    }

    fn note_groups(&self, batch: &mut Batch) {
        let groups = &mut batch.groups;
        for (ids, group) in [
            (&batch.reads, Group::Reads),
            (&batch.look_ups, Group::LookUps),
            (&batch.fills, Group::Fills),
        ] {
            let keys = ids.iter().filter_map(|id| self.calls.get(*id)?.asked.key());
            groups.extend(keys.map(|key| (key.digest().short(), group)));
        }
        groups.extend(
            batch
                .purges
                .iter()
                .map(|purge| (purge.key.digest().short(), Group::Purges)),
        );
    }

    /// Sends what is gathered.
    pub(super) fn send_batch(&mut self, batch: &mut Batch, turn: &mut Turn<'_>) {
        let Batch {
            reads,
            look_ups,
            fills,
            purges,
            purge_calls,
            ..
        } = std::mem::take(batch);
        if reads.is_empty() && look_ups.is_empty() && fills.is_empty() && purges.is_empty() {
            return;
        }
        let link = self.nodes[0].main;
        if !reads.is_empty() {
            self.send_reads(link, reads, turn);
        }
        if !look_ups.is_empty() {
            self.send_look_ups(link, look_ups, turn);
        }
        if !fills.is_empty() {
            self.send(link, Command::Fill(fills), turn);
        }
        if purge_calls > PURGES_APART {
            self.send_unlinks(link, purges, turn);
        } else {
            for purges in purges.chunk_by(|one, other| one.call == other.call) {
                self.send(link, Command::Unlink(purges.to_vec()), turn);
            }
        }
    }

    /// Sends one UNLINK for many keys, or a few.
    pub(super) fn send_unlinks(&mut self, link: LinkId, purges: Vec<EntryPurge>, turn: &mut Turn<'_>) {
        let mut purges = purges.into_iter().peekable();
        while purges.peek().is_some() {
            let some = purges.by_ref().take(KEYS_OF_AN_UNLINK).collect();
            self.send(link, Command::Unlink(some), turn);
        }
    }

    fn send_reads(&mut self, link: LinkId, calls: Vec<CallId>, turn: &mut Turn<'_>) {
        let lives = self.is_copied(link).then(Vec::new);
        self.send(link, Command::Read { calls, lives }, turn);
    }

    /// Sends the script that looks up, with a token for each call.
    fn send_look_ups(&mut self, link: LinkId, calls: Vec<CallId>, turn: &mut Turn<'_>) {
        let mut sent = Vec::with_capacity(calls.len());
        for id in calls {
            let new = self.new_token();
            match (self.calls.get_mut(id).map(|call| &mut call.asked), new) {
                (Some(Asked::Lookup { token, .. }), Some(new)) => {
                    *token = Some(new);
                    sent.push(id);
                }
                // Without randomness there is no lease that nobody could guess.
                (Some(_), _) => self.fail(id, Failure::Refused, turn),
                (None, _) => {}
            }
        }
        if !sent.is_empty() {
            self.send(link, Command::LookUp(sent), turn);
        }
    }

    /// Sends a call by a command of its own, where its key is.
    pub(super) fn send_call(&mut self, id: CallId, is_large: bool, turn: &mut Turn<'_>) {
        let Some(call) = self.calls.get(id) else { return };
        let Some(key) = call.asked.key().cloned() else { return };
        match self.link_of(&key, is_large, turn.now) {
            Some(link) => self.send_call_by(link, id, turn),
            None => self.wait_for_map(id, turn),
        }
    }

    pub(super) fn send_call_by(&mut self, link: LinkId, id: CallId, turn: &mut Turn<'_>) {
        match self.calls.get(id).map(|call| &call.asked) {
            Some(Asked::Lookup { was_read: false, .. }) if self.expects_misses && !self.is_bulk(link) => {
                self.send_look_ups(link, vec![id], turn);
            }
            Some(Asked::Lookup {
                was_read: true,
                is_refused: false,
                ..
            }) => self.send_look_ups(link, vec![id], turn),
            Some(Asked::Get { .. } | Asked::Lookup { .. }) => self.send_reads(link, vec![id], turn),
            Some(Asked::Set { lease, key, .. }) => {
                let command = match lease {
                    Some(_) => Command::Fill(vec![id]),
                    None => Command::Set(id, key.digest().short()),
                };
                self.send(link, command, turn);
            }
            Some(Asked::Release { .. }) => self.send(link, Command::Release(id), turn),
            Some(Asked::Purge { .. } | Asked::Broad) | None => {}
        }
    }

    fn take_purge(&mut self, ticket: Ticket, keys: &[Key], is_discard: bool, batch: &mut Batch, turn: &mut Turn<'_>) {
        if !is_discard {
            self.cache.counters.purges.increment();
        }
        let is_admitted = self.admit(0);
        let call = self.calls.insert(Call {
            ticket,
            asked_at: turn.now,
            asked: Asked::Purge {
                waiting: keys.len(),
                deleted: 0,
                failure: None,
                is_discard,
            },
            redirects: 0,
        });
        if !is_admitted {
            // Answered without being in flight.
            self.redis().in_flight.fetch_add(1, Relaxed);
        }
        batch.purge_calls += 1;
        for key in keys {
            self.redis().drop_copies(|copies| copies.drop_entry(key));
            let stamp = self.redis().ledger.ask(&Target::Entry(key.clone()), turn.now);
            let purge = EntryPurge {
                key: key.clone(),
                stamp,
                call: Some(call),
            };
            if !is_admitted {
                self.pend_entry(&purge, Failure::Overload, turn);
            } else if self.is_clustered() || self.is_on_bulk_link(key) {
                self.send_batch(batch, turn);
                self.send_entry_purge(purge, turn);
            } else {
                self.make_room_for(Group::Purges, key, batch, turn);
                batch.purges.push(purge);
            }
        }
    }

    /// Sends a purge by a command of its own, where its key is.
    pub(super) fn send_entry_purge(&mut self, purge: EntryPurge, turn: &mut Turn<'_>) {
        match self.link_of(&purge.key, false, turn.now) {
            Some(link) => self.send(link, Command::Unlink(vec![purge]), turn),
            None => self.pend_entry(&purge, Failure::Unavailable, turn),
        }
    }

    fn take_broad_purge(&mut self, ticket: Ticket, target: Target, batch: &mut Batch, turn: &mut Turn<'_>) {
        // What was asked for before is done before.
        self.send_batch(batch, turn);
        self.cache.counters.purges.increment();
        self.redis().in_flight.fetch_add(1, Relaxed);
        let call = self.calls.insert(Call {
            ticket,
            asked_at: turn.now,
            asked: Asked::Broad,
            redirects: 0,
        });
        let stamp = self.redis().ledger.ask(&target, turn.now);
        self.request_pass(target, stamp, SlotSet::ALL, Some(call), turn);
    }

    /// Takes what Redis answered to a command of calls.
    pub(super) fn take_values(
        &mut self,
        link: LinkId,
        calls: &[CallId],
        lives: Option<&[Option<Duration>]>,
        frame: &[u8],
        turn: &mut Turn<'_>,
    ) {
        let mut frames = Frames::new(frame);
        let Some(Frame::Array(count)) = frames.next_frame() else {
            return self.fail_all(calls, Failure::Refused, turn);
        };
        let (mut missing, mut hits) = (Vec::new(), 0);
        for (index, id) in calls.iter().enumerate() {
            let value = if index < count { frames.next_frame() } else { None };
            match value {
                Some(Frame::Text(value)) => {
                    hits += 1;
                    let lives = lives.and_then(|lives| lives.get(index).copied().flatten());
                    self.take_value(link, *id, value, lives, turn);
                }
                _ => match self.calls.get_mut(*id).map(|call| &mut call.asked) {
                    Some(Asked::Lookup {
                        was_read,
                        is_refused: false,
                        ..
                    }) => {
                        *was_read = true;
                        missing.push(*id);
                    }
                    Some(Asked::Lookup { .. }) => self.answer(*id, Answer::Miss, turn),
                    Some(_) => self.answer(*id, Answer::Value(None), turn),
                    None => {}
                },
            }
        }
        if hits > 0 || !missing.is_empty() {
            self.expects_misses = missing.len() > hits;
        }
        let together = if self.is_clustered() { 1 } else { SCRIPTED_TOGETHER };
        for missing in missing.chunks(together) {
            self.send_look_ups(link, missing.to_vec(), turn);
        }
    }

    /// Answers a read with the value, which is copied if it may be.
    fn take_value(&mut self, link: LinkId, id: CallId, value: &[u8], lives: Option<Duration>, turn: &mut Turn<'_>) {
        let Some((Asked::Get { key, announced } | Asked::Lookup { key, announced, .. }, is_lookup)) = self
            .calls
            .get(id)
            .map(|call| (&call.asked, matches!(call.asked, Asked::Lookup { .. })))
        else {
            return;
        };
        // A purge that became pending meanwhile covers what Redis still has.
        if self.redis().ledger.covers(key) {
            return self.fail_unasked(id, turn);
        }
        self.struck.note_size(key, value.len());
        if let (Some(copies), Some(lives), Some(up)) = (&self.copies, lives, &self.links[link.0].up)
            && up.is_tracked
        {
            copies.keep(key, *announced, value, up.owner, lives, turn.now);
        }
        let answer = if is_lookup {
            Answer::Hit(value)
        } else {
            Answer::Value(Some(value))
        };
        self.answer(id, answer, turn);
    }

    /// Takes what the script that looks up answered.
    pub(super) fn take_look_ups(&mut self, link: LinkId, calls: &[CallId], frame: &[u8], turn: &mut Turn<'_>) {
        let mut frames = Frames::new(frame);
        let Some(Frame::Array(count)) = frames.next_frame() else {
            return self.fail_all(calls, Failure::Refused, turn);
        };
        let mut hits = 0;
        for (index, id) in calls.iter().enumerate() {
            let found = if index < count {
                Found::read(&mut frames)
            } else {
                Found::Refused
            };
            hits += usize::from(matches!(found, Found::Value(..)));
            let Some(Asked::Lookup { key, token, .. }) = self.calls.get(*id).map(|call| &call.asked) else {
                continue;
            };
            if self.redis().ledger.covers(key) && !matches!(found, Found::Leased) {
                self.fail_unasked(*id, turn);
                continue;
            }
            match (found, token.clone()) {
                (Found::Value(value, lives), _) => self.take_value(link, *id, value, lives, turn),
                (Found::Leased, Some(own)) => self.answer(*id, Answer::Leased(own), turn),
                (Found::Held(held), Some(own)) => {
                    // One's own stands where the script was executed twice, an orphan where an answer was lost.
                    let is_ours = held == own || self.redis().orphans.take(&held, turn.now);
                    let answer = if is_ours {
                        Answer::Leased(held)
                    } else {
                        Answer::Held(held)
                    };
                    self.answer(*id, answer, turn);
                }
                (Found::Foreign, _) => self.answer(*id, Answer::Miss, turn),
                _ => self.fail(*id, Failure::Refused, turn),
            }
        }
        self.expects_misses = 2 * hits < calls.len();
    }

    /// Takes what the script that fills answered.
    pub(super) fn take_fills(&mut self, calls: &[CallId], frame: &[u8], turn: &mut Turn<'_>) {
        let mut frames = Frames::new(frame);
        let count = match frames.next_frame() {
            Some(Frame::Array(count)) => count,
            _ => 0,
        };
        for (index, id) in calls.iter().enumerate() {
            let stored = if index < count { frames.next_frame() } else { None };
            match stored {
                Some(Frame::Integer(stored @ (0 | 1))) => self.take_stored(*id, stored == 1, turn),
                _ => self.fail(*id, Failure::Refused, turn),
            }
        }
    }

    /// Answers a write. Redis sends the invalidation after the reply, so the copies go here.
    pub(super) fn take_stored(&mut self, id: CallId, stored: bool, turn: &mut Turn<'_>) {
        if let Some(Asked::Set { key, .. }) = self.calls.get(id).map(|call| &call.asked) {
            self.redis().drop_copies(|copies| copies.drop_entry(key));
            self.answer(id, Answer::Stored(stored), turn);
        }
    }

    /// Redis deleted entries, `deleted` of which were there.
    pub(super) fn take_unlinked(&mut self, purges: &[EntryPurge], mut deleted: u64, turn: &mut Turn<'_>) {
        let calls = purges.chunk_by(|one, other| one.call == other.call).count();
        for of_call in purges.chunk_by(|one, other| one.call == other.call) {
            // The count of a command that serves many is shared out: their sum is exact.
            let share = if calls == 1 {
                deleted
            } else {
                deleted.min(of_call.len() as u64)
            };
            deleted -= share;
            for purge in of_call {
                let target = Target::Entry(purge.key.clone());
                self.redis().drop_copies(|copies| copies.drop_entry(&purge.key));
                if self.redis().ledger.settle(&target, purge.stamp, turn.now) {
                    self.news.delivered += 1;
                }
            }
            if let Some(call) = of_call[0].call {
                self.end_purges(call, of_call.len(), share, None, turn);
            }
        }
    }

    /// So many purges of a call have come to their end.
    fn end_purges(&mut self, id: CallId, ended: usize, more: u64, failed: Option<Failure>, turn: &mut Turn<'_>) {
        let Some(Asked::Purge {
            waiting,
            deleted,
            failure,
            ..
        }) = self.calls.get_mut(id).map(|call| &mut call.asked)
        else {
            return;
        };
        *waiting = waiting.saturating_sub(ended);
        *deleted += more;
        *failure = failure.or(failed);
        if *waiting > 0 {
            return;
        }
        let Some(call) = self.remove_call(id) else { return };
        let Asked::Purge {
            deleted,
            failure,
            is_discard,
            ..
        } = call.asked
        else {
            return;
        };
        if failure.is_some() {
            self.cache.counters.deferred_purges.increment();
            self.news.pending += 1;
        }
        self.cache.counters.purged_entries.add(deleted);
        self.record(&call, failure, turn.now);
        let answer = if is_discard {
            Answer::Stored(false)
        } else {
            Answer::Purged(deleted)
        };
        self.count(&answer);
        turn.answers.answer(call.ticket, answer);
    }

    /// A purge is pending, and delivered when its server can be had.
    pub(super) fn pend_again(&mut self, target: &Target, stamp: Stamp, slots: &SlotSet, failure: Failure, now: Moment) {
        if !holds(Rule::FailedIsPending) {
            return;
        }
        let ledger = &self.redis().ledger;
        ledger.pend(target, stamp, slots, now);
        if self.may_have_put(target) {
            ledger.reserve(target, self.id);
        }
        if failure == Failure::NotNow {
            ledger.pause(target, now);
        }
        self.next_delivery = self.next_delivery.min(now);
    }

    /// Whether a put without a lease, that was asked for before, waits or is in flight for what a purge deletes. It may
    /// be executed late, so no other engine may deliver the purge ahead of it.
    fn may_have_put(&self, target: &Target) -> bool {
        let is_in_flight = match target {
            Target::Entry(key) => self.puts.contains_key(&key.digest().short()),
            _ => !self.puts.is_empty(),
        };
        holds(Rule::ReservedForPuts) && (is_in_flight || self.has_waiting())
    }

    /// A put without a lease was answered, or will not be executed any more.
    pub(super) fn end_put(&mut self, short: u64) {
        if let Some(count) = self.puts.get_mut(&short) {
            *count -= 1;
            if *count == 0 {
                self.puts.remove(&short);
            }
        }
    }

    /// Whether what a put stores was purged since the put was asked for.
    fn was_overtaken(&self, call: &Call) -> bool {
        let key = call.asked.key();
        key.is_some_and(|key| self.redis().ledger.was_purged_since(key, call.asked_at))
    }

    /// A purge could not be done, and is pending.
    pub(super) fn pend_entry(&mut self, purge: &EntryPurge, failure: Failure, turn: &mut Turn<'_>) {
        let target = Target::Entry(purge.key.clone());
        self.redis().drop_copies(|copies| copies.drop_entry(&purge.key));
        match failure {
            Failure::Refused => self.refuse_purge(&target, purge.stamp, &SlotSet::ALL, turn.now),
            _ => self.pend_again(&target, purge.stamp, &SlotSet::ALL, failure, turn.now),
        }
        if let Some(call) = purge.call {
            if self.calls.get(call).is_some() {
                self.news.failed(CallKind::Purge, failure, 1);
            }
            self.end_purges(call, 1, 0, Some(failure), turn);
        }
    }

    /// Redis refused a purge, which pauses by itself.
    pub(super) fn refuse_purge(&mut self, target: &Target, stamp: Stamp, slots: &SlotSet, now: Moment) {
        if let Some(pause) = self.redis().ledger.refuse(target, stamp, slots, now) {
            self.next_delivery = self.next_delivery.min(now + pause);
        }
        let (scope, context) = match target {
            Target::Entry(key) => (PurgeScope::Entry, Some(key.context().into())),
            Target::Context(context) => (PurgeScope::Context, Some(context.clone())),
            Target::Everything => (PurgeScope::Everything, None),
        };
        self.news.other.push(Event::PurgeRefused { scope, context });
    }

    /// Redis answered a command of calls with an error.
    pub(super) fn take_refusal(&mut self, link: LinkId, command: Command, error: &[u8], turn: &mut Turn<'_>) {
        let code = error_code(error);
        match &*code {
            "NOSCRIPT" if holds(Rule::ScriptsAgain) => {
                // EVAL goes where EVALSHA came from.
                if let (Some(script), Some(up)) = (command.script(), &mut self.links[link.0].up) {
                    up.knows_scripts[script as usize] = false;
                }
                return self.send(link, command, turn);
            }
            "MOVED" | "ASK" | "TRYAGAIN" if matches!(command, Command::UnlinkFound { .. }) => {
                // The key moved while its slot was scanned, which is therefore not done.
                if let Command::UnlinkFound { scan, context, .. } = command {
                    self.take_unlinked_of_scan(scan, &context, 0, turn);
                }
                return;
            }
            "MOVED" | "ASK" => {
                if let Some(command) = self.redirect(link, command, &code, error, turn) {
                    self.refuse(link, command, Failure::Refused, turn);
                }
                return;
            }
            "READONLY" | "MASTERDOWN" => {
                self.note_demoted(link, turn);
                return self.refuse(link, command, Failure::NotNow, turn);
            }
            "CLUSTERDOWN" | "TRYAGAIN" | "LOADING" | "BUSY" => {
                self.refresh_soon(turn.now);
                return self.refuse(link, command, Failure::NotNow, turn);
            }
            "NOPERM" | "CROSSSLOT" => {
                if let Some(command) = self.send_apart(link, command, turn) {
                    self.refuse(link, command, Failure::Refused, turn);
                }
                return;
            }
            "ERR" if error.starts_with(b"ERR Protocol error") => self.strike(link, &command, turn),
            _ => {}
        }
        self.refuse(link, command, Failure::Refused, turn);
    }

    /// What one key is refused for need not be refused for others: each is asked for by itself. Gives back a command of
    /// one key.
    fn send_apart(&mut self, link: LinkId, command: Command, turn: &mut Turn<'_>) -> Option<Command> {
        let apart: Vec<Command> = match command {
            Command::Read { calls, .. } if calls.len() > 1 => {
                for id in calls {
                    self.send_reads(link, vec![id], turn);
                }
                return None;
            }
            Command::LookUp(calls) if calls.len() > 1 => {
                calls.into_iter().map(|id| Command::LookUp(vec![id])).collect()
            }
            Command::Fill(calls) if calls.len() > 1 => calls.into_iter().map(|id| Command::Fill(vec![id])).collect(),
            Command::Unlink(purges) if purges.len() > 1 => {
                purges.into_iter().map(|purge| Command::Unlink(vec![purge])).collect()
            }
            command => return Some(command),
        };
        for command in apart {
            self.send(link, command, turn);
        }
        None
    }

    fn refuse(&mut self, link: LinkId, command: Command, failure: Failure, turn: &mut Turn<'_>) {
        let Command::LookUp(calls) = command else {
            return self.fail_command(command, failure, turn);
        };
        // Where scripts are refused, values can still be read.
        for id in calls {
            if let Some(Asked::Lookup {
                was_read,
                is_refused,
                token,
                ..
            }) = self.calls.get_mut(id).map(|call| &mut call.asked)
            {
                *token = None;
                *is_refused = true;
                if *was_read {
                    self.fail(id, failure, turn);
                } else {
                    self.send_reads(link, vec![id], turn);
                }
            }
        }
    }

    /// Sends a command where the cluster says its slot is. Gives it back where that comes to nothing.
    fn redirect(
        &mut self,
        link: LinkId,
        command: Command,
        code: &str,
        error: &[u8],
        turn: &mut Turn<'_>,
    ) -> Option<Command> {
        let ids = match &command {
            Command::Read { calls, .. } | Command::LookUp(calls) | Command::Fill(calls) => calls.as_slice(),
            Command::Set(id, _) => {
                // The purge may have gone where the slot is now already.
                if self.calls.get(*id).is_some_and(|call| self.was_overtaken(call)) {
                    self.fail(*id, Failure::Unavailable, turn);
                    return None;
                }
                slice::from_ref(id)
            }
            Command::Release(id) => slice::from_ref(id),
            Command::Unlink(purges) => {
                // Nobody waits: it is delivered when the map is up to date.
                let [EntryPurge { call: Some(call), .. }] = purges.as_slice() else {
                    self.refresh_soon(turn.now);
                    self.fail_command(command, Failure::Unavailable, turn);
                    return None;
                };
                slice::from_ref(call)
            }
            _ => return Some(command),
        };
        for id in ids {
            let Some(call) = self.calls.get_mut(*id) else { continue };
            call.redirects += 1;
            if call.redirects > MOST_REDIRECTS {
                return Some(command);
            }
        }
        let Some(to) = self.link_named(link, code == "MOVED", error, turn.now) else {
            return Some(command);
        };
        if code == "ASK" {
            self.send(to, Command::Asking, turn);
        }
        self.send(to, command, turn);
        None
    }

    /// Ends a command that was not answered, or refused for good.
    pub(super) fn fail_command(&mut self, command: Command, failure: Failure, turn: &mut Turn<'_>) {
        match command {
            Command::Read { calls, .. } | Command::LookUp(calls) | Command::Fill(calls) => {
                self.fail_all(&calls, failure, turn);
            }
            Command::Set(id, _) | Command::Release(id) => self.fail(id, failure, turn),
            Command::Unlink(purges) => {
                for purge in &purges {
                    self.pend_entry(purge, failure, turn);
                }
            }
            Command::OwnSlots(scan) | Command::Scan { scan, .. } | Command::UnlinkFound { scan, .. } => {
                self.fail_scan(scan, failure, turn);
            }
            Command::Epoch | Command::Slots => self.fail_refresh(turn.now),
            _ => {}
        }
    }

    fn fail_all(&mut self, calls: &[CallId], failure: Failure, turn: &mut Turn<'_>) {
        for id in calls {
            self.fail(*id, failure, turn);
        }
    }

    /// Ends a call without an answer of Redis.
    pub(super) fn fail(&mut self, id: CallId, failure: Failure, turn: &mut Turn<'_>) {
        if let Some(call) = self.remove_call(id) {
            // Redis may execute the script yet, or has: then its lease is nobody's.
            if let (Asked::Lookup { token: Some(token), .. }, Failure::TimedOut | Failure::Broken) =
                (&call.asked, failure)
            {
                let expires = turn.now + self.cache.lease_time;
                self.redis().orphans.add(token.clone(), expires, turn.now);
            }
            self.record(&call, Some(failure), turn.now);
            self.answer_failed(&call, Some(failure), turn);
        }
    }

    /// Ends a read of what a pending purge covers.
    fn fail_unasked(&mut self, id: CallId, turn: &mut Turn<'_>) {
        if let Some(call) = self.remove_call(id) {
            self.record(&call, None, turn.now);
            self.answer_failed(&call, None, turn);
        }
    }

    fn answer_failed(&mut self, call: &Call, failure: Option<Failure>, turn: &mut Turn<'_>) {
        let counters = &self.cache.counters;
        let kind = call.asked.kind();
        if let Some(failure) = failure {
            match kind {
                CallKind::Read => counters.failed_reads.increment(),
                CallKind::Write => counters.failed_writes.increment(),
                CallKind::Purge => {}
            }
            if failure == Failure::TimedOut {
                counters.timeouts.increment();
            }
            self.news.failed(kind, failure, 1);
        }
        let answer = match call.asked {
            Asked::Get { .. } => Answer::Value(None),
            Asked::Lookup { .. } => Answer::Miss,
            Asked::Release { .. } => Answer::Released(false),
            Asked::Purge {
                deleted,
                is_discard: false,
                ..
            } => Answer::Purged(deleted),
            Asked::Set { .. } | Asked::Purge { .. } => Answer::Stored(false),
            Asked::Broad => Answer::Purged(0),
        };
        self.count(&answer);
        turn.answers.answer(call.ticket, answer);
    }

    /// Ends a call with an answer of Redis.
    pub(super) fn answer(&mut self, id: CallId, answer: Answer<'_>, turn: &mut Turn<'_>) {
        if let Some(call) = self.remove_call(id) {
            self.record(&call, None, turn.now);
            self.count(&answer);
            turn.answers.answer(call.ticket, answer);
        }
    }

    fn count(&self, answer: &Answer<'_>) {
        let counters = &self.cache.counters;
        match answer {
            Answer::Value(value) => counters.count_read(value.is_some()),
            Answer::Hit(_) => counters.count_read(true),
            Answer::Leased(_) | Answer::Held(_) | Answer::Miss => counters.count_read(false),
            Answer::Stored(stored) => counters.count_store(*stored),
            Answer::Released(_) | Answer::Purged(_) | Answer::Closed => {}
        }
    }

    fn record(&self, call: &Call, failure: Option<Failure>, now: Moment) {
        // Those are not asked of Redis at all.
        if !matches!(failure, Some(Failure::Unavailable | Failure::Overload)) {
            let latency = self.cache.counters.latency.of(call.asked.kind());
            latency.record(now.saturating_sub(call.asked_at), 1);
        }
    }

    pub(super) fn remove_call(&mut self, id: CallId) -> Option<Call> {
        let call = self.calls.remove(id)?;
        let redis = self.redis();
        redis.in_flight.fetch_sub(1, Relaxed);
        if let Asked::Set { value, .. } = &call.asked {
            redis.bytes_in_flight.fetch_sub(value.len(), Relaxed);
        }
        Some(call)
    }

    /// Room for one call more, with a value of so many bytes: what is in flight is bounded.
    fn admit(&self, bytes: usize) -> bool {
        let redis = self.redis();
        if redis.in_flight.load(Relaxed) >= redis.config.max_in_flight
            || (bytes > 0 && redis.bytes_in_flight.load(Relaxed) + bytes > redis.max_bytes_in_flight)
        {
            return false;
        }
        redis.in_flight.fetch_add(1, Relaxed);
        redis.bytes_in_flight.fetch_add(bytes, Relaxed);
        true
    }

    fn announce(&self, key: &Key) -> Announcement {
        let copies = self.copies.as_ref();
        copies.map_or_else(Announcement::default, |copies| copies.announce(key.digest()))
    }

    fn is_bulk(&self, link: LinkId) -> bool {
        self.links[link.0].purpose == Purpose::Bulk
    }

    pub(super) fn redis(&self) -> &SharedRedis {
        self.cache.redis().expect("an engine is of a cache on Redis")
    }
}

/// What the script that looks up found at one key.
enum Found<'a> {
    Leased,
    Value(&'a [u8], Option<Duration>),
    Held(LeaseToken),
    /// Something that is neither a value nor a lease.
    Foreign,
    Refused,
}

impl<'a> Found<'a> {
    fn read(frames: &mut Frames<'a>) -> Self {
        let Some(Frame::Array(count)) = frames.next_frame() else {
            return Self::Refused;
        };
        let mut fields = [None; 3];
        for index in 0..count {
            let field = frames.next_frame();
            if let Some(place) = fields.get_mut(index) {
                *place = field;
            }
        }
        match fields {
            [Some(Frame::Integer(0)), None, None] => Self::Leased,
            [Some(Frame::Integer(1)), Some(Frame::Text(value)), lives] => Self::Value(value, lives.and_then(time_left)),
            [Some(Frame::Integer(2)), Some(Frame::Text(held)), None] => std::str::from_utf8(held)
                .ok()
                .and_then(|held| LeaseToken::parse(held).ok())
                .map_or(Self::Foreign, Self::Held),
            [Some(Frame::Integer(4)), None, None] => Self::Foreign,
            _ => Self::Refused,
        }
    }
}

/// The time that PTTL tells; `None` where the key is not there or does not expire.
pub(super) fn time_left(frame: Frame<'_>) -> Option<Duration> {
    match frame {
        Frame::Integer(milliseconds) => u64::try_from(milliseconds).ok().map(Duration::from_millis),
        _ => None,
    }
}
