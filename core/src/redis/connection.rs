//! One link to Redis, and the task that makes it, watches it and replaces it.
//!
//! Every call has a deadline that holds from call to answer, also once its command is written. A call that finds no
//! link returns at once; only the very first connection is waited for, within the deadline. Three calls in a row
//! that Redis leaves unanswered open the circuit: the link is dropped, and calls return at once until a new one
//! stands. Nothing here depends on calls being made: the task reconnects by itself.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use ::redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    attempts::connect,
    topology::{Link, Servers, pause_before_reconnecting},
};
use crate::stats::{Circuit, Counters};

/// How many calls in a row must go unanswered to open the circuit.
const FAILURES_TO_OPEN: u32 = 3;
/// A link that lived this long was a good one; one that broke sooner counts as a failed attempt.
const SETTLED: Duration = Duration::from_secs(1);

/// Why a call has no result.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is no link.
    Unavailable,
    /// The deadline passed.
    TimedOut,
    /// Redis answered with an error.
    Refused(RedisError),
    /// The link broke.
    Broken,
}

pub(super) struct Connection {
    servers: Servers,
    command_timeout: Duration,
    connect_timeout: Duration,
    state: watch::Sender<State>,
    /// The newest link that was found broken; the task drops the link when it is this one.
    broken: watch::Sender<u64>,
    started: AtomicBool,
    unanswered: AtomicU32,
    counters: Arc<Counters>,
    /// Called before a link other than the first is used: it may lead to another server.
    before_next_link: Box<dyn Fn() + Send + Sync>,
}

#[derive(Clone)]
enum State {
    Idle,
    Connecting,
    Up(NumberedLink),
    Down,
    Closed,
}

/// A link with a number of its own, so that what is said of an older link does not touch it.
#[derive(Clone)]
pub(super) struct NumberedLink {
    link: Link,
    number: u64,
    since: Instant,
}

impl NumberedLink {
    pub fn is_cluster(&self) -> bool {
        matches!(self.link, Link::Cluster(_))
    }

    /// The link itself, whose calls have no deadline and open no circuit.
    pub fn link(&self) -> Link {
        self.link.clone()
    }
}

impl Connection {
    pub fn new(
        servers: Servers,
        command_timeout: Duration,
        connect_timeout: Duration,
        counters: Arc<Counters>,
        before_next_link: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            servers,
            command_timeout,
            connect_timeout,
            state: watch::Sender::new(State::Idle),
            broken: watch::Sender::new(0),
            started: AtomicBool::new(false),
            unanswered: AtomicU32::new(0),
            counters,
            before_next_link,
        }
    }

    pub fn circuit(&self) -> Circuit {
        match *self.state.borrow() {
            State::Idle => Circuit::Idle,
            State::Connecting => Circuit::Connecting,
            State::Up(_) => Circuit::Closed,
            State::Down | State::Closed => Circuit::Open,
        }
    }

    /// Starts the task if it does not run yet; says whether it was this call that did.
    pub fn start(self: &Arc<Self>) -> bool {
        if self.started.load(Relaxed) || self.started.swap(true, Relaxed) {
            return false;
        }
        // A connection that was closed before its first use stays closed.
        self.state.send_if_modified(|state| {
            let idle = matches!(state, State::Idle);
            if idle {
                *state = State::Connecting;
            }
            idle
        });
        tokio::spawn(Arc::clone(self).keep_connected());
        true
    }

    pub fn is_closed(&self) -> bool {
        matches!(*self.state.borrow(), State::Closed)
    }

    /// Ends the task and drops the link.
    pub fn close(&self) {
        self.state.send_replace(State::Closed);
    }

    /// Resolves when there is a link, or false once the connection is closed.
    pub async fn connected(&self) -> bool {
        let mut state = self.state.subscribe();
        let state = state
            .wait_for(|state| matches!(state, State::Up(_) | State::Closed))
            .await;
        state.is_ok_and(|state| matches!(*state, State::Up(_)))
    }

    /// Resolves when the connection is closed.
    pub async fn closed(&self) {
        // An error would mean that the sender is gone, and with it this connection.
        let _ = self
            .state
            .subscribe()
            .wait_for(|state| matches!(state, State::Closed))
            .await;
    }

    /// Runs one command within the deadline.
    pub async fn run<T, F>(&self, command: impl FnOnce(Link) -> F) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let deadline = Instant::now() + self.command_timeout;
        let link = self.link(deadline).await?;
        self.run_until(deadline, &link, command).await
    }

    /// Runs one command within the deadline, on this very link.
    pub async fn run_on<T, F>(&self, link: &NumberedLink, command: impl FnOnce(Link) -> F) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.run_until(Instant::now() + self.command_timeout, link, command)
            .await
    }

    /// The link of this moment.
    pub async fn current_link(&self) -> Result<NumberedLink, Failure> {
        self.link(Instant::now() + self.command_timeout).await
    }

    async fn link(&self, deadline: Instant) -> Result<NumberedLink, Failure> {
        match &*self.state.borrow() {
            State::Up(link) => return Ok(link.clone()),
            State::Down | State::Closed => return Err(Failure::Unavailable),
            State::Idle | State::Connecting => {}
        }
        let mut state = self.state.subscribe();
        let settled = state.wait_for(|state| !matches!(state, State::Idle | State::Connecting));
        match timeout_at(deadline, settled).await {
            Ok(Ok(state)) => match &*state {
                State::Up(link) => Ok(link.clone()),
                _ => Err(Failure::Unavailable),
            },
            Ok(Err(_)) => Err(Failure::Unavailable),
            Err(_) => {
                self.counters.timeouts.increment();
                Err(Failure::TimedOut)
            }
        }
    }

    async fn run_until<T, F>(
        &self,
        deadline: Instant,
        link: &NumberedLink,
        command: impl FnOnce(Link) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let result = timeout_at(deadline, command(link.link.clone())).await;
        match result {
            Ok(Ok(answer)) => {
                self.unanswered.store(0, Relaxed);
                Ok(answer)
            }
            Ok(Err(error)) if is_answer(&error) => {
                self.unanswered.store(0, Relaxed);
                if no_longer_primary(&error) && link.since.elapsed() > SETTLED {
                    self.replace(link.number);
                }
                Err(Failure::Refused(error))
            }
            // A cluster's link mends the one node that failed by itself.
            Ok(Err(_)) => {
                match link.link {
                    Link::Single(_) => self.replace(link.number),
                    Link::Cluster(_) => self.count_unanswered(link.number),
                }
                Err(Failure::Broken)
            }
            Err(_) => {
                self.counters.timeouts.increment();
                self.count_unanswered(link.number);
                Err(Failure::TimedOut)
            }
        }
    }

    fn count_unanswered(&self, number: u64) {
        if self.unanswered.fetch_add(1, Relaxed) + 1 >= FAILURES_TO_OPEN {
            self.replace(number);
        }
    }

    fn replace(&self, number: u64) {
        self.broken.send_if_modified(|broken| {
            let newer = number > *broken;
            *broken = number.max(*broken);
            newer
        });
    }

    async fn keep_connected(self: Arc<Self>) {
        tokio::select! {
            () = self.connect_again_and_again() => {}
            () = self.closed() => {}
        }
    }

    async fn connect_again_and_again(&self) {
        let mut failures: u32 = 0;
        let mut broken = self.broken.subscribe();
        for number in 1.. {
            let attempts = connect(&self.servers, failures as usize);
            if let Ok(Some((link, lost))) = timeout(self.connect_timeout, attempts).await {
                let since = Instant::now();
                self.unanswered.store(0, Relaxed);
                if self.counters.connections.get() > 0 {
                    (self.before_next_link)();
                }
                self.counters.connections.increment();
                self.enter(State::Up(NumberedLink { link, number, since }));
                tokio::select! {
                    () = lost.notified() => {}
                    _ = broken.wait_for(|broken| *broken >= number) => {}
                }
                if since.elapsed() > SETTLED {
                    failures = 0;
                    self.enter(State::Down);
                    continue;
                }
            }
            self.enter(State::Down);
            failures += 1;
            sleep(pause_before_reconnecting(failures)).await;
        }
    }

    /// Closed is final.
    fn enter(&self, next: State) {
        self.state.send_if_modified(|state| {
            let open = !matches!(state, State::Closed);
            if open {
                *state = next;
            }
            open
        });
    }
}

/// Whether Redis itself said this, and so is there.
fn is_answer(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::UnexpectedReturnType
    )
}

/// Whether the server has become a replica: another one, at the same name, is the primary now.
fn no_longer_primary(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    )
}
