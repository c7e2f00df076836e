//! How operations that have to wait end in JavaScript: each under the number that its promise is known by there.
//!
//! They begin together, when JavaScript says so: those of one turn wake the runtime's thread once, and what they send to
//! Redis goes out in one piece. They begin in the order in which they were called, over all turns: a purge that overtook
//! a value would leave it where it was to be deleted.
//!
//! Events of the caches that an environment opened reach it by the same way.
//!
//! Whatever finishes on the runtime's thread is put on a list, and the first entry of a list wakes JavaScript, which is
//! handed the whole list at once, with the events. The wake-up keeps the event loop alive only while operations are
//! under way. When the environment is torn down the wake-up goes first, under the lock it is called under: no thread
//! ever reaches for one that is gone, and what finishes later is dropped. That lock is not the list's, for which the
//! thread that was just woken would have to wait.

use std::{
    cell::RefCell,
    collections::VecDeque,
    ffi::c_void,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    ptr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed},
    },
};

use mizan_cache_core::{
    cache::Cache,
    error::Error,
    events::{Event, Observer},
    run_together::run_together,
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
    to_begin: RefCell<Operations>,
}

type Operations = Vec<Pin<Box<dyn Future<Output = ()> + Send>>>;

#[derive(Default)]
struct Shared {
    begun: Mutex<VecDeque<Operations>>,
    list: Mutex<List>,
    /// None before an operation had to wait, and once the environment is being torn down.
    wake_up: Mutex<Option<WakeUp>>,
    /// The wake-up as its own thread knows it; null before it is made.
    own_wake_up: AtomicPtr<sys::napi_threadsafe_function__>,
    /// Changed only on that thread.
    under_way: AtomicUsize,
}

#[derive(Default)]
struct List {
    finished: Vec<Finished>,
    untold: Untold,
}

struct Finished {
    number: f64,
    result: Result<Answer, Error>,
}

/// What wakes JavaScript, for other threads.
struct WakeUp(sys::napi_threadsafe_function);

// SAFETY: a thread-safe function may be called from any thread.
unsafe impl Send for WakeUp {}

impl Shared {
    fn lock_begun(&self) -> MutexGuard<'_, VecDeque<Operations>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_wake_up(&self) -> MutexGuard<'_, Option<WakeUp>> {
        self.wake_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the wake-up keeps the event loop alive.
    fn keep_alive(&self, env: Env<'_>, needed: bool) {
        let wake_up = self.own_wake_up.load(Relaxed);
        // SAFETY: having the `Env` means being on its thread, and the wake-up is not gone. Neither function can fail.
        unsafe {
            if needed {
                sys::napi_ref_threadsafe_function(env.raw(), wake_up);
            } else {
                sys::napi_unref_threadsafe_function(env.raw(), wake_up);
            }
        }
    }

    fn finish(&self, number: f64, result: Result<Answer, Error>) {
        self.add(|list| list.finished.push(Finished { number, result }));
    }

    /// Adds to the list, and wakes JavaScript if that has not been done.
    fn add(&self, add: impl FnOnce(&mut List)) {
        let wake_up = self.lock_wake_up();
        let Some(WakeUp(function)) = *wake_up else { return };
        let mut list = self.lock();
        let is_first = list.finished.is_empty() && list.untold.is_empty();
        add(&mut list);
        drop(list);
        if is_first {
            // SAFETY: the lock is held and the wake-up not gone, so Node still knows it. Its queue is unbounded, and
            // the only other failure, that it is closing, means that nobody waits any more.
            unsafe {
                sys::napi_call_threadsafe_function(
                    function,
                    ptr::null_mut(),
                    sys::ThreadsafeFunctionCallMode::nonblocking,
                );
            }
        }
    }
}

impl Observer for Shared {
    fn observe(&self, event: Event) {
        self.add(|list| list.untold.add(event));
    }
}

impl Completions {
    /// With the function that JavaScript settles promises by: it is given the numbers and values of those to resolve,
    /// in turns, the numbers and errors of those to reject, and the events if there are any.
    pub fn new(settle: Value<'_>) -> Outcome<Self> {
        Ok(Self {
            settle: settle.keep()?,
            shared: Arc::default(),
            to_begin: RefCell::default(),
        })
    }

    /// Tells JavaScript the events of a cache, for as long as its environment lives, which that does not prolong.
    pub fn observe(&self, env: Env<'_>, cache: &Cache) -> Outcome<()> {
        let observer: Arc<dyn Observer> = Arc::<Shared>::clone(&self.shared);
        if cache.observe(&observer) {
            self.make_wake_up(env)?;
        }
        Ok(())
    }

    /// Takes an operation, which runs from the next `begin` to its end, and then settles its promise.
    pub fn add(
        &self,
        env: Env<'_>,
        number: f64,
        operation: impl Future<Output = Result<Answer, Error>> + Send + 'static,
    ) -> Outcome<()> {
        self.make_wake_up(env)?;
        if self.shared.under_way.fetch_add(1, Relaxed) == 0 {
            self.shared.keep_alive(env, true);
        }
        let settlement = Settlement {
            number,
            shared: Arc::clone(&self.shared),
            result: None,
        };
        self.to_begin.borrow_mut().push(Box::pin(settlement.of(operation)));
        Ok(())
    }

    /// Begins the operations that were taken since the last time.
    pub fn begin(&self) {
        let operations = self.to_begin.take();
        if operations.is_empty() {
            return;
        }
        self.shared.lock_begun().push_back(operations);
        let shared = Arc::clone(&self.shared);
        runtime().spawn(async move {
            // Not those that this task was spawned for: the runtime may take a newer task first.
            let oldest = shared.lock_begun().pop_front();
            run_together(oldest.unwrap_or_default()).await;
        });
    }

    fn make_wake_up(&self, env: Env<'_>) -> Outcome<()> {
        if self.shared.own_wake_up.load(Relaxed).is_null() {
            let wake_up = make_wake_up(env, self.settle.value(env)?, &self.shared)?;
            self.shared.own_wake_up.store(wake_up, Relaxed);
            self.shared.keep_alive(env, false);
            *self.shared.lock_wake_up() = Some(WakeUp(wake_up));
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

fn make_wake_up(env: Env<'_>, settle: Value<'_>, shared: &Arc<Shared>) -> Outcome<sys::napi_threadsafe_function> {
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
    Ok(wake_up)
}

unsafe extern "C" fn tear_down(shared: *mut c_void) {
    // SAFETY: `make_wake_up` made this pointer of an `Arc` for this one call.
    let shared = unsafe { Arc::from_raw(shared.cast::<Shared>()) };
    *shared.lock_wake_up() = None;
    let list = mem::take(&mut *shared.lock());
    drop(list);
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
        let List { finished, untold } = mem::take(&mut *shared.lock());
        let ended = finished.len();
        if ended > 0 && shared.under_way.fetch_sub(ended, Relaxed) == ended {
            shared.keep_alive(env, false);
        }
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
