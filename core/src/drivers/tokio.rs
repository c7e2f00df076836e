//! Drives an engine on tokio.
//!
//! One task per cache does everything: it reads its sockets, hands calls over, writes, and waits. A **turn** of it goes
//! over all of them once:
//! - It reads what has arrived, and gives it to the engine.
//! - It judges deadlines, if the turn before found one that is due.
//! - It submits the calls that were made until now, in their order.
//! - It writes what the engine wants sent.
//!
//! Between two turns of a busy task, other tasks have theirs, and the runtime looks at the sockets. So calls that are made
//! while others are in flight go to Redis together. A deadline is judged by the moment at which it was found due, after
//! all was read that had arrived by then: a program that was blocked for seconds sees no timeouts that Redis did not
//! cause.
//!
//! The task begins with the first call and ends when the cache is closed or its last clone dropped. It can also end with
//! its runtime: then whoever waits is answered as if Redis were gone, and the next call begins another.

mod socket;
mod tls;

use std::{
    collections::BTreeMap,
    future::{Future, poll_fn},
    mem,
    ops::Bound,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Instant,
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{unconstrained, yield_now},
    time::{Sleep, sleep},
};

pub use self::socket::AskForCredentials;
use self::{
    socket::{Connector, Input, Socket},
    tls::Tls,
};
use super::observers::{Observer, Observers};
use crate::{
    config::RedisConfig,
    engine::{Answer, Answers, ConnectionId, Effect, Engine, Moment, Operation, Ticket},
    error::{Error, ErrorCode},
    events::Reason,
    key::Digest,
    lease::Lookup,
    memory::Versioned,
    shared_cache::{Reply, SharedCache},
    stats::Circuit,
};

/// Bytes that one read takes.
const READ_BUFFER: usize = 64 * 1024;
/// Bytes that one socket may bring in a turn.
const READ_IN_A_TURN: usize = 1024 * 1024;
/// The same before deadlines are judged: more than a socket can hold that has arrived and was not read.
const READ_BEFORE_A_TICK: usize = 16 * 1024 * 1024;

/// The engine of a cache, and the task that drives it. Dropping it ends the task, once the engine has finished.
pub struct Driver {
    shared: Arc<Shared>,
}

struct Shared {
    cache: Arc<SharedCache>,
    connector: Arc<Connector>,
    observers: Observers,
    /// Never locked together with `core`.
    queue: Mutex<Queue>,
    /// Whether no more calls are taken. Set under the lock of the queue.
    is_closing: AtomicBool,
    core: Mutex<Core>,
}

/// What the task is to do.
#[derive(Default)]
struct Queue {
    calls: Vec<Call>,
    /// Who waits until the cache is closed.
    closers: Vec<oneshot::Sender<()>>,
    task: TaskState,
    /// Wakes the task, while it waits.
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum TaskState {
    /// There is none: nobody called yet, or its runtime ended.
    #[default]
    Absent,
    Running,
    /// The cache was closed.
    Over,
}

struct Call {
    operation: Operation,
    /// `None`: whoever called was told already that there is no answer.
    caller: Option<oneshot::Sender<Reply>>,
}

/// The engine, and who waits for its answers.
struct Core {
    engine: Engine,
    callers: Callers,
}

impl Core {
    fn new(cache: Arc<SharedCache>) -> Self {
        Self {
            engine: Engine::new(cache, Box::new(|bytes| getrandom::fill(bytes).is_ok())),
            callers: Callers::default(),
        }
    }
}

impl Driver {
    /// For a cache on Redis. Starts nothing yet.
    ///
    /// # Errors
    /// `Option`, for TLS that cannot be used.
    pub fn new(
        cache: Arc<SharedCache>,
        config: &RedisConfig,
        credentials: Option<AskForCredentials>,
    ) -> Result<Self, Error> {
        let connector = Connector {
            tls: Tls::new(&config.tls)?,
            credentials,
        };
        Ok(Self {
            shared: Arc::new(Shared {
                core: Mutex::new(Core::new(Arc::clone(&cache))),
                cache,
                connector: Arc::new(connector),
                observers: Observers::default(),
                queue: Mutex::default(),
                is_closing: AtomicBool::new(false),
            }),
        })
    }

    /// Queues a call. The future waits for its answer, which is `None` if the runtime ended before there was one.
    ///
    /// # Errors
    /// `Closed`.
    ///
    /// # Panics
    /// The future, if it is polled outside of a runtime while there is no task.
    pub fn call(&self, operation: Operation) -> impl Future<Output = Result<Option<Reply>, Error>> + Send + use<> {
        let (call, answer) = Call::new(operation);
        let task = self.shared.enqueue([call]);
        let shared = Arc::clone(&self.shared);
        async move {
            task.start();
            match answer.await {
                Ok(reply) => Ok(Some(reply)),
                Err(_) => shared.check_open().map(|()| None),
            }
        }
    }

    /// The same for many calls, which are submitted together; `None` if any of them has no answer.
    ///
    /// # Errors
    /// `Closed`.
    ///
    /// # Panics
    /// As [`call`](Self::call).
    pub fn call_many(
        &self,
        operations: Vec<Operation>,
    ) -> impl Future<Output = Result<Option<Vec<Reply>>, Error>> + Send + use<> {
        let (calls, answers): (Vec<_>, Vec<_>) = operations.into_iter().map(Call::new).unzip();
        let task = self.shared.enqueue(calls);
        let shared = Arc::clone(&self.shared);
        async move {
            task.start();
            let mut replies = Vec::with_capacity(answers.len());
            for answer in answers {
                match answer.await {
                    Ok(reply) => replies.push(reply),
                    Err(_) => return shared.check_open().map(|()| None),
                }
            }
            Ok(Some(replies))
        }
    }

    /// Whether no more calls are taken.
    pub fn is_closed(&self) -> bool {
        self.shared.is_closing.load(Relaxed)
    }

    /// Whether calls wait for the next turn: what is found meanwhile in this process would overtake them.
    pub fn has_queued_calls(&self) -> bool {
        !self.shared.queue().calls.is_empty()
    }

    /// The copy in this process of a value.
    pub fn peek(&self, digest: &Digest, context: &str) -> Option<Versioned> {
        let core = self.shared.core.lock().ok()?;
        core.engine.peek(digest, context, moment())
    }

    /// Whether Redis is asked at this moment.
    pub fn circuit(&self) -> Circuit {
        self.shared.core().engine.circuit()
    }

    /// Tells an observer of events from now on.
    pub fn observe(&self, observer: &Arc<dyn Observer>) {
        self.shared.observers.add(observer);
    }

    /// Takes no more calls, and waits until those in flight are answered and pending purges delivered, or the engine's
    /// bound for that is over.
    ///
    /// # Panics
    /// As [`call`](Self::call), if anything is left to do.
    pub fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        let is_idle = self.shared.core().engine.is_idle();
        let (closer, end) = oneshot::channel();
        let task = self.shared.close(closer, is_idle);
        async move {
            task.start();
            // An error: the task ended with its runtime.
            let _ = end.await;
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let waker = {
            let mut queue = self.shared.queue();
            self.shared.is_closing.store(true, Relaxed);
            queue.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Call {
    fn new(operation: Operation) -> (Self, oneshot::Receiver<Reply>) {
        let (caller, answer) = oneshot::channel();
        let caller = Some(caller);
        (Self { operation, caller }, answer)
    }

    fn is_purge(&self) -> bool {
        matches!(
            self.operation,
            Operation::Purge(_) | Operation::PurgeContext(_) | Operation::Clear
        )
    }
}

/// A task that has to be started where there is a runtime: by the first poll of the future that waits for it.
struct TaskToStart(Option<Arc<Shared>>);

impl TaskToStart {
    const RUNS: Self = Self(None);

    fn start(self) {
        if let Some(shared) = self.0 {
            shared.start(&Handle::current());
        }
    }
}

impl Shared {
    fn enqueue(self: &Arc<Self>, calls: impl IntoIterator<Item = Call>) -> TaskToStart {
        let mut queue = self.queue();
        if self.is_closing.load(Relaxed) {
            return TaskToStart::RUNS;
        }
        queue.calls.extend(calls);
        self.wake_or_start(queue)
    }

    fn close(self: &Arc<Self>, closer: oneshot::Sender<()>, is_idle: bool) -> TaskToStart {
        let mut queue = self.queue();
        self.is_closing.store(true, Relaxed);
        if queue.task == TaskState::Absent && is_idle && queue.calls.is_empty() {
            queue.task = TaskState::Over;
            self.cache.close();
        }
        if queue.task == TaskState::Over {
            return TaskToStart::RUNS;
        }
        queue.closers.push(closer);
        self.wake_or_start(queue)
    }

    fn wake_or_start(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) -> TaskToStart {
        let (waker, task) = (queue.waker.take(), queue.task);
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
        if task != TaskState::Absent {
            return TaskToStart::RUNS;
        }
        match Handle::try_current() {
            Ok(runtime) => {
                self.start(&runtime);
                TaskToStart::RUNS
            }
            Err(_) => TaskToStart(Some(Arc::clone(self))),
        }
    }

    /// Starts the task, unless it runs.
    fn start(self: &Arc<Self>, runtime: &Handle) {
        {
            let mut queue = self.queue();
            if queue.task != TaskState::Absent {
                return;
            }
            queue.task = TaskState::Running;
        }
        // A budget would end reads before everything is read that has arrived: turns have bounds of their own.
        runtime.spawn(unconstrained(Task::new(Arc::clone(self)).run()));
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.is_closing.load(Relaxed) {
            return Err(Error::new(ErrorCode::Closed, "the cache was closed"));
        }
        Ok(())
    }

    /// Lets the engine do something, and says what is to be done for it.
    fn drive(&self, act: impl FnOnce(&mut Engine, &mut Callers)) -> Vec<Effect> {
        let mut core = self.core();
        let Core { engine, callers } = &mut *core;
        act(engine, callers);
        engine.effects()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a panic of the engine, the next task makes another one.
    fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Those who wait for answers, by the number that the engine knows their calls by.
#[derive(Default)]
struct Callers {
    /// `None`: nobody waits, or the number is free.
    all: Vec<Option<oneshot::Sender<Reply>>>,
    free: Vec<Ticket>,
    is_closed: bool,
}

impl Callers {
    fn insert(&mut self, caller: Option<oneshot::Sender<Reply>>) -> Ticket {
        if let Some(ticket) = self.free.pop() {
            self.all[ticket as usize] = caller;
            return ticket;
        }
        self.all.push(caller);
        Ticket::try_from(self.all.len() - 1).expect("the engine bounds the calls in flight")
    }

    fn are_all_answered(&self) -> bool {
        self.free.len() == self.all.len()
    }

    /// Tells all who wait that there is no answer. Their numbers stay in use until the engine gives them back.
    fn dismiss(&mut self) {
        self.all.iter_mut().for_each(|caller| drop(caller.take()));
    }
}

impl Answers for Callers {
    fn answer(&mut self, ticket: Ticket, answer: Answer<'_>) {
        self.free.push(ticket);
        let caller = self.all.get_mut(ticket as usize).and_then(Option::take);
        let reply = match answer {
            Answer::Closed => {
                self.is_closed = true;
                return;
            }
            // Nobody waits: the value need not be copied.
            _ if caller.as_ref().is_none_or(oneshot::Sender::is_closed) => return,
            Answer::Value(value) => Reply::Value(value.map(Bytes::copy_from_slice)),
            Answer::Hit(value) => Reply::Lookup(Lookup::Hit(Bytes::copy_from_slice(value))),
            Answer::Leased(lease) => Reply::Lookup(Lookup::Leased(lease)),
            Answer::Held(lease) => Reply::Lookup(Lookup::Held(lease)),
            Answer::Miss => Reply::Lookup(Lookup::Miss),
            Answer::Stored(is_stored) => Reply::Stored(is_stored),
            Answer::Released(is_released) => Reply::Released(is_released),
            Answer::Purged(count) => Reply::Purged(count),
        };
        if let Some(caller) = caller {
            // `Err`: the caller dropped its receiver.
            let _ = caller.send(reply);
        }
    }
}

struct Task {
    shared: Arc<Shared>,
    sockets: BTreeMap<ConnectionId, Socket>,
    buffer: Box<[u8]>,
    /// Calls that are being submitted.
    calls: Vec<Call>,
    /// Whether there were calls in the turn before: by now whoever was about to make more has made them.
    has_gathered: bool,
    /// Whether a socket is to be polled that was opened in this turn.
    has_opened: bool,
    phase: Phase,
    wake_at: Option<Moment>,
    /// What wakes the task, and for when it is set.
    alarm: Option<(Moment, Pin<Box<Sleep>>)>,
    /// When a deadline was found due, in the turn before.
    due_since: Option<Moment>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// The engine was told to end.
    Closing,
    /// It has ended.
    Over,
}

enum Turn {
    /// There is more to do, once others had their turn.
    Busy,
    /// The cache was closed.
    Over,
}

impl Task {
    fn new(shared: Arc<Shared>) -> Self {
        if shared.core.is_poisoned() {
            *shared.core() = Core::new(Arc::clone(&shared.cache));
            shared.core.clear_poison();
        }
        Self {
            shared,
            sockets: BTreeMap::new(),
            buffer: vec![0; READ_BUFFER].into(),
            calls: Vec::new(),
            has_gathered: false,
            has_opened: false,
            phase: Phase::Open,
            // The task before may have left something that is due.
            wake_at: Some(moment()),
            alarm: None,
            due_since: None,
        }
    }

    async fn run(mut self) {
        loop {
            match poll_fn(|context| self.turn(context)).await {
                // Other tasks make their calls, and the runtime looks at the sockets.
                Turn::Busy => yield_now().await,
                Turn::Over => return,
            }
        }
    }

    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Turn> {
        self.has_opened = false;
        let due_since = self.due_since.take();
        let is_drained = match due_since {
            Some(due_since) => {
                self.read(context, due_since, READ_BEFORE_A_TICK);
                self.wake_at = None;
                self.drive(|engine, callers| engine.tick(due_since, callers));
                true
            }
            None => self.read(context, moment(), READ_IN_A_TURN),
        };
        let is_gathering = self.submit(context);
        self.write(context);
        if self.phase == Phase::Closing && self.shared.core().callers.is_closed {
            self.end();
            return Poll::Ready(Turn::Over);
        }
        let is_due = self.is_due(context);
        if is_due || is_gathering || self.has_opened || !is_drained {
            return Poll::Ready(Turn::Busy);
        }
        Poll::Pending
    }

    /// Hands over what has arrived. `false` if more may be there.
    fn read(&mut self, context: &mut Context<'_>, now: Moment, limit: usize) -> bool {
        let mut is_drained = true;
        let mut last = None;
        while let Some(connection) = self.socket_after(last) {
            is_drained &= self.read_socket(connection, context, now, limit);
            last = Some(connection);
        }
        is_drained
    }

    fn read_socket(
        &mut self,
        connection: ConnectionId,
        context: &mut Context<'_>,
        now: Moment,
        mut limit: usize,
    ) -> bool {
        // The engine may close the socket meanwhile.
        while let Some(socket) = self.sockets.get_mut(&connection) {
            let Poll::Ready(input) = socket.poll_input(context, &mut self.buffer) else {
                break;
            };
            match input {
                Input::Opened(credentials) => {
                    self.drive(|engine, callers| engine.opened(connection, credentials, now, callers));
                }
                Input::Bytes(count) => {
                    let arrived = &self.buffer[..count];
                    let received = self
                        .shared
                        .drive(|engine, callers| engine.received(connection, arrived, now, callers));
                    self.apply(received);
                    limit = limit.saturating_sub(count);
                    if limit == 0 {
                        return false;
                    }
                }
                Input::Failed(why) => self.lose(connection, why, now),
            }
        }
        true
    }

    /// Submits the calls that were made. While others are in flight, that is done in the turn after the first of them,
    /// for more to go with it: `true` if that is the next.
    fn submit(&mut self, context: &mut Context<'_>) -> bool {
        let is_gathered = self.has_gathered || self.shared.core().callers.are_all_answered();
        let is_closing = {
            let mut queue = self.shared.queue();
            let is_closing = self.phase == Phase::Open && self.shared.is_closing.load(Relaxed);
            if queue.calls.is_empty() && !is_closing {
                queue.waker = Some(context.waker().clone());
                return false;
            }
            self.has_gathered = !is_gathered;
            if !is_gathered {
                return true;
            }
            queue.waker = Some(context.waker().clone());
            mem::swap(&mut queue.calls, &mut self.calls);
            is_closing
        };
        let now = moment();
        let (calls, cache) = (&mut self.calls, &self.shared.cache);
        let effects = self.shared.drive(|engine, callers| {
            let submitted = calls.drain(..);
            let operations: Vec<_> = submitted
                .map(|call| (callers.insert(call.caller), call.operation))
                .collect();
            engine.submit(operations, now, callers);
            if is_closing {
                let ticket = callers.insert(None);
                engine.close(ticket, now, callers);
                // Not before: an engine that finds its cache closed leaves what is pending to others.
                cache.close();
            }
        });
        if is_closing {
            self.phase = Phase::Closing;
        }
        self.apply(effects);
        false
    }

    fn write(&mut self, context: &mut Context<'_>) {
        let mut last = None;
        while let Some(connection) = self.socket_after(last) {
            last = Some(connection);
            let socket = self.sockets.get_mut(&connection);
            if let Some(Err(why)) = socket.map(|socket| socket.poll_write(context)) {
                self.lose(connection, why, moment());
            }
        }
    }

    /// Whether the engine is to be called. Sets the alarm if not.
    fn is_due(&mut self, context: &mut Context<'_>) -> bool {
        let Some(wake_at) = self.wake_at else { return false };
        let now = moment();
        let Some(time) = wake_at.checked_sub(now).filter(|time| !time.is_zero()) else {
            self.due_since = Some(now);
            return true;
        };
        let alarm = match &mut self.alarm {
            Some((set_for, alarm)) => {
                if *set_for != wake_at {
                    alarm.as_mut().reset(tokio::time::Instant::now() + time);
                    *set_for = wake_at;
                }
                alarm
            }
            alarm => &mut alarm.insert((wake_at, Box::pin(sleep(time)))).1,
        };
        if alarm.as_mut().poll(context).is_ready() {
            // The runtime's clock is ahead of the system's, as that of a test may be.
            self.alarm = None;
            return true;
        }
        false
    }

    fn drive(&mut self, act: impl FnOnce(&mut Engine, &mut Callers)) {
        let effects = self.shared.drive(act);
        self.apply(effects);
    }

    fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Open { connection, address } => {
                    let socket = Socket::open(Arc::clone(&self.shared.connector), address);
                    self.sockets.insert(connection, socket);
                    self.has_opened = true;
                }
                Effect::Send { connection, bytes } => {
                    if let Some(socket) = self.sockets.get_mut(&connection) {
                        socket.send(bytes);
                    }
                }
                Effect::Close { connection } => drop(self.sockets.remove(&connection)),
                Effect::WakeAt(at) => self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at))),
                Effect::Event(event) => self.shared.observers.tell(&event),
            }
        }
    }

    fn lose(&mut self, connection: ConnectionId, why: Reason, now: Moment) {
        self.sockets.remove(&connection);
        self.drive(|engine, callers| engine.closed(connection, why, now, callers));
    }

    /// The next socket in the order of their numbers: others may come and go between two.
    fn socket_after(&self, last: Option<ConnectionId>) -> Option<ConnectionId> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut sockets = self.sockets.range((from, Bound::Unbounded));
        sockets.next().map(|(connection, _)| *connection)
    }

    fn end(&mut self) {
        self.phase = Phase::Over;
        let mut queue = self.shared.queue();
        queue.task = TaskState::Over;
        queue.calls.clear();
        for closer in queue.closers.drain(..) {
            let _ = closer.send(());
        }
    }
}

/// The runtime ends, or the engine panicked. Purges that were queued are submitted by the next task.
impl Drop for Task {
    fn drop(&mut self) {
        if self.phase == Phase::Over {
            return;
        }
        {
            let mut core = self.shared.core();
            let Core { engine, callers } = &mut *core;
            if !thread::panicking() {
                for connection in self.sockets.keys() {
                    engine.closed(*connection, Reason::Broken, moment(), callers);
                }
            }
            callers.dismiss();
        }
        let mut queue = self.shared.queue();
        queue.task = TaskState::Absent;
        queue.waker = None;
        queue.closers.clear();
        queue.calls.append(&mut self.calls);
        queue.calls.retain_mut(|call| {
            call.caller = None;
            call.is_purge()
        });
    }
}

/// The time of the process, the same for all caches.
fn moment() -> Moment {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}
