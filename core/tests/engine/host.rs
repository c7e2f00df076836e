//! A host without a runtime: it drives one engine over blocking sockets, one call at a time.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    sync::Arc,
    time::{Duration, Instant},
};

use mizan_cache_core::{
    canonical::Canonical,
    config::Config,
    engine::{Answer, Answers, ConnectionId, Effect, Engine, Moment, Ticket, address::Address},
    events::{Event, Reason},
    lease::LeaseToken,
    shared_cache::{Request, SharedCache},
};

/// What an answer says, of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owned {
    Value(Option<Vec<u8>>),
    Hit(Vec<u8>),
    Leased(LeaseToken),
    Held(LeaseToken),
    Miss,
    Stored(bool),
    Released(bool),
    Purged(u64),
    Closed,
}

#[derive(Default)]
struct Collected(HashMap<Ticket, Owned>);

impl Answers for Collected {
    fn answer(&mut self, ticket: Ticket, answer: Answer<'_>) {
        let owned = match answer {
            Answer::Value(value) => Owned::Value(value.map(<[u8]>::to_vec)),
            Answer::Hit(value) => Owned::Hit(value.to_vec()),
            Answer::Leased(lease) => Owned::Leased(lease),
            Answer::Held(lease) => Owned::Held(lease),
            Answer::Miss => Owned::Miss,
            Answer::Stored(stored) => Owned::Stored(stored),
            Answer::Released(released) => Owned::Released(released),
            Answer::Purged(deleted) => Owned::Purged(deleted),
            Answer::Closed => Owned::Closed,
        };
        assert!(self.0.insert(ticket, owned).is_none(), "a call is answered once");
    }
}

enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

pub struct Host {
    pub engine: Engine,
    pub shared: Arc<SharedCache>,
    pub events: Vec<Event>,
    /// How many connections were asked for.
    pub opened: usize,
    sockets: HashMap<ConnectionId, Socket>,
    answers: Collected,
    started: Instant,
    wake: Option<Moment>,
    next_ticket: Ticket,
}

impl Host {
    pub fn new(config: &Config) -> Self {
        Self::of(Arc::new(SharedCache::new(config, None).expect("a legal configuration")))
    }

    pub fn of(shared: Arc<SharedCache>) -> Self {
        let entropy = Box::new(|bytes: &mut [u8]| getrandom::fill(bytes).is_ok());
        Self {
            engine: Engine::new(Arc::clone(&shared), entropy),
            shared,
            events: Vec::new(),
            opened: 0,
            sockets: HashMap::new(),
            answers: Collected::default(),
            started: Instant::now(),
            wake: None,
            next_ticket: 0,
        }
    }

    fn now(&self) -> Moment {
        self.started.elapsed()
    }

    /// Submits what one turn asks for, and gives the tickets.
    pub fn submit(&mut self, requests: Vec<Request<'_>>) -> Vec<Ticket> {
        let first = self.next_ticket;
        let operations: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                (ticket, self.shared.operation(request).expect("an open cache"))
            })
            .collect();
        let now = self.now();
        self.engine.submit(operations, now, &mut self.answers);
        self.do_effects();
        (first..self.next_ticket).collect()
    }

    /// Submits what one turn asks for, and waits for all answers.
    pub fn call(&mut self, requests: Vec<Request<'_>>) -> Vec<Owned> {
        let tickets = self.submit(requests);
        tickets.into_iter().map(|ticket| self.wait_for(ticket)).collect()
    }

    pub fn get(&mut self, call: &Canonical) -> Option<Vec<u8>> {
        match self.call(vec![Request::Get(call)]).remove(0) {
            Owned::Value(value) => value,
            other => panic!("{other:?}"),
        }
    }

    /// The copy of a value.
    pub fn peek(&self, call: &Canonical) -> Option<Vec<u8>> {
        let digest = *self.shared.key(call).digest();
        let found = self.engine.peek(&digest, call.context(), self.now());
        found.map(|found| found.value.to_vec())
    }

    pub fn wait_for(&mut self, ticket: Ticket) -> Owned {
        loop {
            if let Some(answer) = self.answers.0.remove(&ticket) {
                return answer;
            }
            self.turn();
        }
    }

    pub fn close(&mut self) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let now = self.now();
        self.engine.close(ticket, now, &mut self.answers);
        self.do_effects();
        assert_eq!(self.wait_for(ticket), Owned::Closed);
    }

    /// Turns until something holds.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(began.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
            self.turn();
        }
    }

    /// Hands over what arrived, then does what is due.
    pub fn turn(&mut self) {
        let mut buffer = vec![0; 65_536];
        let ids: Vec<_> = self.sockets.keys().copied().collect();
        for id in ids {
            let read = match self.sockets.get_mut(&id) {
                Some(Socket::Tcp(socket)) => socket.read(&mut buffer),
                Some(Socket::Unix(socket)) => socket.read(&mut buffer),
                None => continue,
            };
            let now = self.now();
            match read {
                Ok(0) => self.lose(id),
                Ok(length) => self.engine.received(id, &buffer[..length], now, &mut self.answers),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => self.lose(id),
            }
            self.do_effects();
        }
        if self.sockets.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let now = self.now();
        if self.wake.is_some_and(|wake| wake <= now) {
            self.wake = None;
            self.engine.tick(now, &mut self.answers);
            self.do_effects();
        }
    }

    /// Ticks, asked for or not.
    pub fn tick(&mut self) {
        let now = self.now();
        self.engine.tick(now, &mut self.answers);
        self.do_effects();
    }

    fn lose(&mut self, id: ConnectionId) {
        self.sockets.remove(&id);
        let now = self.now();
        self.engine.closed(id, Reason::Broken, now, &mut self.answers);
    }

    fn do_effects(&mut self) {
        loop {
            let effects = self.engine.effects();
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                match effect {
                    Effect::Open { connection, address } => self.open(connection, &address),
                    Effect::Send { connection, bytes } => {
                        let sent = match self.sockets.get_mut(&connection) {
                            Some(Socket::Tcp(socket)) => socket.write_all(&bytes),
                            Some(Socket::Unix(socket)) => socket.write_all(&bytes),
                            None => Ok(()),
                        };
                        if sent.is_err() {
                            self.lose(connection);
                        }
                    }
                    Effect::Close { connection } => {
                        self.sockets.remove(&connection);
                    }
                    Effect::WakeAt(moment) => self.wake = Some(self.wake.map_or(moment, |wake| wake.min(moment))),
                    Effect::Event(event) => self.events.push(event),
                }
            }
        }
    }

    fn open(&mut self, id: ConnectionId, address: &Address) {
        self.opened += 1;
        let short = Some(Duration::from_millis(1));
        let socket = match address {
            Address::Tcp { host, port, .. } => TcpStream::connect((host.as_str(), *port)).and_then(|socket| {
                socket.set_read_timeout(short)?;
                socket.set_nodelay(true)?;
                Ok(Socket::Tcp(socket))
            }),
            Address::Unix(path) => UnixStream::connect(path).and_then(|socket| {
                socket.set_read_timeout(short)?;
                Ok(Socket::Unix(socket))
            }),
        };
        let now = self.now();
        match socket {
            Ok(socket) => {
                self.sockets.insert(id, socket);
                self.engine.opened(id, None, now, &mut self.answers);
            }
            Err(_) => self.engine.closed(id, Reason::Refused, now, &mut self.answers),
        }
    }
}
