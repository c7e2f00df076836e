//! Broad purges (`protocol.md` §§3, 4): SCAN over every primary, UNLINK of what belongs to the contexts.
//!
//! Purges that wait share: one pass runs, one is queued, and a pass may serve several contexts. A purge is never served
//! by a pass that began before it. A key that stands from the beginning of a scan to its end is certain to be met (SCAN's
//! promise), and a fill never leaves its key absent (§5), so what was scanned holds nothing older than the pass.
//!
//! On a cluster a pass is done slot by slot: a slot is done when the primary that has it was scanned while it had it from
//! before to after, and moved none of its keys. While slots move, a key can slip from a node not yet scanned to one that
//! was: such slots are scanned once more, after a pause that grows. A slot that goes on being moved in the same direction
//! is done by two rounds: its keys, each of which moves once, stood still during one of the two.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use redis::Value;

use super::{
    Answer, Engine, Failure, Moment, Turn,
    calls::CallId,
    command::{Command, pattern},
    purge_ledger::{Stamp, Target},
    resp,
    rules::{Rule, holds},
    slots::{SLOTS, SlotSet, slot_of},
};
use crate::{events::Operation as CallKind, key::context_of};

/// UNLINK commands that may be unanswered while a scan goes on.
const UNLINKS_IN_FLIGHT: usize = 16;
/// On a cluster each has one key.
const CLUSTER_UNLINKS_IN_FLIGHT: usize = 1_024;
/// Rounds over a cluster whose slots keep moving, after which the purge is pending.
const MOST_ROUNDS: u32 = 8;
/// The pause before the second round; each is twice the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// A scan of one node, in one round of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScanId {
    round: u64,
    scan: usize,
}

/// A purge that a pass is to do.
struct Wanted {
    target: Target,
    stamp: Stamp,
    /// Where.
    slots: SlotSet,
    call: Option<CallId>,
}

/// What a node of a cluster says of its slots.
#[derive(Clone, PartialEq, Eq)]
struct OwnSlots {
    owned: SlotSet,
    /// The slots whose keys it hands over or takes over, and with whom.
    moving: BTreeMap<u16, String>,
}

struct Scan {
    node: usize,
    before: Option<OwnSlots>,
    after: Option<OwnSlots>,
    /// Where to go on, while too many UNLINKs are in flight.
    paused_at: Option<Vec<u8>>,
    unlinks: usize,
    is_scanned: bool,
    end: Option<Result<(), Failure>>,
}

impl Scan {
    /// Whether the node takes a slot over, and does not own it yet.
    fn takes_over(&self, slot: u16) -> bool {
        let before = self.before.as_ref();
        before
            .and_then(|own| own.moving.get(&slot))
            .is_some_and(|with| with.starts_with('<'))
    }
}

struct Pass {
    wanted: Vec<Wanted>,
    pattern: Arc<str>,
    scans: Vec<Scan>,
    rounds: u32,
    /// When the next round begins, between two.
    next_round: Option<Moment>,
    /// Until when the pass waits for the map of a cluster.
    wait_until: Moment,
    done: SlotSet,
    /// Slots that were moved all through the last round, and with whom.
    moved: BTreeMap<u16, String>,
    deleted: HashMap<Arc<str>, u64>,
}

/// The broad purges of one engine.
#[derive(Default)]
pub(super) struct BroadPasses {
    running: Option<Pass>,
    waiting: Vec<Wanted>,
    /// Tells the scans of one round from those of another.
    round: u64,
}

impl BroadPasses {
    pub fn next_round(&self) -> Option<Moment> {
        self.running.as_ref()?.next_round
    }

    /// What is not done yet.
    pub fn unfinished(&self) -> impl Iterator<Item = (&Target, Stamp, &SlotSet)> {
        let running = self.running.iter().flat_map(|pass| &pass.wanted);
        let all = running.chain(&self.waiting);
        all.map(|wanted| (&wanted.target, wanted.stamp, &wanted.slots))
    }
}

impl Engine {
    /// Has a broad purge done by the next pass that begins.
    pub(super) fn request_pass(
        &mut self,
        target: Target,
        stamp: Stamp,
        slots: SlotSet,
        call: Option<CallId>,
        turn: &mut Turn<'_>,
    ) {
        let wanted = Wanted {
            target,
            stamp,
            slots,
            call,
        };
        match &mut self.passes.running {
            Some(pass) if !holds(Rule::PassBeginsAfter) => pass.wanted.push(wanted),
            _ => self.passes.waiting.push(wanted),
        }
        self.start_pass(turn);
    }

    fn start_pass(&mut self, turn: &mut Turn<'_>) {
        if self.passes.running.is_some() || self.passes.waiting.is_empty() {
            return;
        }
        let mut wanted = std::mem::take(&mut self.passes.waiting);
        if !holds(Rule::SharedPasses) {
            self.passes.waiting = wanted.split_off(1);
        }
        let contexts: BTreeSet<&str> = wanted
            .iter()
            .map(|wanted| match &wanted.target {
                Target::Context(context) => &**context,
                _ => "*",
            })
            .collect();
        let only = contexts
            .first()
            .filter(|context| contexts.len() == 1 && **context != "*");
        self.passes.running = Some(Pass {
            pattern: pattern(only.copied()),
            wanted,
            scans: Vec::new(),
            rounds: 0,
            next_round: Some(turn.now),
            wait_until: turn.now + self.redis().config.command_timeout,
            done: SlotSet::none(),
            moved: BTreeMap::new(),
            deleted: HashMap::new(),
        });
        self.start_round(turn);
    }

    /// Begins the next round, if it is due.
    pub(super) fn start_round(&mut self, turn: &mut Turn<'_>) {
        let Some(pass) = &self.passes.running else { return };
        if pass.next_round.is_none_or(|next| turn.now < next) {
            return;
        }
        let nodes = self.nodes_to_scan();
        let Some(pass) = &mut self.passes.running else { return };
        if nodes.is_none() && turn.now < pass.wait_until {
            // Until it is known who has which slot.
            pass.next_round = Some(turn.now + FIRST_PAUSE);
            return;
        }
        pass.next_round = None;
        pass.rounds += 1;
        self.passes.round += 1;
        let new = |node| Scan {
            node,
            before: None,
            after: None,
            paused_at: None,
            unlinks: 0,
            is_scanned: false,
            end: None,
        };
        pass.scans = nodes.unwrap_or_default().into_iter().map(new).collect();
        let count = pass.scans.len();
        for scan in 0..count {
            let id = ScanId {
                round: self.passes.round,
                scan,
            };
            if self.is_clustered() {
                self.send_for_scan(id, Command::OwnSlots(id), turn);
            } else {
                self.scan_on(id, b"0".to_vec(), turn);
            }
        }
        if count == 0 {
            self.end_round(turn);
        }
    }

    /// The nodes that may hold what is to be purged; `None` while that is not known.
    fn nodes_to_scan(&self) -> Option<Vec<usize>> {
        let Some(map) = self.slot_map() else {
            return if self.is_clustered() { None } else { Some(vec![0]) };
        };
        let pass = self.passes.running.as_ref()?;
        let mut nodes = BTreeSet::new();
        for (slot, node) in map.iter().enumerate() {
            let slot = u16::try_from(slot).unwrap_or_default();
            if let Some(node) = node
                && (!pass.moved.is_empty()
                    || !pass.done.contains(slot) && pass.wanted.iter().any(|wanted| wanted.slots.contains(slot)))
            {
                nodes.insert(*node);
            }
        }
        Some(nodes.into_iter().collect())
    }

    fn scan(&mut self, id: ScanId) -> Option<&mut Scan> {
        let is_this_round = id.round == self.passes.round;
        let pass = self.passes.running.as_mut().filter(|_| is_this_round)?;
        pass.scans.get_mut(id.scan).filter(|scan| scan.end.is_none())
    }

    fn send_for_scan(&mut self, id: ScanId, command: Command, turn: &mut Turn<'_>) {
        if let Some(node) = self.scan(id).map(|scan| scan.node) {
            let link = self.nodes[node].main;
            self.send(link, command, turn);
        }
    }

    fn scan_on(&mut self, id: ScanId, cursor: Vec<u8>, turn: &mut Turn<'_>) {
        let Some(pass) = &self.passes.running else { return };
        let pattern = Arc::clone(&pass.pattern);
        let command = Command::Scan {
            scan: id,
            cursor,
            pattern,
        };
        self.send_for_scan(id, command, turn);
    }

    /// Takes what a node says of its slots: before its scan, or after it.
    pub(super) fn take_own_slots(&mut self, id: ScanId, frame: &[u8], turn: &mut Turn<'_>) {
        let Some(own) = resp::value(frame).and_then(text).and_then(|nodes| own_slots(&nodes)) else {
            return self.fail_scan(id, Failure::Refused, turn);
        };
        let Some(scan) = self.scan(id) else { return };
        if scan.before.is_none() {
            scan.before = Some(own);
            self.scan_on(id, b"0".to_vec(), turn);
        } else {
            scan.after = Some(own);
            scan.end = Some(Ok(()));
            self.end_round_if_done(turn);
        }
    }

    /// Takes a page of a scan.
    pub(super) fn take_page(&mut self, id: ScanId, frame: &[u8], turn: &mut Turn<'_>) {
        let Some((cursor, keys)) = resp::value(frame).and_then(page) else {
            return self.fail_scan(id, Failure::Refused, turn);
        };
        let Some(pass) = &self.passes.running else { return };
        let mut contexts: BTreeMap<&str, Vec<&Vec<u8>>> = BTreeMap::new();
        for key in &keys {
            let is_wanted = |context: &str| {
                pass.wanted.iter().any(|wanted| match &wanted.target {
                    Target::Context(wanted) => &**wanted == context,
                    _ => true,
                })
            };
            if let Some(context) = context_of(key).filter(|context| is_wanted(context)) {
                contexts.entry(context).or_default().push(key);
            }
        }
        let is_clustered = self.is_clustered();
        let together = if is_clustered { 1 } else { usize::MAX };
        for (context, keys) in contexts {
            let context: Arc<str> = context.into();
            for keys in keys.chunks(together) {
                let Some(scan) = self.scan(id) else { return };
                scan.unlinks += 1;
                // Keys of a slot that is being taken over are given out only to who asks for just that.
                let is_taken_over = is_clustered && keys.first().is_some_and(|key| scan.takes_over(slot_of(key)));
                if is_taken_over {
                    self.send_for_scan(id, Command::Asking, turn);
                }
                let command = Command::UnlinkFound {
                    scan: id,
                    context: Arc::clone(&context),
                    keys: keys.iter().map(|key| (*key).clone()).collect(),
                };
                self.send_for_scan(id, command, turn);
            }
        }
        let Some(scan) = self.scan(id) else { return };
        if cursor == b"0" {
            scan.is_scanned = true;
        } else {
            scan.paused_at = Some(cursor);
        }
        self.go_on(id, turn);
    }

    /// Takes how many keys went of those that a scan found.
    pub(super) fn take_unlinked_of_scan(&mut self, id: ScanId, context: &Arc<str>, deleted: u64, turn: &mut Turn<'_>) {
        let Some(scan) = self.scan(id) else { return };
        scan.unlinks -= 1;
        if let Some(pass) = &mut self.passes.running {
            *pass.deleted.entry(Arc::clone(context)).or_default() += deleted;
        }
        self.go_on(id, turn);
    }

    fn go_on(&mut self, id: ScanId, turn: &mut Turn<'_>) {
        let is_clustered = self.is_clustered();
        let most = if is_clustered {
            CLUSTER_UNLINKS_IN_FLIGHT
        } else {
            UNLINKS_IN_FLIGHT
        };
        let Some(scan) = self.scan(id) else { return };
        if scan.unlinks < most
            && let Some(cursor) = scan.paused_at.take()
        {
            self.scan_on(id, cursor, turn);
        } else if scan.is_scanned && scan.unlinks == 0 {
            if is_clustered {
                self.send_for_scan(id, Command::OwnSlots(id), turn);
            } else {
                scan.end = Some(Ok(()));
                self.end_round_if_done(turn);
            }
        }
    }

    /// A command of a scan was not answered, or refused.
    pub(super) fn fail_scan(&mut self, id: ScanId, failure: Failure, turn: &mut Turn<'_>) {
        if let Some(scan) = self.scan(id) {
            scan.end = Some(Err(failure));
            self.end_round_if_done(turn);
        }
    }

    fn end_round_if_done(&mut self, turn: &mut Turn<'_>) {
        let pass = self.passes.running.as_ref();
        if pass.is_some_and(|pass| pass.next_round.is_none() && pass.scans.iter().all(|scan| scan.end.is_some())) {
            self.end_round(turn);
        }
    }

    fn end_round(&mut self, turn: &mut Turn<'_>) {
        let is_clustered = self.is_clustered();
        let Some(pass) = &mut self.passes.running else { return };
        let scans = std::mem::take(&mut pass.scans);
        let failure = scans.iter().find_map(|scan| scan.end?.err());
        let mut moved = BTreeMap::new();
        for scan in scans.iter().filter(|scan| scan.end == Some(Ok(()))) {
            match (&scan.before, &scan.after) {
                (Some(before), Some(after)) => {
                    for slot in (0..SLOTS).filter_map(|slot| u16::try_from(slot).ok()) {
                        if !before.owned.contains(slot) || !after.owned.contains(slot) {
                            continue;
                        }
                        match (before.moving.get(&slot), after.moving.get(&slot)) {
                            (None, None) => pass.done.insert(slot),
                            (Some(with), Some(still)) if with == still && failure.is_none() => {
                                if pass.moved.get(&slot) == Some(with) {
                                    pass.done.insert(slot);
                                }
                                moved.insert(slot, with.clone());
                            }
                            _ => {}
                        }
                    }
                }
                _ => pass.done = SlotSet::ALL,
            }
        }
        pass.moved = moved;
        if !holds(Rule::MovedAreRescanned) && failure.is_none() {
            pass.done = SlotSet::ALL;
        }
        let is_done = pass
            .wanted
            .iter()
            .all(|wanted| rest(&wanted.slots, &pass.done).is_empty());
        if !is_done && failure.is_none() && is_clustered && !scans.is_empty() && pass.rounds < MOST_ROUNDS {
            pass.next_round = Some(turn.now + FIRST_PAUSE * 2_u32.pow(pass.rounds - 1));
            self.refresh_soon(turn.now);
            return;
        }
        // Where nobody is known to have a slot, there is nobody to ask.
        let failure = failure.unwrap_or(Failure::Unavailable);
        let nobody_answered = failure != Failure::Refused && !scans.iter().any(|scan| scan.end == Some(Ok(())));
        if let Some(mut pass) = self.passes.running.take() {
            if nobody_answered && pass.done.is_empty() {
                // The next pass would have its callers wait as long again.
                pass.wanted.append(&mut self.passes.waiting);
            }
            self.end_pass(pass, failure, turn);
        }
        self.start_pass(turn);
    }

    fn end_pass(&mut self, pass: Pass, failure: Failure, turn: &mut Turn<'_>) {
        for Wanted {
            target,
            stamp,
            slots,
            call,
        } in pass.wanted
        {
            self.redis().drop_copies(|copies| match &target {
                Target::Context(context) => copies.drop_context(context),
                _ => copies.drop_all(),
            });
            let rest = rest(&slots, &pass.done);
            let ledger = &self.redis().ledger;
            if rest.is_empty() {
                if call.is_some() {
                    // What was pending of it before is done too, everywhere.
                    self.news.delivered += u64::from(ledger.settle(&target, stamp, turn.now));
                } else {
                    self.news.delivered += u64::from(ledger.settle_slots(&target, stamp, &slots, turn.now));
                }
            } else {
                ledger.settle_slots(&target, stamp, &pass.done, turn.now);
                if failure == Failure::Refused {
                    self.refuse_purge(&target, stamp, &rest, turn.now);
                } else {
                    // It has just failed, and may fail again.
                    self.pend_again(&target, stamp, &rest, Failure::NotNow, turn.now);
                }
                if call.is_some() {
                    self.cache.counters.deferred_purges.increment();
                    self.news.pending += 1;
                    self.news.failed(CallKind::Purge, failure, 1);
                }
            }
            let Some(call) = call else { continue };
            let deleted = match &target {
                _ if !rest.is_empty() => 0,
                Target::Context(context) => pass.deleted.get(context).copied().unwrap_or_default(),
                _ => pass.deleted.values().sum(),
            };
            self.cache.counters.purged_entries.add(deleted);
            self.answer(call, Answer::Purged(deleted), turn);
        }
    }

    /// Ends all broad purges: the engine ends.
    pub(super) fn end_passes(&mut self, turn: &mut Turn<'_>) {
        let wanted = std::mem::take(&mut self.passes.waiting);
        if let Some(mut pass) = self.passes.running.take() {
            pass.wanted.extend(wanted);
            self.end_pass(pass, Failure::Unavailable, turn);
        }
    }
}

fn rest(slots: &SlotSet, done: &SlotSet) -> SlotSet {
    let mut rest = slots.clone();
    rest.remove_all(done);
    rest
}

/// The next cursor and the keys that SCAN found.
fn page(answer: Value) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    let Value::Array(fields) = answer else { return None };
    let mut fields = fields.into_iter();
    let (Some(Value::BulkString(cursor)), Some(Value::Array(keys))) = (fields.next(), fields.next()) else {
        return None;
    };
    let keys = keys.into_iter().map(|key| match key {
        Value::BulkString(key) => Some(key),
        _ => None,
    });
    Some((cursor, keys.collect::<Option<_>>()?))
}

pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

/// Where in a line of CLUSTER NODES the slots begin: `id address flags primary ping pong epoch state 0-5460 [93->-id]`.
const SLOTS_FROM: usize = 8;

/// What a node's own line in CLUSTER NODES says of its slots.
fn own_slots(nodes: &str) -> Option<OwnSlots> {
    let own = nodes.lines().find(|line| {
        let flags = line.split(' ').nth(2);
        flags.is_some_and(|flags| flags.split(',').any(|flag| flag == "myself"))
    })?;
    let (mut owned, mut moving) = (SlotSet::none(), BTreeMap::new());
    for range in own.split(' ').skip(SLOTS_FROM) {
        if let Some(moved) = range.strip_prefix('[').and_then(|range| range.strip_suffix(']')) {
            let (slot, with) = moved.split_once('-')?;
            moving.insert(slot.parse().ok()?, with.to_owned());
        } else if !range.is_empty() {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
            (first..=last).for_each(|slot| owned.insert(slot));
        }
    }
    Some(OwnSlots { owned, moving })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_says_which_slots_it_has_and_moves() {
        let nodes = "aa 127.0.0.1:1@2 master - 0 0 1 connected 0-99\n\
                     bb 127.0.0.1:3@4 myself,master - 0 0 2 connected 100-200 300 [93-<-aa] [150->-aa]\n";
        let own = own_slots(nodes).unwrap();
        assert!(own.owned.contains(100) && own.owned.contains(200) && own.owned.contains(300));
        assert!(!own.owned.contains(99) && !own.owned.contains(201));
        assert_eq!(
            own.moving,
            BTreeMap::from([(93, "<-aa".to_owned()), (150, ">-aa".to_owned())])
        );
        assert!(own_slots("aa 127.0.0.1:1@2 master - 0 0 1 connected 0-99").is_none());
    }
}
