//! One link to Redis, and the task that makes it, watches it and replaces it; where large values are read, together
//! with a second one for these.
//!
//! Every call has a deadline that holds from call to answer, also once its command is written. A call that finds no
//! link returns at once; only the very first connection is waited for, within the deadline. Three calls in a row
//! that Redis leaves unanswered open the circuit: the link is dropped, and calls return at once until a new one
//! stands. Nothing here depends on calls being made: the task reconnects by itself.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ::redis::{ErrorKind, RedisError, RedisResult, ServerErrorKind, cmd};
use tokio::{
    sync::{Mutex, Notify, watch},
    time::{Instant, error::Elapsed, sleep, timeout, timeout_at},
};

use super::{
    attempts::connect,
    large_link::LargeLink,
    local_tier::LocalTier,
    topology::{Link, Servers, pause_before_reconnecting},
};
use crate::{
    events::{ConnectionEvent, Event, Observers, Reason},
    expected_size::ExpectedSize,
    stats::{Circuit, Counters},
};

/// How many calls in a row must go unanswered to open the circuit.
const FAILURES_TO_OPEN: u32 = 3;
/// A link that lived this long was a good one; one that broke sooner counts as a failed attempt.
const SETTLED: Duration = Duration::from_secs(1);
/// How often the link is asked whether it lives, for copies in this process to be trusted.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Why a call has no result.
#[derive(Clone, Copy, Debug)]
pub(super) enum Failure {
    /// There is no link.
    Unavailable,
    /// The deadline passed.
    TimedOut,
    /// Redis answered with an error.
    Refused,
    /// The link broke.
    Broken,
    /// As many calls were under way as may be.
    Overload,
}

impl Failure {
    /// As observers are told it; nothing where Redis could not be asked, of which they know.
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Unavailable => None,
            Self::TimedOut => Some(Reason::Timeout),
            Self::Refused => Some(Reason::Refused),
            Self::Broken => Some(Reason::Broken),
            Self::Overload => Some(Reason::Overload),
        }
    }
}

pub(super) struct Connection {
    servers: Servers,
    command_timeout: Duration,
    connect_timeout: Duration,
    state: watch::Sender<State>,
    /// Held by whoever takes the link, so that those who wait for the first one go on in the order of their calls, and
    /// nobody goes before them.
    turn: Mutex<()>,
    /// The newest link that was found broken; the task drops the link when it is this one.
    broken: watch::Sender<u64>,
    started: AtomicBool,
    unanswered: AtomicU32,
    /// When a call was last answered, in nanoseconds since `made`.
    answered: AtomicU64,
    made: Instant,
    counters: Arc<Counters>,
    observers: Arc<Observers>,
    local: Option<Arc<LocalTier>>,
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

impl State {
    fn circuit(&self) -> Circuit {
        match self {
            Self::Idle => Circuit::Idle,
            Self::Connecting => Circuit::Connecting,
            Self::Up(_) => Circuit::Closed,
            Self::Down | Self::Closed => Circuit::Open,
        }
    }

    /// The link, or that there is none; nothing while the first one is still to come.
    fn link(&self) -> Option<Result<NumberedLink, Failure>> {
        match self {
            Self::Idle | Self::Connecting => None,
            Self::Up(link) => Some(Ok(link.clone())),
            Self::Down | Self::Closed => Some(Err(Failure::Unavailable)),
        }
    }
}

/// A link with a number of its own, so that what is said of an older link does not touch it.
#[derive(Clone)]
pub(super) struct NumberedLink {
    link: Link,
    large: Arc<LargeLink>,
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

    /// The link to read a value by.
    fn for_value(&self, size: ExpectedSize) -> Link {
        let large = match size {
            ExpectedSize::Unknown => None,
            ExpectedSize::Large => self.large.want(),
        };
        large.unwrap_or(&self.link).clone()
    }
}

impl Connection {
    pub fn new(
        servers: Servers,
        command_timeout: Duration,
        connect_timeout: Duration,
        counters: Arc<Counters>,
        observers: Arc<Observers>,
        local: Option<Arc<LocalTier>>,
        before_next_link: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            servers,
            command_timeout,
            connect_timeout,
            state: watch::Sender::new(State::Idle),
            turn: Mutex::default(),
            broken: watch::Sender::new(0),
            started: AtomicBool::new(false),
            unanswered: AtomicU32::new(0),
            answered: AtomicU64::new(0),
            made: Instant::now(),
            counters,
            observers,
            local,
            before_next_link,
        }
    }

    pub fn is_cluster(&self) -> bool {
        matches!(self.servers, Servers::Cluster(_))
    }

    /// How many of so many keys one command may have: a cluster's are in slots of their own, and one that fails need not
    /// take others along.
    pub fn keys_together(&self, keys: usize) -> usize {
        if self.is_cluster() { 1 } else { keys }
    }

    pub fn circuit(&self) -> Circuit {
        self.state.borrow().circuit()
    }

    /// Starts the task if it does not run yet; says whether it was this call that did.
    pub fn start(self: &Arc<Self>) -> bool {
        if self.started.load(Relaxed) || self.started.swap(true, Relaxed) {
            return false;
        }
        // A connection that was closed before its first use stays closed.
        self.enter(State::Connecting);
        tokio::spawn(Arc::clone(self).keep_connected());
        true
    }

    pub fn is_closed(&self) -> bool {
        matches!(*self.state.borrow(), State::Closed)
    }

    /// Ends the task and drops the link. Says whether it was this call that did.
    pub fn close(&self) -> bool {
        let last = self.state.send_replace(State::Closed);
        self.distrust();
        if matches!(last, State::Up(_)) {
            self.observers.tell(Event::Connection(ConnectionEvent::Closed));
        }
        !matches!(last, State::Closed)
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

    /// How long a call with this deadline has taken.
    pub fn took(&self, deadline: Instant) -> Duration {
        self.deadline().saturating_duration_since(deadline)
    }

    /// The deadline of a call that begins now.
    pub fn deadline(&self) -> Instant {
        Instant::now() + self.command_timeout
    }

    /// Runs one command within the deadline of a call that begins now.
    pub async fn run<T, F>(&self, command: impl FnOnce(Link) -> F) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.run_by(self.deadline(), command).await
    }

    /// Runs one command within a deadline.
    pub async fn run_by<T, F>(&self, deadline: Instant, command: impl FnOnce(Link) -> F) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.read_by(deadline, ExpectedSize::Unknown, command).await
    }

    /// Runs a command that reads a value, within a deadline.
    pub async fn read_by<T, F>(
        &self,
        deadline: Instant,
        size: ExpectedSize,
        command: impl FnOnce(Link) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let link = self.link(deadline).await?;
        self.run_until(deadline, &link, link.for_value(size), command).await
    }

    /// Runs one command within the deadline, on this very link.
    pub async fn run_on<T, F>(&self, link: &NumberedLink, command: impl FnOnce(Link) -> F) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.run_until(self.deadline(), link, link.link(), command).await
    }

    /// The link of this moment.
    pub async fn current_link(&self) -> Result<NumberedLink, Failure> {
        self.link(self.deadline()).await
    }

    /// The link of this moment, or the first one once it stands.
    async fn link(&self, deadline: Instant) -> Result<NumberedLink, Failure> {
        if let Ok(_turn) = self.turn.try_lock()
            && let Some(link) = self.state.borrow().link()
        {
            return link;
        }
        let in_turn = async {
            let _turn = self.turn.lock().await;
            let mut state = self.state.subscribe();
            let settled = state.wait_for(|state| state.link().is_some()).await;
            settled.map_or(Err(Failure::Unavailable), |state| {
                state.link().unwrap_or(Err(Failure::Unavailable))
            })
        };
        timeout_at(deadline, in_turn).await.unwrap_or_else(|_| {
            self.counters.timeouts.increment();
            Err(Failure::TimedOut)
        })
    }

    async fn run_until<T, F>(
        &self,
        deadline: Instant,
        link: &NumberedLink,
        by: Link,
        command: impl FnOnce(Link) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let result = timeout_at(deadline, command(by)).await;
        match result {
            Ok(Ok(answer)) => {
                self.count_answer();
                Ok(answer)
            }
            Ok(Err(error)) if is_answer(&error) => {
                self.count_answer();
                if no_longer_primary(&error) && link.since.elapsed() > SETTLED {
                    self.replace(link);
                }
                Err(Failure::Refused)
            }
            // A cluster's link mends the one node that failed by itself.
            Ok(Err(_)) => {
                match link.link {
                    Link::Single(_) => self.replace(link),
                    Link::Cluster(_) => self.count_unanswered(link),
                }
                Err(Failure::Broken)
            }
            Err(_) => {
                self.counters.timeouts.increment();
                self.count_unanswered(link);
                Err(Failure::TimedOut)
            }
        }
    }

    fn count_answer(&self) {
        self.answered.store(self.nanoseconds_since_made(), Relaxed);
        self.unanswered.store(0, Relaxed);
    }

    /// Of a cluster a call counts only if none was answered for as long as a command may take: calls on a node that is
    /// gone break together, before those on the others are answered.
    fn count_unanswered(&self, link: &NumberedLink) {
        let silence = self
            .nanoseconds_since_made()
            .saturating_sub(self.answered.load(Relaxed));
        if link.is_cluster() && Duration::from_nanos(silence) < self.command_timeout {
            return;
        }
        if self.unanswered.fetch_add(1, Relaxed) + 1 >= FAILURES_TO_OPEN {
            self.replace(link);
        }
    }

    fn nanoseconds_since_made(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Has this link replaced, unless it was already.
    pub fn replace(&self, &NumberedLink { number, .. }: &NumberedLink) {
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
        let mut told = None;
        let mut broken = self.broken.subscribe();
        for number in 1.. {
            let attempt = timeout(self.connect_timeout, self.connect(failures)).await;
            let failed = reason_of(&attempt);
            if let Some(reason) = failed
                && told != failed
            {
                self.observers.tell(Event::Connection(ConnectionEvent::Failed(reason)));
            }
            told = failed;
            if let Ok(Ok((link, lost, is_tracked))) = attempt {
                let since = Instant::now();
                self.count_answer();
                if self.counters.connections.get() > 0 {
                    (self.before_next_link)();
                }
                self.counters.connections.increment();
                let large = Arc::default();
                let link = NumberedLink {
                    link,
                    large,
                    number,
                    since,
                };
                self.observers.tell(Event::Connection(ConnectionEvent::Made));
                self.enter(State::Up(link.clone()));
                tokio::select! {
                    () = lost.notified() => {}
                    _ = broken.wait_for(|broken| *broken >= number) => {}
                    () = self.beat(&link), if is_tracked => {}
                    () = self.serve_large(&link.large, is_tracked) => {}
                }
                self.distrust();
                self.observers.tell(Event::Connection(ConnectionEvent::Lost));
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

    /// A link, what is notified when it is lost, and whether Redis tracks what is read on it.
    async fn connect(&self, failures: u32) -> RedisResult<(Link, Arc<Notify>, bool)> {
        let (link, lost) = connect(&self.servers, failures as usize, self.local.as_ref()).await?;
        let Some(local) = &self.local else {
            return Ok((link, lost, false));
        };
        let sent = Instant::now().into_std();
        let mut command = cmd("CLIENT");
        // A user who may not have this, or a server that does not know it, is one without copies.
        let tracked = command.arg("TRACKING").arg("ON").exec_async(&mut link.clone()).await;
        if tracked.is_ok() {
            local.trust(sent);
        }
        Ok((link, lost, tracked.is_ok()))
    }

    /// Renews the trust in copies for as long as the link answers. Never ends by itself.
    async fn beat(&self, link: &NumberedLink) {
        let Some(local) = &self.local else { return };
        loop {
            sleep(HEARTBEAT).await;
            let sent = Instant::now().into_std();
            let ping = |mut link: Link| async move { cmd("PING").exec_async(&mut link).await };
            let mut lives = true;
            for by in [Some(&link.link), link.large.get()].into_iter().flatten() {
                lives &= self.run_until(self.deadline(), link, by.clone(), ping).await.is_ok();
            }
            if lives {
                local.trust(sent);
            }
        }
    }

    /// Makes the link for large values when it is wanted, and ends when that is lost: copies of what was read by it go
    /// with all others. Never ends without one.
    async fn serve_large(&self, large: &LargeLink, is_tracked: bool) {
        loop {
            large.wanted().await;
            let attempt = timeout(self.connect_timeout, self.connect(0)).await;
            if let Ok(Ok((link, lost, is_tracked_too))) = attempt
                && is_tracked_too == is_tracked
            {
                large.set(link);
                return lost.notified().await;
            }
        }
    }

    /// After this no copy is found until the next link is trusted.
    fn distrust(&self) {
        if let Some(local) = &self.local {
            local.distrust();
        }
    }

    /// Closed is final.
    fn enter(&self, next: State) {
        let circuit = next.circuit();
        let mut is_news = false;
        self.state.send_if_modified(|state| {
            let open = !matches!(state, State::Closed);
            if open {
                is_news = state.circuit() != circuit;
                *state = next;
            }
            open
        });
        if is_news {
            self.observers.tell(Event::Circuit(circuit));
        }
    }
}

/// Why an attempt to connect failed, if it did.
fn reason_of<T>(attempt: &Result<RedisResult<T>, Elapsed>) -> Option<Reason> {
    match attempt {
        Ok(Ok(_)) => None,
        Ok(Err(error)) if is_answer(error) => Some(Reason::Refused),
        Ok(Err(_)) => Some(Reason::Broken),
        Err(_) => Some(Reason::Timeout),
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
