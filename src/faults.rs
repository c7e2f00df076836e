//! Faults on purpose, by which `npm run sanitize` sees that it would find real ones, and that a panic takes no promise and
//! no process with it. In no addon that is published.

use std::{hint::black_box, ptr, rc::Rc};

use mizan_cache_core::error::Error;

use crate::{
    Arguments,
    answer::Answer,
    completions::Completions,
    js::{Env, Outcome, Value},
};

/// The faults, as functions.
pub fn faults<'scope>(env: Env<'scope>, completions: &Rc<Completions>) -> Outcome<Value<'scope>> {
    let object = env.object()?;
    object.set(c"panicNow", env.function("panicNow", completions, panic_now)?)?;
    object.set(c"panicLater", env.function("panicLater", completions, panic_later)?)?;
    object.set(c"readFreed", env.function("readFreed", completions, read_freed)?)?;
    Ok(object)
}

fn panic_now<'scope>(_: Env<'scope>, _: &Rc<Completions>, _: Arguments<'scope>) -> Outcome<Value<'scope>> {
    panic!("on purpose")
}

fn panic_later<'scope>(
    env: Env<'scope>,
    completions: &Rc<Completions>,
    [number, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    completions.add(env, number.number()?, panic_in_a_task())?;
    env.undefined()
}

async fn panic_in_a_task() -> Result<Answer, Error> {
    tokio::task::yield_now().await;
    panic!("on purpose")
}

fn read_freed<'scope>(env: Env<'scope>, _: &Rc<Completions>, _: Arguments<'scope>) -> Outcome<Value<'scope>> {
    // Seen from outside while it is alive: otherwise the compiler need not allocate it at all.
    let freed: *const u8 = black_box(&raw const *Box::new(7));
    // SAFETY: none. This is the fault.
    env.count(unsafe { ptr::read_volatile(freed) }.into())
}
