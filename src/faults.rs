//! Faults on purpose, by which `npm run sanitize` sees that it would find real ones, and that a panic takes no promise and
//! no process with it. In no addon that is published.

use std::{hint::black_box, ptr, rc::Rc};

use crate::{
    Arguments,
    js::{Env, Outcome, Value},
};

/// The faults, as functions.
pub fn faults(env: Env<'_>) -> Outcome<Value<'_>> {
    let (object, nothing) = (env.object()?, Rc::new(()));
    object.define(c"panicNow", env.function("panicNow", &nothing, panic_now)?)?;
    object.define(c"readFreed", env.function("readFreed", &nothing, read_freed)?)?;
    Ok(object)
}

fn panic_now<'scope>(_: Env<'scope>, _: &Rc<()>, _: Arguments<'scope>) -> Outcome<Value<'scope>> {
    panic!("on purpose")
}

fn read_freed<'scope>(env: Env<'scope>, _: &Rc<()>, _: Arguments<'scope>) -> Outcome<Value<'scope>> {
    // Seen from outside while it is alive: otherwise the compiler need not allocate it at all.
    let freed: *const u8 = black_box(&raw const *Box::new(7));
    // SAFETY: none. This is the fault.
    env.count(unsafe { ptr::read_volatile(freed) }.into())
}
