//! The copies by their own methods, with a clock of the tests.

use super::*;

const NOW: Moment = Duration::from_secs(1_000);
const LONG: Duration = Duration::from_secs(60);

/// A key whose digest begins with this number, which chooses its counter of drops.
fn key(context: &str, number: u16) -> Key {
    Key::parse(format!("ctx:{context}:{number:04x}{:060}", 0).as_bytes()).unwrap()
}

fn copies() -> Copies {
    Copies::new(1 << 20)
}

fn keep(copies: &Copies, key: &Key, announced: Announcement) {
    copies.keep(key, announced, b"value", 1, LONG, NOW);
}

/// Announces a read and keeps what it brings.
fn read(copies: &Copies, key: &Key) {
    keep(copies, key, copies.announce(key.digest()));
}

fn has(copies: &Copies, key: &Key) -> bool {
    copies.get(key.digest(), NOW).is_some()
}

#[test]
fn a_copy_is_found_with_its_owner_until_its_entry_expires() {
    let (copies, key) = (copies(), key("user", 1));
    let announced = copies.announce(key.digest());
    copies.keep(&key, announced, b"value", 7, LONG, NOW);
    let (found, owner) = copies.get(key.digest(), NOW).unwrap();
    assert_eq!((&*found.value, owner), (&b"value"[..], 7));
    assert!(copies.get(key.digest(), NOW + LONG).is_none());
    assert_eq!(copies.sizes(), (0, 0));
}

#[test]
fn a_drop_between_the_announcement_and_the_reply_prevents_the_copy() {
    let drops: [fn(&Copies, &Key); 3] = [
        Copies::drop_entry,
        |copies, key| copies.drop_context(key.context()),
        |copies, _| copies.drop_all(),
    ];
    for drop in drops {
        let (copies, key) = (copies(), key("user", 1));
        let announced = copies.announce(key.digest());
        drop(&copies, &key);
        keep(&copies, &key, announced);
        assert!(!has(&copies, &key));
        // What is announced afterwards is copied, until the next drop.
        read(&copies, &key);
        assert!(has(&copies, &key));
        drop(&copies, &key);
        assert!(!has(&copies, &key));
    }
}

#[test]
fn a_drop_of_another_entry_prevents_no_copy() {
    let (copies, one, other) = (copies(), key("user", 1), key("user", 2));
    read(&copies, &other);
    let announced = copies.announce(one.digest());
    copies.drop_entry(&other);
    keep(&copies, &one, announced);
    assert!(has(&copies, &one) && !has(&copies, &other));
}

#[test]
fn a_drop_of_an_entry_with_the_same_counter_costs_a_copy_and_nothing_else() {
    let counters = u16::try_from(COUNTERS).unwrap();
    let (copies, one, other) = (copies(), key("user", 1), key("user", 1 + counters));
    read(&copies, &other);
    let announced = copies.announce(one.digest());
    copies.drop_entry(&one);
    keep(&copies, &one, announced);
    keep(&copies, &other, announced);
    assert!(!has(&copies, &one));
    assert!(has(&copies, &other), "the copy that stood");
}

#[test]
fn a_drop_of_a_context_leaves_the_copies_of_others() {
    let (copies, one, other) = (copies(), key("user", 1), key("users", 2));
    read(&copies, &one);
    read(&copies, &other);
    copies.drop_context("user");
    assert!(!has(&copies, &one) && has(&copies, &other));
}

#[test]
fn copies_go_with_their_connection_and_with_no_other() {
    let copies = copies();
    for number in 0..100 {
        let key = key("user", number);
        let announced = copies.announce(key.digest());
        copies.keep(&key, announced, b"value", u32::from(number % 2), LONG, NOW);
    }
    copies.drop_owner(1);
    for number in 0..100 {
        assert_eq!(has(&copies, &key("user", number)), number % 2 == 0);
    }
    assert_eq!(copies.sizes().0, 50);
}

#[test]
fn what_another_connection_read_since_is_its_own() {
    let (copies, key) = (copies(), key("user", 1));
    read(&copies, &key);
    let announced = copies.announce(key.digest());
    copies.keep(&key, announced, b"newer", 2, LONG, NOW);
    copies.drop_owner(1);
    assert_eq!(copies.get(key.digest(), NOW).unwrap().1, 2);
}

#[test]
fn the_bound_holds_and_another_bound_begins_empty() {
    let copies = Copies::new(10_000);
    for number in 0..1_000 {
        read(&copies, &key("user", number));
        assert!(copies.sizes().1 <= 10_000);
    }
    assert!(copies.sizes().0 > 10);
    copies.resize(10_000);
    assert!(copies.sizes().0 > 10, "the same bound");
    copies.resize(5_000);
    assert_eq!(copies.sizes(), (0, 0));
}
