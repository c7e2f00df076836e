//! The engine in a simulated world: servers, network, clocks and applications from one seed, against every fault.
//!
//! `npm run simulate -- --steps N --seed S` runs it; see `docs/simulation.md`.

#![allow(
    dead_code,
    clippy::format_push_string,
    clippy::match_same_arms,
    clippy::needless_pass_by_value,
    clippy::range_plus_one,
    clippy::semicolon_if_nothing_returned,
    clippy::similar_names,
    clippy::single_match_else,
    clippy::struct_excessive_bools,
    clippy::too_many_lines,
    clippy::unnecessary_wraps,
    reason = "The world is still being written"
)]

mod application;
mod clock;
mod faults;
mod invariants;
mod network;
mod random;
mod server;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::{Plan, Report, World};

fn run(plan: Plan) -> Report {
    let outcome = catch_unwind(AssertUnwindSafe(|| World::new(plan).run()));
    outcome.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Report {
            failure: Some(format!("panic: {}", text.unwrap_or_default())),
            ..Report::default()
        }
    })
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let first = number("--seed", 1);
    let steps = number("--steps", 100_000);
    let each = number("--each", 500);
    let traces = arguments.iter().any(|argument| argument == "--trace");
    let began = std::time::Instant::now();
    let (mut done, mut seed, mut failures) = (0, first, 0);
    let mut coverage = std::collections::BTreeMap::new();
    while done < steps {
        let report = run(Plan {
            seed,
            steps: each,
            traces,
            ..Plan::default()
        });
        done += report.steps.max(1);
        if let Some(failure) = &report.failure {
            failures += 1;
            for line in &report.trace {
                println!("{line}");
            }
            println!("seed {seed} fails after {} steps: {failure}", report.failed_at);
            if failures > 10 {
                break;
            }
        }
        for (what, count) in report.coverage {
            *coverage.entry(what).or_insert(0) += count;
        }
        seed += 1;
    }
    for (what, count) in coverage {
        println!("{count:>9}  {what}");
    }
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let speed = done as f64 / began.elapsed().as_secs_f64();
    println!("{done} steps, {} seeds, {speed:.0} steps per second", seed - first);
    if failures > 0 {
        std::process::exit(1);
    }
}
