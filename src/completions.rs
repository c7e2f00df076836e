//! How operations that have to wait end in JavaScript: each under the number that its promise is known by there.
//!
//! Events of the caches that an environment opened reach it by the same way.
//!
//! Whatever finishes on the runtime's thread is put on a list, and the first entry of a list wakes JavaScript, which is
//! handed the whole list at once, with the events. The wake-up keeps the event loop alive only while operations are
//! under way. When the environment is torn down the wake-up goes first, under the lock it is called under: no thread
//! ever reaches for one that is gone, and what finishes later is dropped.

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mizan_cache_core::{
    cache::Cache,
    error::Error,
    events::{Event, Observer},
};
use napi::sys;

use crate::{
    answer::Answer,
    events::Untold,
    js::{Env, Failure, Kept, Outcome, Value, guard, internal},
    runtime::runtime,
};

/// The operations of one environment that are under way.
pub struct Completions {
    settle: Kept,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    under_way: usize,
    finished: Vec<Finished>,
    untold: Untold,
    wake_up: WakeUp,
}

struct Finished {
    number: f64,
    result: Result<Answer, Error>,
}

#[derive(Default)]
enum WakeUp {
    /// No operation had to wait yet.
    #[default]
    Unmade,
    Made(sys::napi_threadsafe_function),
    /// The environment is being torn down.
    Gone,
}

// SAFETY: a thread-safe function may be called from any thread; it is made, referenced and unreferenced only by
// functions that are given the `Env`, and so on its own thread.
unsafe impl Send for WakeUp {}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, number: f64, result: Result<Answer, Error>) {
        self.add(|state| state.finished.push(Finished { number, result }));
    }

    /// Adds to the list, and wakes JavaScript if that has not been done.
    fn add(&self, add: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        let WakeUp::Made(wake_up) = state.wake_up else { return };
        let is_first = state.finished.is_empty() && state.untold.is_empty();
        add(&mut state);
        if is_first {
            // SAFETY: the lock is held and the wake-up not gone, so Node still knows it. Its queue is unbounded, and
            // the only other failure, that it is closing, means that nobody waits any more.
            unsafe {
                sys::napi_call_threadsafe_function(
                    wake_up,
                    ptr::null_mut(),
                    sys::ThreadsafeFunctionCallMode::nonblocking,
                );
            }
        }
    }
}

impl Observer for Shared {
    fn observe(&self, event: Event) {
        self.add(|state| state.untold.add(event));
    }
}

impl Completions {
    /// With the function that JavaScript settles promises by: it is given the numbers and values of those to resolve,
    /// in turns, the numbers and errors of those to reject, and the events if there are any.
    pub fn new(settle: Value<'_>) -> Outcome<Self> {
        Ok(Self {
            settle: settle.keep()?,
            shared: Arc::default(),
        })
    }

    /// Tells JavaScript the events of a cache, for as long as its environment lives, which that does not prolong.
    pub fn observe(&self, env: Env<'_>, cache: &Cache) -> Outcome<()> {
        let observer: Arc<dyn Observer> = Arc::<Shared>::clone(&self.shared);
        if cache.observe(&observer) {
            let mut state = self.shared.lock();
            self.make_wake_up(env, &mut state)?;
        }
        Ok(())
    }

    /// Runs an operation to its end, and then settles its promise.
    pub fn start(
        &self,
        env: Env<'_>,
        number: f64,
        operation: impl Future<Output = Result<Answer, Error>> + Send + 'static,
    ) -> Outcome<()> {
        let mut state = self.shared.lock();
        self.make_wake_up(env, &mut state)?;
        state.under_way += 1;
        keep_alive(env, &state, true);
        drop(state);
        let settlement = Settlement {
            number,
            shared: Arc::clone(&self.shared),
            result: None,
        };
        runtime().spawn(settlement.of(operation));
        Ok(())
    }

    fn make_wake_up(&self, env: Env<'_>, state: &mut State) -> Outcome<()> {
        if matches!(state.wake_up, WakeUp::Unmade) {
            state.wake_up = make_wake_up(env, self.settle.value(env)?, &self.shared)?;
            keep_alive(env, state, false);
        }
        Ok(())
    }
}

/// Settles a promise when it is dropped, which happens also when the operation panics.
struct Settlement {
    number: f64,
    shared: Arc<Shared>,
    result: Option<Result<Answer, Error>>,
}

impl Settlement {
    async fn of(mut self, operation: impl Future<Output = Result<Answer, Error>>) {
        self.result = Some(operation.await);
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        let result = self.result.take().unwrap_or_else(|| Err(internal("a panic")));
        self.shared.finish(self.number, result);
    }
}

fn keep_alive(env: Env<'_>, state: &State, needed: bool) {
    let WakeUp::Made(wake_up) = state.wake_up else { return };
    // SAFETY: having the `Env` means being on its thread, and the wake-up is not gone. Neither function can fail.
    unsafe {
        if needed {
            sys::napi_ref_threadsafe_function(env.raw(), wake_up);
        } else {
            sys::napi_unref_threadsafe_function(env.raw(), wake_up);
        }
    }
}

fn make_wake_up(env: Env<'_>, settle: Value<'_>, shared: &Arc<Shared>) -> Outcome<WakeUp> {
    let name = env.string("mizan-cache")?;
    let mut wake_up = ptr::null_mut();
    let context = Arc::into_raw(Arc::clone(shared)).cast_mut().cast::<c_void>();
    // SAFETY: all values are of the callback that is running. `deliver` and `release` are given a count of the `Arc`,
    // which `release` gives back when the function is gone.
    let status = unsafe {
        sys::napi_create_threadsafe_function(
            env.raw(),
            settle.raw(),
            ptr::null_mut(),
            name.raw(),
            0,
            1,
            context,
            Some(release),
            context,
            Some(deliver),
            &raw mut wake_up,
        )
    };
    if status != sys::Status::napi_ok {
        return Err(internal("no wake-up can be made").into());
    }
    // Hooks run in the reverse order of their adding: this one before Node closes the function.
    let hook_data = Arc::into_raw(Arc::clone(shared)).cast_mut().cast::<c_void>();
    // SAFETY: the hook is given a count of the `Arc`, which it gives back; Node calls it once, on this thread.
    unsafe { sys::napi_add_env_cleanup_hook(env.raw(), Some(tear_down), hook_data) };
    Ok(WakeUp::Made(wake_up))
}

unsafe extern "C" fn tear_down(shared: *mut c_void) {
    // SAFETY: `make_wake_up` made this pointer of an `Arc` for this one call.
    let shared = unsafe { Arc::from_raw(shared.cast::<Shared>()) };
    let mut state = shared.lock();
    state.wake_up = WakeUp::Gone;
    let finished = std::mem::take(&mut state.finished);
    drop(state);
    drop(finished);
}

unsafe extern "C" fn release(_: sys::napi_env, shared: *mut c_void, _: *mut c_void) {
    // SAFETY: `make_wake_up` made this pointer of an `Arc` for this one call.
    let shared = unsafe { Arc::from_raw(shared.cast::<Shared>()) };
    // Nobody can be told of a panic in a destructor; but it must not unwind into Node.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(shared)));
}

unsafe extern "C" fn deliver(raw_env: sys::napi_env, settle: sys::napi_value, shared: *mut c_void, _: *mut c_void) {
    if raw_env.is_null() {
        // The environment is being torn down, and its JavaScript does not run any more.
        return;
    }
    // SAFETY: this is the callback's own environment, `settle` is a value of it, and `guard` ends before it does. The
    // count of the `Arc` that `release` gives back keeps `shared` alive.
    let (env, shared) = unsafe { (Env::from_raw(raw_env), &*shared.cast::<Shared>()) };
    guard(env, || {
        // SAFETY: as above.
        let settle = unsafe { env.value(settle) };
        let (finished, untold) = {
            let mut state = shared.lock();
            let finished = std::mem::take(&mut state.finished);
            state.under_way -= finished.len();
            keep_alive(env, &state, state.under_way > 0);
            (finished, std::mem::take(&mut state.untold))
        };
        let (mut resolved, mut rejected) = (Vec::with_capacity(finished.len() * 2), Vec::new());
        for Finished { number, result } in finished {
            let number = env.number(number)?;
            match result.map_err(Failure::from).and_then(|answer| answer.into_value(env)) {
                Ok(value) => resolved.extend([number, value]),
                Err(failure) => rejected.extend([number, env.error(&failure.into_error(env))?]),
            }
        }
        let events = if untold.is_empty() {
            env.undefined()?
        } else {
            untold.into_value(env)?
        };
        let arguments = [env.array(&resolved)?, env.array(&rejected)?, events];
        settle.call(env.undefined()?, &arguments)
    });
}
