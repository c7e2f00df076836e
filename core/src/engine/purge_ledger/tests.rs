//! The ledger by its own methods, with a clock of the tests.

use super::*;

const ONE: EngineId = EngineId(1);
const OTHER: EngineId = EngineId(2);

/// A moment of the tests, which begin long after the clock did.
fn at(seconds: u64) -> Moment {
    Duration::from_secs(10_000 + seconds)
}

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A key whose digest is not that of any other, also not of another context.
fn key(context: &str, number: usize) -> Key {
    let of_context = context
        .bytes()
        .fold(0_u64, |sum, byte| sum.wrapping_mul(257) + u64::from(byte));
    Key::parse(format!("ctx:{context}:{number:048x}{of_context:016x}").as_bytes()).unwrap()
}

fn entry(number: usize) -> Target {
    Target::Entry(key("user", number))
}

fn context(name: &str) -> Target {
    Target::Context(name.into())
}

fn slots(slots: impl IntoIterator<Item = u16>) -> SlotSet {
    slots.into_iter().collect()
}

/// A purge that could not be done at once.
fn pend(ledger: &PurgeLedger, target: &Target, now: Moment) -> Stamp {
    let stamp = ledger.ask(target, now);
    ledger.pend(target, stamp, &SlotSet::ALL, now);
    stamp
}

/// A purge that was done at once.
fn purge(ledger: &PurgeLedger, target: &Target, now: Moment) {
    let stamp = ledger.ask(target, now);
    assert!(!ledger.settle(target, stamp, now), "it was not pending");
}

fn claim(ledger: &PurgeLedger, engine: EngineId, now: Moment, until: Moment) -> Vec<Delivery> {
    ledger.claim(engine, now, until, |_| true, |_| true)
}

/// Claims everything that is due, and gives it back.
fn due(ledger: &PurgeLedger, now: Moment) -> Vec<Target> {
    let claimed = claim(ledger, EngineId(0), now, now + RECENT);
    for delivery in &claimed {
        ledger.unclaim(&delivery.target, now);
    }
    claimed.into_iter().map(|delivery| delivery.target).collect()
}

/// Has Redis take everything that is due.
fn deliver(ledger: &PurgeLedger, now: Moment) -> usize {
    let claimed = claim(ledger, ONE, now, now + RECENT);
    for delivery in &claimed {
        assert!(ledger.settle(&delivery.target, delivery.stamp, now));
    }
    claimed.len()
}

fn identity(run: &str, replication: &str) -> Identity {
    Identity {
        run: run.to_owned(),
        replication: replication.to_owned(),
    }
}

/// A connection to the one server is made, which was heard until now.
fn meet(ledger: &PurgeLedger, identity: Option<Identity>, now: Moment) -> usize {
    ledger.meet("primary", identity, now, now, &SlotSet::ALL)
}

#[test]
fn what_is_pending_is_covered_and_nothing_else() {
    let ledger = PurgeLedger::default();
    assert!(!ledger.any() && !ledger.covers(&key("user", 1)));
    let of_entry = pend(&ledger, &entry(1), at(0));
    assert!(ledger.covers(&key("user", 1)));
    assert!(!ledger.covers(&key("user", 2)));
    let of_context = pend(&ledger, &context("order"), at(0));
    assert!(ledger.covers(&key("order", 2)));
    assert!(!ledger.covers(&key("orders", 2)));
    let of_everything = pend(&ledger, &Target::Everything, at(0));
    assert!(ledger.covers(&key("orders", 2)));
    assert_eq!(ledger.pending(), 3);

    assert!(ledger.settle(&Target::Everything, of_everything, at(1)));
    assert!(!ledger.covers(&key("user", 2)));
    assert!(ledger.settle(&context("order"), of_context, at(1)));
    assert!(!ledger.covers(&key("order", 2)));
    assert!(ledger.covers(&key("user", 1)));
    assert!(ledger.settle(&entry(1), of_entry, at(1)));
    assert!(!ledger.any() && ledger.pending() == 0);
    assert_eq!(ledger.next_due(), None);
}

#[test]
fn a_hundred_thousand_entries_are_held_exactly() {
    let ledger = PurgeLedger::default();
    for number in 0..100_000 {
        pend(&ledger, &entry(number), at(0));
    }
    assert_eq!(ledger.pending(), 100_000);
    assert!(ledger.covers(&key("user", 99_999)) && !ledger.covers(&key("user", 100_000)));
    assert_eq!(deliver(&ledger, at(1)), 100_000);
    assert!(!ledger.any());
    // They are recent now, each by itself.
    assert_eq!(ledger.owe(at(2), at(2), &SlotSet::ALL), 100_000);
    assert!(!ledger.covers(&key("user", 100_000)));
}

#[test]
fn beyond_the_bound_only_the_context_with_the_most_entries_degrades() {
    let ledger = PurgeLedger::default();
    for number in 0..1_000 {
        pend(&ledger, &Target::Entry(key("few", number)), at(0));
    }
    for number in 0..EXACT - 1_000 {
        pend(&ledger, &entry(number), at(0));
    }
    assert_eq!(ledger.pending(), EXACT);
    assert!(!ledger.covers(&key("user", EXACT)));
    pend(&ledger, &Target::Entry(key("few", 1_000)), at(0));
    assert!(ledger.covers(&key("user", EXACT)));
    assert!(ledger.covers(&key("few", 1_000)) && !ledger.covers(&key("few", 1_001)));
    assert_eq!(ledger.pending(), 1_001 + 1);
    assert!(due(&ledger, at(0)).contains(&context("user")));
}

#[test]
fn many_small_contexts_beyond_the_bound_cost_no_pause() {
    let ledger = PurgeLedger::default();
    let began = std::time::Instant::now();
    for number in 0..EXACT + 20_000 {
        let name = format!("context{}", number % 9_000);
        pend(&ledger, &Target::Entry(key(&name, number)), at(0));
    }
    assert!(ledger.covers(&key("context0", 0)) && !ledger.covers(&key("context9000", 0)));
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn beyond_the_bound_of_contexts_everything_is_purged() {
    let ledger = PurgeLedger::default();
    for number in 0..=MAX_CONTEXTS {
        assert!(!ledger.covers(&key("other", 0)));
        pend(&ledger, &context(&format!("context{number}")), at(0));
    }
    assert!(ledger.covers(&key("other", 0)));
    assert_eq!(due(&ledger, at(0)), [Target::Everything]);
}

#[test]
fn recent_entries_beyond_the_bound_are_owed_as_their_context() {
    let ledger = PurgeLedger::default();
    for number in 0..=EXACT {
        purge(&ledger, &entry(number), at(0));
    }
    purge(&ledger, &Target::Entry(key("few", 0)), at(0));
    assert!(ledger.owe(at(1), at(1), &SlotSet::ALL) < 10);
    assert!(ledger.covers(&key("user", EXACT + 1)));
    assert!(ledger.covers(&key("few", 0)) && !ledger.covers(&key("few", 1)));
}

#[test]
fn a_purge_that_is_asked_for_again_during_its_delivery_is_still_pending() {
    let ledger = PurgeLedger::default();
    for target in [entry(1), context("user"), Target::Everything] {
        pend(&ledger, &target, at(0));
        let delivery = claim(&ledger, ONE, at(0), at(5)).pop().unwrap();
        let again = pend(&ledger, &target, at(1));
        assert!(!ledger.settle(&target, delivery.stamp, at(2)));
        assert!(!ledger.settle_slots(&target, delivery.stamp, &SlotSet::ALL, at(2)));
        assert!(ledger.covers(&key("user", 1)));
        assert_eq!(
            due(&ledger, at(2)),
            std::slice::from_ref(&target),
            "without waiting for the claim to expire"
        );
        assert!(ledger.settle(&target, again, at(3)));
        assert!(!ledger.any());
    }
}

#[test]
fn a_broader_purge_that_pends_during_a_delivery_is_still_pending() {
    let ledger = PurgeLedger::default();
    pend(&ledger, &entry(1), at(0));
    let delivery = claim(&ledger, ONE, at(0), at(5)).pop().unwrap();
    pend(&ledger, &context("user"), at(1));
    assert!(ledger.settle(&delivery.target, delivery.stamp, at(2)));
    assert!(ledger.covers(&key("user", 1)));
    pend(&ledger, &Target::Everything, at(3));
    let delivery = claim(&ledger, ONE, at(3), at(5)).remove(0);
    assert_eq!(delivery.target, context("user"));
    assert!(ledger.settle(&delivery.target, delivery.stamp, at(4)));
    assert!(ledger.covers(&key("user", 1)));
}

#[test]
fn a_new_connection_to_the_same_server_owes_nothing() {
    let ledger = PurgeLedger::default();
    purge(&ledger, &entry(1), at(0));
    assert_eq!(meet(&ledger, Some(identity("a", "0")), at(0)), 0, "the first there is");
    for second in 1..10 {
        assert_eq!(meet(&ledger, Some(identity("a", "0")), at(second)), 0);
    }
    assert!(!ledger.any());
}

#[test]
fn another_server_or_one_that_continues_other_data_is_owed_what_is_recent() {
    let changes = [identity("b", "0"), identity("a", "1")];
    for changed in changes {
        let ledger = PurgeLedger::default();
        meet(&ledger, Some(identity("a", "0")), at(0));
        purge(&ledger, &entry(1), at(0));
        purge(&ledger, &context("order"), at(1));
        assert_eq!(meet(&ledger, Some(changed.clone()), at(2)), 2);
        assert!(ledger.covers(&key("user", 1)) && ledger.covers(&key("order", 1)));
        assert!(!ledger.covers(&key("user", 2)));
        assert_eq!(deliver(&ledger, at(3)), 2);
        assert_eq!(meet(&ledger, Some(changed), at(4)), 0);
    }
}

#[test]
fn what_is_older_than_a_minute_is_not_owed() {
    let ledger = PurgeLedger::default();
    meet(&ledger, Some(identity("a", "0")), at(0));
    purge(&ledger, &entry(1), at(0));
    purge(&ledger, &entry(2), at(30));
    assert_eq!(meet(&ledger, Some(identity("b", "0")), at(61)), 1);
    assert!(!ledger.covers(&key("user", 1)) && ledger.covers(&key("user", 2)));
}

#[test]
fn a_server_that_does_not_tell_is_owed_at_each_connection_for_a_minute() {
    let ledger = PurgeLedger::default();
    meet(&ledger, None, at(0));
    purge(&ledger, &entry(1), at(0));
    for second in [10, 20, 40, 60] {
        assert_eq!(meet(&ledger, None, at(second)), 1);
        // To repeat it makes it no younger.
        assert_eq!(deliver(&ledger, at(second)), 1);
    }
    assert_eq!(meet(&ledger, None, at(61)), 0);
    assert!(!ledger.any());
}

#[test]
fn what_is_owed_and_asked_for_anew_is_as_young_as_that() {
    let ledger = PurgeLedger::default();
    meet(&ledger, None, at(0));
    purge(&ledger, &entry(1), at(0));
    assert_eq!(meet(&ledger, None, at(50)), 1);
    pend(&ledger, &entry(1), at(55));
    assert_eq!(deliver(&ledger, at(58)), 1);
    assert_eq!(meet(&ledger, None, at(100)), 1);
    deliver(&ledger, at(100));
    assert_eq!(meet(&ledger, None, at(119)), 0);
}

#[test]
fn the_time_without_redis_makes_nothing_forgotten() {
    let ledger = PurgeLedger::default();
    meet(&ledger, Some(identity("a", "0")), at(0));
    ledger.hear(ONE, at(0));
    purge(&ledger, &entry(1), at(0));
    ledger.hear(ONE, at(10));
    // Nobody hears of it for an hour; the process has other things to purge meanwhile.
    pend(&ledger, &entry(2), at(1_800));
    ledger.hear(ONE, at(10));
    // What was recent when Redis was last heard is owed; what came later was pending before.
    let owed = ledger.meet("primary", Some(identity("b", "0")), at(10), at(3_600), &SlotSet::ALL);
    assert_eq!((owed, ledger.pending()), (1, 2));
    assert!(ledger.covers(&key("user", 1)));
}

#[test]
fn what_all_engines_have_outlived_is_forgotten() {
    let ledger = PurgeLedger::default();
    ledger.hear(ONE, at(0));
    ledger.hear(OTHER, at(0));
    purge(&ledger, &entry(1), at(0));
    ledger.hear(ONE, at(1_000));
    assert_eq!(
        ledger.lock().recent_entries.len(),
        1,
        "the other may be in the middle of a failover"
    );
    ledger.hear(OTHER, at(50));
    assert_eq!(ledger.lock().recent_entries.len(), 1);
    ledger.leave(OTHER);
    ledger.hear(ONE, at(1_001));
    assert_eq!(ledger.lock().recent_entries.len(), 0);
}

#[test]
fn a_refused_purge_backs_off_alone() {
    let ledger = PurgeLedger::default();
    let (refused, other) = (context("order"), entry(1));
    let stamp = ledger.ask(&refused, at(0));
    let mut now = at(0);
    let mut pauses = Vec::new();
    for _ in 0..11 {
        let pause = ledger.refuse(&refused, stamp, &SlotSet::ALL, now).unwrap();
        assert!(
            ledger.covers(&key("order", 1)),
            "it is pending, refused at once or again"
        );
        assert_eq!(ledger.next_due(), Some(now + pause));
        pauses.push(pause.as_millis());
        now += pause.saturating_sub(milliseconds(1));
        assert_eq!(due(&ledger, now), []);
        now += milliseconds(1);
        assert_eq!(due(&ledger, now), std::slice::from_ref(&refused));
    }
    assert_eq!(
        pauses,
        [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000, 30_000]
    );
    ledger.refuse(&refused, stamp, &SlotSet::ALL, now);
    // To ask for it again does not shorten its pause.
    pend(&ledger, &refused, now);
    pend(&ledger, &other, now);
    assert_eq!(due(&ledger, now), [other]);
}

#[test]
fn a_claim_is_exclusive_until_it_expires_is_given_back_or_its_engine_leaves() {
    let ledger = PurgeLedger::default();
    pend(&ledger, &entry(1), at(0));
    pend(&ledger, &context("order"), at(0));
    assert_eq!(claim(&ledger, ONE, at(0), at(2)).len(), 2);
    assert_eq!(claim(&ledger, OTHER, at(1), at(3)).len(), 0);
    assert_eq!(ledger.next_due(), Some(at(2)));

    assert_eq!(claim(&ledger, OTHER, at(2), at(4)).len(), 2, "expired");
    assert_eq!(claim(&ledger, ONE, at(3), at(5)).len(), 0);

    ledger.unclaim(&entry(1), at(3));
    assert_eq!(claim(&ledger, ONE, at(3), at(5)).len(), 1, "given back");

    ledger.leave(OTHER);
    assert_eq!(due(&ledger, at(3)), [context("order")], "what the other had");
    assert_eq!(ledger.pending(), 2);
}

#[test]
fn only_what_can_be_reached_is_claimed() {
    let ledger = PurgeLedger::default();
    pend(&ledger, &entry(1), at(0));
    pend(&ledger, &entry(2), at(0));
    let target = context("order");
    let stamp = ledger.ask(&target, at(0));
    ledger.pend(&target, stamp, &slots([7]), at(0));
    let claimed = ledger.claim(
        ONE,
        at(0),
        at(1),
        |key| *key == self::key("user", 2),
        |slots| slots.contains(8),
    );
    let claimed: Vec<_> = claimed.into_iter().map(|delivery| delivery.target).collect();
    assert_eq!(claimed, [entry(2)]);
    assert_eq!(due(&ledger, at(0)).len(), 2);
}

#[test]
fn a_pause_after_a_failure_delays_that_purge_alone() {
    let ledger = PurgeLedger::default();
    pend(&ledger, &entry(1), at(0));
    pend(&ledger, &entry(2), at(0));
    ledger.pause(&entry(1), at(0));
    assert_eq!(due(&ledger, at(0)), [entry(2)]);
    assert_eq!(due(&ledger, at(0) + milliseconds(100)).len(), 2);
}

#[test]
fn a_broad_purge_that_is_done_for_some_slots_covers_the_rest() {
    let ledger = PurgeLedger::default();
    let keys: Vec<_> = (0..100).map(|number| key("user", number)).collect();
    let (done, rest): (Vec<_>, Vec<_>) = keys.iter().partition(|key| slot_of(key.as_ref()) < 8_000);
    for target in [context("user"), Target::Everything] {
        let stamp = pend(&ledger, &target, at(0));
        assert!(!ledger.settle_slots(&target, stamp, &slots(0..8_000), at(1)));
        assert!(done.iter().all(|key| !ledger.covers(key)));
        assert!(rest.iter().all(|key| ledger.covers(key)));
        assert!(!ledger.covers(&key("other", 1)) || target == Target::Everything);

        let delivery = claim(&ledger, ONE, at(1), at(2)).pop().unwrap();
        assert!(!delivery.slots.contains(7_999) && delivery.slots.contains(8_000));
        // Asked for again where it was done.
        let again = ledger.ask(&target, at(2));
        ledger.pend(&target, again, &slots([5]), at(2));
        assert!(!ledger.settle_slots(&target, delivery.stamp, &delivery.slots, at(3)));
        assert!(ledger.settle_slots(&target, again, &slots((8_000..16_384).chain([5])), at(3)));
        assert!(!ledger.any());
    }
}

#[test]
fn what_is_owed_to_a_node_concerns_its_slots() {
    let ledger = PurgeLedger::default();
    let keys: Vec<_> = (0..100).map(|number| key("user", number)).collect();
    for key in &keys {
        purge(&ledger, &Target::Entry(key.clone()), at(0));
    }
    purge(&ledger, &context("order"), at(0));
    let moved = slots(0..8_000);
    let of_moved = keys.iter().filter(|key| moved.contains(slot_of(key.as_ref()))).count();
    assert_eq!(ledger.owe(at(1), at(1), &moved), of_moved + 1);
    for key in &keys {
        assert_eq!(ledger.covers(key), moved.contains(slot_of(key.as_ref())));
    }
    for number in 0..100 {
        let key = key("order", number);
        assert_eq!(ledger.covers(&key), moved.contains(slot_of(key.as_ref())));
    }
    // A digest alone would say nothing of where its purge is to be done.
    assert!(ledger.lock().entries.values().all(|entry| entry.pending.slots.is_all()));
}

#[test]
fn a_panic_elsewhere_loses_no_purge() {
    let ledger = PurgeLedger::default();
    pend(&ledger, &entry(1), at(0));
    let panicked = std::thread::scope(|scope| {
        let panicking = scope.spawn(|| {
            let _state = ledger.lock();
            panic!("on purpose");
        });
        panicking.join().is_err()
    });
    assert!(panicked);
    assert!(ledger.covers(&key("user", 1)));
    assert_eq!(due(&ledger, at(0)), [entry(1)]);
}
