//! The protocol of leases and purges (`protocol.md` §§3–5) under a model checker: every interleaving of a few readers,
//! writers and passes, with the rules as they are, and with one of them broken at a time.
//!
//! What is modelled is in `model.rs`; what is not: Redis failing (a purge that Redis does not have is kept, and does
//! not count as completed for others), slots of a cluster that move, and stores without a lease, which win over
//! whatever stands there and are outside the promise.
//!
//! `npm run model` takes more readers and writers than an ordinary run of the tests, and prints what it found.

mod model;
mod redis;

use std::collections::BTreeSet;

use model::{
    A_FILL_COMES_TOO_LATE, A_FILL_IS_STORED, A_PASS_SERVES_TWO, A_READER_JOINS, NOTHING_STALE_IS_ANSWERED,
    NOTHING_STALE_STANDS, Protocol, Purge, Reader, Rules, Scans, Writer,
};
use stateright::{Checker, HasDiscoveries, Model};

const ONE: usize = 0;
const OTHER: usize = 1;

fn readers(of: &[usize], row: usize) -> Vec<Reader> {
    of.iter().map(|process| Reader { process: *process, row }).collect()
}

fn writers(of: &[usize], purge: &Purge) -> Vec<Writer> {
    let writer = |process: &usize| Writer {
        process: *process,
        purge: purge.clone(),
    };
    of.iter().map(writer).collect()
}

fn broad(rows: impl IntoIterator<Item = usize>) -> Purge {
    Purge::Broad(BTreeSet::from_iter(rows))
}

/// Explores everything there is: nothing stale, and each of these happens.
fn holds(protocol: Protocol, happens: &[&'static str]) {
    let rules = protocol.rules;
    let checker = protocol.checker().spawn_bfs().join();
    println!("{rules:?} holds in all of {} states", checker.unique_state_count());
    checker.assert_no_discovery(NOTHING_STALE_STANDS);
    checker.assert_no_discovery(NOTHING_STALE_IS_ANSWERED);
    for name in happens {
        checker.assert_any_discovery(name);
    }
}

/// Two readers and two writers of one process and one row are enough to find what breaks.
fn breaks(rules: Rules, purge: &Purge, property: &'static str) {
    let protocol = Protocol {
        rules,
        rows: 1,
        readers: readers(&[ONE, ONE], 0),
        writers: writers(&[ONE, ONE], purge),
    };
    let stop = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let checker = protocol.checker().finish_when(stop).spawn_bfs().join();
    let path = checker.assert_any_discovery(property);
    println!("{rules:?} breaks: {:?}", path.into_actions());
}

#[test]
fn scoped_purges_of_two_origins_and_of_one_without_leases() {
    let mut protocol = Protocol {
        rules: Rules::AsSpecified,
        rows: 1,
        readers: readers(&[ONE, ONE, OTHER], 0),
        writers: writers(&[ONE], &Purge::Scoped(0)),
    };
    protocol.writers.extend(writers(&[OTHER], &Purge::Foreign(0)));
    holds(protocol, &[A_FILL_IS_STORED, A_FILL_COMES_TOO_LATE, A_READER_JOINS]);
}

#[test]
fn broad_purges_that_wait_for_each_other() {
    let protocol = Protocol {
        rules: Rules::AsSpecified,
        rows: 1,
        readers: readers(
            if cfg!(mizan_model) {
                &[ONE, ONE, OTHER]
            } else {
                &[ONE, OTHER]
            },
            0,
        ),
        writers: writers(&[ONE, ONE], &broad([0])),
    };
    holds(protocol, &[A_FILL_IS_STORED, A_FILL_COMES_TOO_LATE, A_PASS_SERVES_TWO]);
}

#[test]
fn broad_purges_of_two_processes_and_a_scoped_one() {
    let mut protocol = Protocol {
        rules: Rules::AsSpecified,
        rows: 1,
        readers: readers(if cfg!(mizan_model) { &[ONE, OTHER] } else { &[ONE] }, 0),
        writers: writers(&[ONE, OTHER], &broad([0])),
    };
    protocol.writers.extend(writers(&[ONE], &Purge::Scoped(0)));
    holds(protocol, &[A_FILL_IS_STORED, A_FILL_COMES_TOO_LATE]);
}

#[test]
fn broad_purges_of_two_contexts_share_passes() {
    let mut protocol = Protocol {
        rules: Rules::AsSpecified,
        rows: 2,
        readers: [readers(&[ONE], 0), readers(&[OTHER], 1)].concat(),
        writers: [writers(&[ONE], &broad([0])), writers(&[ONE], &broad([1]))].concat(),
    };
    if cfg!(mizan_model) {
        protocol.writers.extend(writers(&[ONE], &broad([0, 1])));
    }
    holds(protocol, &[A_FILL_IS_STORED, A_FILL_COMES_TOO_LATE, A_PASS_SERVES_TWO]);
}

#[test]
fn a_fill_without_a_lease_undoes_a_purge() {
    breaks(Rules::NoLeases, &Purge::Scoped(0), NOTHING_STALE_STANDS);
    breaks(Rules::NoLeases, &broad([0]), NOTHING_STALE_STANDS);
}

#[test]
fn one_token_per_process_lets_an_old_fill_pass_for_a_new_one() {
    breaks(Rules::OneTokenPerProcess, &Purge::Scoped(0), NOTHING_STALE_STANDS);
    breaks(Rules::OneTokenPerProcess, &broad([0]), NOTHING_STALE_STANDS);
}

#[test]
fn a_purge_can_fall_between_comparing_and_storing() {
    breaks(Rules::FillInTwoSteps, &Purge::Scoped(0), NOTHING_STALE_STANDS);
}

#[test]
fn who_joins_without_having_seen_the_lease_is_given_what_is_older_than_the_purge() {
    breaks(Rules::JoinWithoutTheLease, &Purge::Scoped(0), NOTHING_STALE_IS_ANSWERED);
    breaks(Rules::JoinWithoutTheLease, &broad([0]), NOTHING_STALE_IS_ANSWERED);
}

#[test]
fn the_pass_that_runs_has_been_where_the_next_purge_must_go() {
    breaks(Rules::JoinTheRunningPass, &broad([0]), NOTHING_STALE_STANDS);
}

/// Why the lease stands at the entry's own key: one scan is enough, and whoever deletes the entry revokes it.
#[test]
fn a_lease_beside_the_entry_takes_two_scans_in_the_right_order_and_does_not_go_with_the_entry() {
    breaks(Rules::LeaseBeside(Scans::One), &broad([0]), NOTHING_STALE_STANDS);
    breaks(
        Rules::LeaseBeside(Scans::ValuesThenLeases),
        &broad([0]),
        NOTHING_STALE_STANDS,
    );
    let in_the_right_order = Protocol {
        rules: Rules::LeaseBeside(Scans::LeasesThenValues),
        rows: 1,
        readers: readers(&[ONE, ONE], 0),
        writers: writers(&[ONE, ONE], &broad([0])),
    };
    holds(in_the_right_order, &[A_FILL_IS_STORED]);
    breaks(
        Rules::LeaseBeside(Scans::LeasesThenValues),
        &Purge::Foreign(0),
        NOTHING_STALE_STANDS,
    );
}
