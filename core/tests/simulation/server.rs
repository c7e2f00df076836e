//! A simulated Redis: the commands in use, for as much as a client can see of them.
//!
//! It is held to the real one by `differential.rs`. What Redis does not promise is left to chance: the order of SCAN, its
//! repetitions, and how much of a page is new.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::random::Random;

/// Microseconds of the world.
pub type Micros = u64;
pub const MILLISECOND: Micros = 1_000;
pub const SECOND: Micros = 1_000_000;

/// How many slots a cluster has.
pub const SLOTS: usize = 16_384;
/// The longest that a replica lags behind.
pub const MOST_LAG: Micros = 3 * SECOND;

pub type Bytes = Vec<u8>;
type Database = BTreeMap<Bytes, Entry>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Text(Bytes),
    Hash(BTreeMap<Bytes, Bytes>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub content: Content,
    pub expires: Option<Micros>,
}

/// What a command did, for whoever watches.
#[derive(Clone, Debug)]
pub enum Deed {
    /// A value was written.
    Stored { key: Bytes, value: Bytes },
    /// A lease was taken.
    Leased { key: Bytes, token: Bytes },
    /// UNLINK was executed, whether or not the key was there.
    Unlinked { key: Bytes, was_there: bool },
    /// A SCAN began.
    ScanBegan,
    /// A connection was ended by CLIENT KILL.
    Killed { client: u64 },
    /// A command was refused by ACL.
    Denied { command: String },
}

/// A client as the server knows it.
pub struct Client {
    /// What is to be sent to it.
    pub output: Bytes,
    /// Invalidations of its own changes, which follow the reply.
    after_reply: Bytes,
    pub input: Bytes,
    pub is_tracking: bool,
    is_resp3: bool,
    database: usize,
    is_asking: bool,
    pub is_killed: bool,
    /// Who it is in the world.
    pub connection: usize,
}

/// What a node of a cluster knows of it.
#[derive(Clone)]
pub struct View {
    pub epoch: u64,
    /// The server that has each slot.
    pub owners: Arc<Vec<u8>>,
}

pub struct ClusterNode {
    pub me: usize,
    pub view: View,
    pub migrating: BTreeMap<u16, usize>,
    pub importing: BTreeMap<u16, usize>,
    /// Whether it cannot see most of the others.
    pub is_down: bool,
    /// CLUSTER SLOTS of this view, once it was asked for.
    slots_reply: Option<(usize, Bytes)>,
}

/// What a sentinel knows.
pub struct Sentinel {
    pub primary: Option<usize>,
}

/// What a server refuses.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    pub memory: bool,
    pub replicas: bool,
    pub loading: bool,
    pub denied: BTreeSet<String>,
}

/// A server.
pub struct Redis {
    pub index: usize,
    pub run: u64,
    pub replication: u64,
    pub is_replica: bool,
    pub databases: Vec<Database>,
    pub clients: BTreeMap<u64, Client>,
    next_client: u64,
    tracked: BTreeMap<Bytes, BTreeSet<u64>>,
    scripts: BTreeMap<String, Script>,
    pub refuses: Refusals,
    pub cluster: Option<ClusterNode>,
    pub sentinel: Option<Sentinel>,
    /// Changes that a replica may not have yet.
    pub log: VecDeque<(Micros, Bytes, Option<Entry>)>,
    /// The data as a replica or a snapshot has it, and of when.
    pub shadow: Database,
    pub shadow_at: Micros,
    pub deeds: Vec<(u64, Deed)>,
    pub random: Random,
    salt: u64,
    pub commands: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Script {
    LookUp,
    Fill,
    Release,
}

/// Where a server listens.
pub fn host(index: usize) -> String {
    format!("10.0.0.{index}")
}

pub const PORT: u16 = 6379;

type Outcome = Result<(), String>;

const WRONG_TYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";

impl Redis {
    pub fn new(index: usize, random: Random) -> Self {
        let mut redis = Self {
            index,
            run: 0,
            replication: 0,
            is_replica: false,
            databases: vec![Database::new(); 16],
            clients: BTreeMap::new(),
            next_client: 0,
            tracked: BTreeMap::new(),
            scripts: BTreeMap::new(),
            refuses: Refusals::default(),
            cluster: None,
            sentinel: None,
            log: VecDeque::new(),
            shadow: Database::new(),
            shadow_at: 0,
            deeds: Vec::new(),
            random,
            salt: 0,
            commands: 0,
        };
        redis.start();
        redis
    }

    /// A new run of the server: it knows no client, no script and no tracked key.
    pub fn start(&mut self) {
        self.run = self.random.next();
        self.replication = self.random.next();
        self.salt = self.random.next();
        self.clients.clear();
        self.next_client = self.random.below(3);
        self.tracked.clear();
        self.scripts.clear();
        self.log.clear();
    }

    pub fn connect(&mut self, connection: usize) -> u64 {
        self.next_client += 1;
        self.clients.insert(
            self.next_client,
            Client {
                output: Bytes::new(),
                after_reply: Bytes::new(),
                input: Bytes::new(),
                is_tracking: false,
                is_resp3: false,
                database: 0,
                is_asking: false,
                is_killed: false,
                connection,
            },
        );
        self.next_client
    }

    pub fn forget_scripts(&mut self) {
        self.scripts.clear();
    }

    pub fn disconnect(&mut self, client: u64) {
        self.clients.remove(&client);
    }

    /// Takes bytes of a client, and executes the commands that are whole.
    pub fn receive(&mut self, id: u64, bytes: &[u8], now: Micros) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut client.input);
        let mut position = 0;
        while let Some((arguments, end)) = parse_command(&input, position) {
            position = end;
            self.execute(id, &arguments, now);
            if self.clients.get(&id).is_none_or(|client| client.is_killed) {
                return;
            }
        }
        if let Some(client) = self.clients.get_mut(&id) {
            client.input = input[position..].to_vec();
        }
    }

    /// Executes a command.
    pub fn execute(&mut self, id: u64, arguments: &[&[u8]], now: Micros) {
        self.commands += 1;
        let Some((name, _)) = arguments.split_first() else {
            return;
        };
        let name = String::from_utf8_lossy(name).to_ascii_uppercase();
        let outcome = self
            .admit(id, &name, arguments, now)
            .and_then(|()| self.dispatch(id, &name, arguments, now));
        if let Some(client) = self.clients.get_mut(&id) {
            if let Err(error) = outcome {
                client.output.extend_from_slice(format!("-{error}\r\n").as_bytes());
            }
            if name != "ASKING" {
                client.is_asking = false;
            }
            let pushes = std::mem::take(&mut client.after_reply);
            client.output.extend_from_slice(&pushes);
        }
    }

    /// What is checked before a command is executed, in Redis's order.
    fn admit(&mut self, id: u64, name: &str, arguments: &[&[u8]], now: Micros) -> Outcome {
        let full = full_name(name, arguments);
        let known = rules_of(&full).ok_or_else(|| format!("ERR unknown command '{name}'"))?;
        if arguments.len() < known.least {
            return Err(format!(
                "ERR wrong number of arguments for '{}' command",
                full.to_ascii_lowercase()
            ));
        }
        if self.refuses.denied.contains(&full) {
            self.deeds.push((id, Deed::Denied { command: full.clone() }));
            return Err(format!(
                "NOPERM User default has no permissions to run the '{}' command",
                full.to_ascii_lowercase()
            ));
        }
        if self.cluster.is_some() {
            self.route(id, &full, arguments, now)?;
        }
        if self.refuses.memory && known.grows {
            return Err(OOM.to_owned());
        }
        if known.writes {
            self.may_write()?;
        }
        if self.refuses.loading && !known.while_loading {
            return Err("LOADING Redis is loading the dataset in memory".to_owned());
        }
        Ok(())
    }

    /// Whether the server takes writes at all.
    fn may_write(&self) -> Outcome {
        if self.refuses.replicas {
            return Err("NOREPLICAS Not enough good replicas to write.".to_owned());
        }
        if self.is_replica {
            return Err("READONLY You can't write against a read only replica.".to_owned());
        }
        Ok(())
    }

    /// Whether a node of a cluster has the keys of a command.
    fn route(&mut self, id: u64, full: &str, arguments: &[&[u8]], now: Micros) -> Outcome {
        let keys = keys_of(full, arguments);
        let Some(first) = keys.first() else { return Ok(()) };
        let slot = slot_of(first);
        if keys.iter().any(|key| slot_of(key) != slot) {
            return Err("CROSSSLOT Keys in request don't hash to the same slot".to_owned());
        }
        let Some(node) = &self.cluster else { return Ok(()) };
        let owner = usize::from(node.view.owners[usize::from(slot)]);
        if node.is_down {
            return Err("CLUSTERDOWN The cluster is down".to_owned());
        }
        let is_asking = self.clients.get(&id).is_some_and(|client| client.is_asking);
        let (migrating, importing) = (node.migrating.get(&slot).copied(), node.importing.contains_key(&slot));
        let me = node.me;
        let missing = keys.iter().filter(|key| !self.stands(0, key, now)).count();
        if owner == me {
            return match migrating {
                Some(to) if missing > 0 && missing == keys.len() => Err(format!("ASK {slot} {}:{PORT}", host(to))),
                Some(_) if missing > 0 => Err("TRYAGAIN Multiple keys request during rehashing of slot".to_owned()),
                _ => Ok(()),
            };
        }
        if importing && is_asking {
            if keys.len() > 1 && missing > 0 {
                return Err("TRYAGAIN Multiple keys request during rehashing of slot".to_owned());
            }
            return Ok(());
        }
        Err(format!("MOVED {slot} {}:{PORT}", host(owner)))
    }

    fn stands(&self, database: usize, key: &[u8], now: Micros) -> bool {
        self.databases[database]
            .get(key)
            .is_some_and(|entry| entry.expires.is_none_or(|at| now < at))
    }

    fn dispatch(&mut self, id: u64, name: &str, arguments: &[&[u8]], now: Micros) -> Outcome {
        let database = self.clients.get(&id).map_or(0, |client| client.database);
        match name {
            "PING" => self.reply(id, b"+PONG\r\n"),
            "ASKING" => {
                if self.cluster.is_none() {
                    return Err("ERR This instance has cluster support disabled".to_owned());
                }
                if let Some(client) = self.clients.get_mut(&id) {
                    client.is_asking = true;
                }
                self.reply(id, b"+OK\r\n");
            }
            "HELLO" => return self.hello(id, arguments),
            "SELECT" => {
                let index = number(arguments[1])
                    .and_then(|index| usize::try_from(index).ok())
                    .ok_or("ERR invalid DB index")?;
                if index >= self.databases.len() {
                    return Err("ERR DB index is out of range".to_owned());
                }
                if let Some(client) = self.clients.get_mut(&id) {
                    client.database = index;
                }
                self.reply(id, b"+OK\r\n");
            }
            "INFO" => self.info(id, arguments),
            "CLIENT" => return self.client(id, arguments),
            "GET" => {
                let value = self.get(id, database, arguments[1], now)?;
                self.reply_bulk(id, value.as_deref());
            }
            "MGET" => {
                let values: Vec<_> = arguments[1..]
                    .iter()
                    .map(|key| self.get(id, database, key, now).unwrap_or_default())
                    .collect();
                self.reply(id, format!("*{}\r\n", values.len()).as_bytes());
                for value in values {
                    self.reply_bulk(id, value.as_deref());
                }
            }
            "PTTL" => {
                let left = self.pttl(id, database, arguments[1], now);
                self.reply_integer(id, left);
            }
            "SET" => return self.set_command(id, database, arguments, now),
            "HSETNX" => {
                let is_new = self.hsetnx(id, database, arguments, now)?;
                self.reply_integer(id, i64::from(is_new));
            }
            "HGET" => {
                let value = self.hget(id, database, arguments[1], arguments[2], now)?;
                self.reply_bulk(id, value.as_deref());
            }
            "PEXPIRE" => {
                let milliseconds = number(arguments[2]).ok_or("ERR value is not an integer or out of range")?;
                let is_set = self.pexpire(id, database, arguments[1], milliseconds, now);
                self.reply_integer(id, i64::from(is_set));
            }
            "UNLINK" | "DEL" => {
                let count = arguments[1..]
                    .iter()
                    .filter(|key| self.unlink(id, database, key, now))
                    .count();
                self.reply_integer(id, i64::try_from(count).unwrap_or(i64::MAX));
            }
            "FLUSHALL" => {
                self.flush(now);
                self.reply(id, b"+OK\r\n");
            }
            "SCAN" => return self.scan(id, database, arguments, now),
            "EVAL" | "EVALSHA" => return self.script(id, name, database, arguments, now),
            "CLUSTER" => return self.cluster_command(id, arguments),
            "SENTINEL" => match self.sentinel.as_ref().and_then(|sentinel| sentinel.primary) {
                Some(primary) => {
                    let (host, port) = (host(primary), PORT.to_string());
                    self.reply(id, b"*2\r\n");
                    self.reply_bulk(id, Some(host.as_bytes()));
                    self.reply_bulk(id, Some(port.as_bytes()));
                }
                None => self.reply(id, b"_\r\n"),
            },
            _ => return Err(format!("ERR unknown command '{name}'")),
        }
        Ok(())
    }

    fn reply(&mut self, id: u64, bytes: &[u8]) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.output.extend_from_slice(bytes);
        }
    }

    fn reply_integer(&mut self, id: u64, number: i64) {
        self.reply(id, format!(":{number}\r\n").as_bytes());
    }

    fn reply_bulk(&mut self, id: u64, value: Option<&[u8]>) {
        let is_resp3 = self.clients.get(&id).is_some_and(|client| client.is_resp3);
        match value {
            Some(value) => {
                if let Some(client) = self.clients.get_mut(&id) {
                    push_bulk(&mut client.output, value);
                }
            }
            None if is_resp3 => self.reply(id, b"_\r\n"),
            None => self.reply(id, b"$-1\r\n"),
        }
    }

    fn hello(&mut self, id: u64, arguments: &[&[u8]]) -> Outcome {
        match arguments.get(1).map(|version| number(version)) {
            None | Some(Some(3)) => {}
            _ => return Err("NOPROTO unsupported protocol version".to_owned()),
        }
        if arguments.get(2).is_some_and(|word| word.eq_ignore_ascii_case(b"AUTH"))
            && arguments.get(4).is_none_or(|password| *password != b"secret")
        {
            return Err("WRONGPASS invalid username-password pair or user is disabled.".to_owned());
        }
        let mode = match (&self.cluster, &self.sentinel) {
            (Some(_), _) => "cluster",
            (_, Some(_)) => "sentinel",
            _ => "standalone",
        };
        let role = if self.is_replica { "replica" } else { "master" };
        if let Some(client) = self.clients.get_mut(&id) {
            client.is_resp3 = true;
            let output = &mut client.output;
            output.extend_from_slice(b"%7\r\n");
            for (name, text) in [("server", "redis"), ("version", "7.0.15")] {
                push_bulk(output, name.as_bytes());
                push_bulk(output, text.as_bytes());
            }
            push_bulk(output, b"proto");
            output.extend_from_slice(b":3\r\n");
            push_bulk(output, b"id");
            output.extend_from_slice(format!(":{id}\r\n").as_bytes());
            for (name, text) in [("mode", mode), ("role", role)] {
                push_bulk(output, name.as_bytes());
                push_bulk(output, text.as_bytes());
            }
            push_bulk(output, b"modules");
            output.extend_from_slice(b"*0\r\n");
        }
        Ok(())
    }

    fn info(&mut self, id: u64, arguments: &[&[u8]]) {
        let section = arguments.get(1).copied().unwrap_or_default();
        let text = if section.eq_ignore_ascii_case(b"server") {
            format!("# Server\r\nredis_version:7.0.15\r\nrun_id:{:040x}\r\n", self.run)
        } else {
            let role = if self.is_replica { "slave" } else { "master" };
            format!(
                "# Replication\r\nrole:{role}\r\nmaster_replid:{:040x}\r\n",
                self.replication
            )
        };
        self.reply(id, format!("={}\r\ntxt:{text}\r\n", text.len() + 4).as_bytes());
    }

    fn client(&mut self, id: u64, arguments: &[&[u8]]) -> Outcome {
        let word = String::from_utf8_lossy(arguments.get(1).copied().unwrap_or_default()).to_ascii_uppercase();
        match word.as_str() {
            "TRACKING" => {
                let is_on = arguments.get(2).is_some_and(|word| word.eq_ignore_ascii_case(b"ON"));
                if let Some(client) = self.clients.get_mut(&id) {
                    client.is_tracking = is_on;
                }
                self.reply(id, b"+OK\r\n");
            }
            "KILL" => {
                let client = arguments
                    .get(3)
                    .and_then(|client| number(client))
                    .filter(|client| *client > 0)
                    .ok_or("ERR client-id should be greater than 0")?;
                let client = u64::try_from(client).unwrap_or_default();
                let found = client != id && self.clients.get(&client).is_some_and(|client| !client.is_killed);
                if found {
                    if let Some(client) = self.clients.get_mut(&client) {
                        client.is_killed = true;
                    }
                    self.deeds.push((id, Deed::Killed { client }));
                }
                self.reply_integer(id, i64::from(found));
            }
            _ => return Err("ERR unknown subcommand".to_owned()),
        }
        Ok(())
    }

    /// Ends the clients that were killed, and says which connections they had.
    pub fn take_killed(&mut self) -> Vec<usize> {
        let killed: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, client)| client.is_killed)
            .map(|(id, client)| (*id, client.connection))
            .collect();
        for (id, _) in &killed {
            self.clients.remove(id);
        }
        killed.into_iter().map(|(_, connection)| connection).collect()
    }

    fn expire(&mut self, id: u64, database: usize, key: &[u8], now: Micros) {
        let is_over = self.databases[database]
            .get(key)
            .is_some_and(|entry| entry.expires.is_some_and(|at| at <= now));
        // A replica waits for its primary's word, and says meanwhile that nothing is there.
        if is_over && !self.is_replica {
            self.databases[database].remove(key);
            self.note_change(database, key, None, now);
            self.invalidate(id, key);
        }
    }

    /// What stands at a key, which is tracked for the client.
    fn read(&mut self, id: u64, database: usize, key: &[u8], now: Micros) -> Option<&Entry> {
        self.expire(id, database, key, now);
        if self.clients.get(&id).is_some_and(|client| client.is_tracking) {
            self.tracked.entry(key.to_vec()).or_default().insert(id);
        }
        self.databases[database]
            .get(key)
            .filter(|entry| entry.expires.is_none_or(|at| now < at))
    }

    fn get(&mut self, id: u64, database: usize, key: &[u8], now: Micros) -> Result<Option<Bytes>, String> {
        match self.read(id, database, key, now) {
            None => Ok(None),
            Some(Entry {
                content: Content::Text(text),
                ..
            }) => Ok(Some(text.clone())),
            Some(_) => Err(WRONG_TYPE.to_owned()),
        }
    }

    fn hget(
        &mut self,
        id: u64,
        database: usize,
        key: &[u8],
        field: &[u8],
        now: Micros,
    ) -> Result<Option<Bytes>, String> {
        match self.read(id, database, key, now) {
            None => Ok(None),
            Some(Entry {
                content: Content::Hash(fields),
                ..
            }) => Ok(fields.get(field).cloned()),
            Some(_) => Err(WRONG_TYPE.to_owned()),
        }
    }

    fn pttl(&mut self, id: u64, database: usize, key: &[u8], now: Micros) -> i64 {
        match self.read(id, database, key, now) {
            None => -2,
            Some(Entry { expires: None, .. }) => -1,
            Some(Entry { expires: Some(at), .. }) => i64::try_from((at - now) / MILLISECOND).unwrap_or(i64::MAX),
        }
    }

    fn hsetnx(&mut self, id: u64, database: usize, arguments: &[&[u8]], now: Micros) -> Result<bool, String> {
        let [_, key, field, value] = arguments else {
            return Err("ERR wrong number of arguments for 'hsetnx' command".to_owned());
        };
        self.expire(id, database, key, now);
        let entry = self.databases[database].entry(key.to_vec()).or_insert_with(|| Entry {
            content: Content::Hash(BTreeMap::new()),
            expires: None,
        });
        let Content::Hash(fields) = &mut entry.content else {
            return Err(WRONG_TYPE.to_owned());
        };
        if fields.contains_key(*field) {
            return Ok(false);
        }
        fields.insert(field.to_vec(), value.to_vec());
        let entry = entry.clone();
        self.note_change(database, key, Some(entry), now);
        self.invalidate(id, key);
        self.deeds.push((
            id,
            Deed::Leased {
                key: key.to_vec(),
                token: value.to_vec(),
            },
        ));
        Ok(true)
    }

    fn pexpire(&mut self, id: u64, database: usize, key: &[u8], milliseconds: i64, now: Micros) -> bool {
        self.expire(id, database, key, now);
        let Some(entry) = self.databases[database].get_mut(key) else {
            return false;
        };
        let Ok(milliseconds) = u64::try_from(milliseconds) else {
            return self.unlink(id, database, key, now);
        };
        if milliseconds == 0 {
            self.databases[database].remove(key);
            self.note_change(database, key, None, now);
        } else {
            entry.expires = Some(now + milliseconds * MILLISECOND);
            let entry = entry.clone();
            self.note_change(database, key, Some(entry), now);
        }
        self.invalidate(id, key);
        true
    }

    fn set_command(&mut self, id: u64, database: usize, arguments: &[&[u8]], now: Micros) -> Outcome {
        let expires = match arguments.get(3..) {
            Some([option, milliseconds]) if option.eq_ignore_ascii_case(b"PX") => Some(
                number(milliseconds)
                    .ok_or("ERR value is not an integer or out of range")
                    .and_then(|milliseconds| {
                        u64::try_from(milliseconds)
                            .ok()
                            .filter(|milliseconds| *milliseconds > 0)
                            .ok_or("ERR invalid expire time in 'set' command")
                    })?,
            ),
            Some([]) | None => None,
            _ => return Err("ERR syntax error".to_owned()),
        };
        self.set(id, database, arguments[1], arguments[2], expires, now);
        self.reply(id, b"+OK\r\n");
        Ok(())
    }

    fn set(&mut self, id: u64, database: usize, key: &[u8], value: &[u8], milliseconds: Option<u64>, now: Micros) {
        let entry = Entry {
            content: Content::Text(value.to_vec()),
            expires: milliseconds.map(|milliseconds| now + milliseconds * MILLISECOND),
        };
        self.databases[database].insert(key.to_vec(), entry.clone());
        self.note_change(database, key, Some(entry), now);
        self.invalidate(id, key);
        self.deeds.push((
            id,
            Deed::Stored {
                key: key.to_vec(),
                value: value.to_vec(),
            },
        ));
    }

    /// Deletes a key, and says whether it was there.
    pub fn unlink(&mut self, id: u64, database: usize, key: &[u8], now: Micros) -> bool {
        self.expire(id, database, key, now);
        let was_there = self.databases[database].remove(key).is_some();
        if was_there {
            self.note_change(database, key, None, now);
            self.invalidate(id, key);
        }
        self.deeds.push((
            id,
            Deed::Unlinked {
                key: key.to_vec(),
                was_there,
            },
        ));
        was_there
    }

    /// Another origin writes a value.
    pub fn foreign_set(&mut self, key: &[u8], value: &[u8], milliseconds: u64, now: Micros) {
        self.set(0, 0, key, value, Some(milliseconds), now);
    }

    /// Evicts a key, or hands it to another node.
    pub fn remove(&mut self, key: &[u8], now: Micros) -> Option<Entry> {
        let entry = self.databases[0].remove(key)?;
        self.note_change(0, key, None, now);
        self.invalidate(0, key);
        Some(entry)
    }

    /// Takes a key over from another node.
    pub fn restore(&mut self, key: &[u8], entry: Entry, now: Micros) {
        self.databases[0].insert(key.to_vec(), entry.clone());
        self.note_change(0, key, Some(entry), now);
        self.invalidate(0, key);
    }

    /// Deletes everything.
    pub fn flush(&mut self, now: Micros) {
        let keys: Vec<Bytes> = self.databases[0].keys().cloned().collect();
        for key in keys {
            self.note_change(0, &key, None, now);
        }
        for database in &mut self.databases {
            database.clear();
        }
        self.tracked.clear();
        for client in self.clients.values_mut().filter(|client| client.is_tracking) {
            client.output.extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n_\r\n");
        }
    }

    /// Other data than before: of a replica that follows another primary.
    pub fn replace_data(&mut self, data: Database) {
        self.databases[0] = data;
        self.tracked.clear();
        for client in self.clients.values_mut().filter(|client| client.is_tracking) {
            client.output.extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n_\r\n");
        }
    }

    /// Expires what is over, as Redis does by and by.
    pub fn expire_some(&mut self, now: Micros) {
        let over: Vec<Bytes> = self.databases[0]
            .iter()
            .filter(|(_, entry)| entry.expires.is_some_and(|at| at <= now))
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            self.expire(0, 0, &key, now);
        }
    }

    fn note_change(&mut self, database: usize, key: &[u8], entry: Option<Entry>, now: Micros) {
        if database == 0 {
            self.log.push_back((now, key.to_vec(), entry));
            self.catch_up(now.saturating_sub(MOST_LAG));
        }
    }

    /// Has the replica apply what was changed until a moment.
    pub fn catch_up(&mut self, until: Micros) {
        while self.log.front().is_some_and(|(at, ..)| *at <= until) {
            if let Some((_, key, entry)) = self.log.pop_front() {
                match entry {
                    Some(entry) => self.shadow.insert(key, entry),
                    None => self.shadow.remove(&key),
                };
            }
        }
        self.shadow_at = self.shadow_at.max(until);
    }

    /// Tells everybody who read a key that it changed.
    fn invalidate(&mut self, by: u64, key: &[u8]) {
        let Some(readers) = self.tracked.remove(key) else {
            return;
        };
        for reader in readers {
            if let Some(client) = self.clients.get_mut(&reader).filter(|client| client.is_tracking) {
                let output = if reader == by {
                    &mut client.after_reply
                } else {
                    &mut client.output
                };
                output.extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n*1\r\n");
                push_bulk(output, key);
            }
        }
    }

    /// SCAN by its promise: what stands from the first call to the last is returned. The rest is chance.
    fn scan(&mut self, id: u64, database: usize, arguments: &[&[u8]], now: Micros) -> Outcome {
        let cursor = number(arguments[1])
            .and_then(|cursor| u64::try_from(cursor).ok())
            .ok_or("ERR invalid cursor")?;
        let mut pattern: &[u8] = b"*";
        let mut rest = &arguments[2..];
        while let [option, value, others @ ..] = rest {
            if option.eq_ignore_ascii_case(b"MATCH") {
                pattern = value;
            } else if option.eq_ignore_ascii_case(b"COUNT") {
                number(value).filter(|count| *count > 0).ok_or("ERR syntax error")?;
            } else {
                return Err("ERR syntax error".to_owned());
            }
            rest = others;
        }
        if !rest.is_empty() {
            return Err("ERR syntax error".to_owned());
        }
        if cursor == 0 {
            self.deeds.push((id, Deed::ScanBegan));
        }
        let end = match self.random.below(3) {
            0 => PLACES,
            _ => cursor + self.random.between(PLACES / 8, PLACES / 2),
        };
        let salt = self.salt;
        let mut found = Vec::new();
        for (key, entry) in &self.databases[database] {
            let at = place(key, salt);
            let is_due = (cursor..end).contains(&at);
            let is_again = self.random.one_in(8);
            if (is_due || is_again) && entry.expires.is_none_or(|at| now < at) && matches_pattern(pattern, key) {
                found.push(key.clone());
                if self.random.one_in(16) {
                    found.push(key.clone());
                }
            }
        }
        if self.random.one_in(2) {
            found.reverse();
        }
        let next = if end >= PLACES { 0 } else { end };
        self.reply(id, b"*2\r\n");
        self.reply_bulk(id, Some(next.to_string().as_bytes()));
        self.reply(id, format!("*{}\r\n", found.len()).as_bytes());
        for key in found {
            self.reply_bulk(id, Some(&key));
        }
        Ok(())
    }

    fn script(&mut self, id: u64, name: &str, database: usize, arguments: &[&[u8]], now: Micros) -> Outcome {
        let count = number(arguments[2])
            .and_then(|count| usize::try_from(count).ok())
            .ok_or("ERR value is not an integer or out of range")?;
        if arguments.len() < 3 + count {
            return Err("ERR Number of keys can't be greater than number of args".to_owned());
        }
        let (keys, values) = arguments[3..].split_at(count);
        let text = String::from_utf8_lossy(arguments[1]);
        let script = if name == "EVALSHA" {
            *self
                .scripts
                .get(&*text)
                .ok_or("NOSCRIPT No matching script. Please use EVAL.")?
        } else {
            let script = if text.contains("HSETNX") {
                Script::LookUp
            } else if text.contains("'SET'") {
                Script::Fill
            } else if text.contains("UNLINK") {
                Script::Release
            } else {
                return Err("ERR this script is not simulated".to_owned());
            };
            self.scripts
                .insert(redis::Script::new(&text).get_hash().to_owned(), script);
            script
        };
        match script {
            Script::LookUp => self.look_up(id, database, keys, values, now),
            Script::Fill => self.fill(id, database, keys, values, now),
            Script::Release => self.release(id, database, keys, values, now),
        }
    }

    fn look_up(&mut self, id: u64, database: usize, keys: &[&[u8]], values: &[&[u8]], now: Micros) -> Outcome {
        self.reply(id, format!("*{}\r\n", keys.len()).as_bytes());
        let milliseconds = values.first().and_then(|milliseconds| number(milliseconds));
        for (index, key) in keys.iter().enumerate() {
            let token = values.get(index + 1).copied().unwrap_or_default();
            let is_taken = self.may_grow_in_script().is_ok()
                && self
                    .hsetnx(id, database, &[b"HSETNX", key, b"lease", token], now)
                    .unwrap_or(false);
            if is_taken {
                self.pexpire(id, database, key, milliseconds.unwrap_or(1), now);
                self.reply(id, b"*1\r\n:0\r\n");
                continue;
            }
            match self.get(id, database, key, now) {
                Ok(Some(value)) => {
                    let left = self.pttl(id, database, key, now);
                    self.reply(id, b"*3\r\n:1\r\n");
                    self.reply_bulk(id, Some(&value));
                    self.reply_integer(id, left);
                }
                _ => match self.hget(id, database, key, b"lease", now) {
                    Ok(Some(held)) => {
                        self.reply(id, b"*2\r\n:2\r\n");
                        self.reply_bulk(id, Some(&held));
                    }
                    _ => self.reply(id, b"*1\r\n:3\r\n"),
                },
            }
        }
        Ok(())
    }

    fn fill(&mut self, id: u64, database: usize, keys: &[&[u8]], values: &[&[u8]], now: Micros) -> Outcome {
        self.reply(id, format!("*{}\r\n", keys.len()).as_bytes());
        for (key, of_key) in keys.iter().zip(values.chunks(3)) {
            let [token, value, milliseconds] = of_key else { continue };
            let stands = matches!(self.hget(id, database, key, b"lease", now), Ok(Some(held)) if held == *token);
            let answer = if !stands {
                0
            } else if self.may_grow_in_script().is_ok() {
                let milliseconds = number(milliseconds).and_then(|milliseconds| u64::try_from(milliseconds).ok());
                self.set(id, database, key, value, milliseconds, now);
                1
            } else {
                -1
            };
            self.reply_integer(id, answer);
        }
        Ok(())
    }

    fn release(&mut self, id: u64, database: usize, keys: &[&[u8]], values: &[&[u8]], now: Micros) -> Outcome {
        let (Some(key), Some(token)) = (keys.first(), values.first()) else {
            return Err("ERR this script takes a key and a token".to_owned());
        };
        let stands = matches!(self.hget(id, database, key, b"lease", now), Ok(Some(held)) if held == *token);
        if stands {
            self.may_write()?;
            self.databases[database].remove(*key);
            self.note_change(database, key, None, now);
            self.invalidate(id, key);
        }
        self.reply_integer(id, i64::from(stands));
        Ok(())
    }

    fn may_grow_in_script(&self) -> Outcome {
        if self.refuses.memory {
            return Err(OOM.to_owned());
        }
        self.may_write()
    }

    fn cluster_command(&mut self, id: u64, arguments: &[&[u8]]) -> Outcome {
        let Some(node) = &mut self.cluster else {
            return Err("ERR This instance has cluster support disabled".to_owned());
        };
        let word = String::from_utf8_lossy(arguments.get(1).copied().unwrap_or_default()).to_ascii_uppercase();
        let text = match word.as_str() {
            "INFO" => format!(
                "cluster_state:{}\r\ncluster_current_epoch:{}\r\n",
                if node.is_down { "fail" } else { "ok" },
                node.view.epoch
            ),
            "NODES" => node.describe(),
            "SLOTS" => {
                let at = Arc::as_ptr(&node.view.owners) as usize;
                let reply = match &node.slots_reply {
                    Some((of, reply)) if *of == at => reply.clone(),
                    _ => {
                        let reply = node.slots();
                        node.slots_reply = Some((at, reply.clone()));
                        reply
                    }
                };
                self.reply(id, &reply);
                return Ok(());
            }
            _ => return Err("ERR unknown subcommand".to_owned()),
        };
        self.reply(id, format!("={}\r\ntxt:{text}\r\n", text.len() + 4).as_bytes());
        Ok(())
    }
}

impl ClusterNode {
    pub const fn new(me: usize, view: View) -> Self {
        Self {
            me,
            view,
            migrating: BTreeMap::new(),
            importing: BTreeMap::new(),
            is_down: false,
            slots_reply: None,
        }
    }

    /// Learns how the slots are owned.
    pub fn learn(&mut self, view: &View) {
        if view.epoch > self.view.epoch {
            self.view = view.clone();
            self.slots_reply = None;
            let (owners, me) = (&view.owners, self.me);
            // Who does not own a slot any more moves none of its keys.
            self.migrating
                .retain(|slot, _| usize::from(owners[usize::from(*slot)]) == me);
            self.importing
                .retain(|slot, _| usize::from(owners[usize::from(*slot)]) != me);
        }
    }

    fn ranges(&self) -> Vec<(usize, usize, u8)> {
        let owners = &self.view.owners;
        let mut ranges: Vec<(usize, usize, u8)> = Vec::new();
        for (slot, owner) in owners.iter().enumerate() {
            match ranges.last_mut() {
                Some((_, last, of)) if of == owner => *last = slot,
                _ => ranges.push((slot, slot, *owner)),
            }
        }
        ranges
    }

    fn slots(&self) -> Bytes {
        let ranges = self.ranges();
        let mut reply = format!("*{}\r\n", ranges.len()).into_bytes();
        for (first, last, owner) in ranges {
            reply.extend_from_slice(format!("*3\r\n:{first}\r\n:{last}\r\n*4\r\n").as_bytes());
            push_bulk(&mut reply, host(usize::from(owner)).as_bytes());
            reply.extend_from_slice(format!(":{PORT}\r\n").as_bytes());
            push_bulk(&mut reply, format!("{owner:040x}").as_bytes());
            reply.extend_from_slice(b"*0\r\n");
        }
        reply
    }

    fn describe(&self) -> String {
        let (me, epoch) = (self.me, self.view.epoch);
        let mut line = format!(
            "{me:040x} {}:{PORT}@1{PORT} myself,master - 0 0 {epoch} connected",
            host(me)
        );
        for (first, last, owner) in self.ranges() {
            if usize::from(owner) == me {
                line += &if first == last {
                    format!(" {first}")
                } else {
                    format!(" {first}-{last}")
                };
            }
        }
        for (slot, to) in &self.migrating {
            line += &format!(" [{slot}->-{to:040x}]");
        }
        for (slot, from) in &self.importing {
            line += &format!(" [{slot}-<-{from:040x}]");
        }
        line + "\n"
    }
}

const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";

/// Places on the way of a SCAN.
const PLACES: u64 = 1 << 16;

fn place(key: &[u8], salt: u64) -> u64 {
    let hash = key.iter().fold(salt, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    (hash >> 32) % PLACES
}

/// A glob of literals, `?` and `*`.
fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            matches_pattern(rest, text)
                || text
                    .split_first()
                    .is_some_and(|(_, more)| matches_pattern(pattern, more))
        }
        (Some((b'?', rest)), Some((_, more))) => matches_pattern(rest, more),
        (Some((one, rest)), Some((other, more))) => one == other && matches_pattern(rest, more),
        _ => false,
    }
}

struct Rules {
    least: usize,
    writes: bool,
    grows: bool,
    while_loading: bool,
}

fn rules_of(full: &str) -> Option<Rules> {
    let (least, writes, grows, while_loading) = match full {
        "PING" => (1, false, false, false),
        "ASKING" => (1, false, false, false),
        "HELLO" | "INFO" => (1, false, false, true),
        "SELECT" => (2, false, false, true),
        "CLIENT|TRACKING" | "CLIENT|KILL" => (3, false, false, true),
        "GET" | "MGET" | "PTTL" | "SCAN" => (2, false, false, false),
        "HGET" => (3, false, false, false),
        "SET" => (3, true, true, false),
        "HSETNX" => (4, true, true, false),
        "PEXPIRE" => (3, true, false, false),
        "UNLINK" | "DEL" => (2, true, false, false),
        "FLUSHALL" => (1, true, false, false),
        "EVAL" | "EVALSHA" => (3, false, false, false),
        "CLUSTER|INFO" | "CLUSTER|SLOTS" | "CLUSTER|NODES" => (2, false, false, true),
        "SENTINEL|GET-MASTER-ADDR-BY-NAME" => (3, false, false, true),
        _ => return None,
    };
    Some(Rules {
        least,
        writes,
        grows,
        while_loading,
    })
}

/// The name of a command, with that of its subcommand where it has any.
fn full_name(name: &str, arguments: &[&[u8]]) -> String {
    match (name, arguments.get(1)) {
        ("CLIENT" | "CLUSTER" | "SENTINEL", Some(word)) => {
            format!("{name}|{}", String::from_utf8_lossy(word).to_ascii_uppercase())
        }
        _ => name.to_owned(),
    }
}

fn keys_of<'a>(full: &str, arguments: &'a [&'a [u8]]) -> &'a [&'a [u8]] {
    match full {
        "GET" | "PTTL" | "SET" | "HGET" | "HSETNX" | "PEXPIRE" => arguments.get(1..2).unwrap_or_default(),
        "MGET" | "UNLINK" | "DEL" => &arguments[1..],
        "EVAL" | "EVALSHA" => {
            let count = arguments.get(2).and_then(|count| number(count)).unwrap_or_default();
            let count = usize::try_from(count).unwrap_or_default();
            arguments.get(3..3 + count).unwrap_or_default()
        }
        _ => &[],
    }
}

pub fn slot_of(key: &[u8]) -> u16 {
    mizan_cache_core::engine::slots::slot_of(key)
}

pub fn push_bulk(output: &mut Bytes, bytes: &[u8]) {
    output.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
    output.extend_from_slice(bytes);
    output.extend_from_slice(b"\r\n");
}

pub fn number(bytes: &[u8]) -> Option<i64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// The command that begins at a position, if it is whole, and where the next begins.
pub fn parse_command(input: &[u8], start: usize) -> Option<(Vec<&[u8]>, usize)> {
    let (count, mut position) = parse_length(input, start, b'*')?;
    let mut arguments = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, begin) = parse_length(input, position, b'$')?;
        arguments.push(input.get(begin..begin + length)?);
        position = begin + length + 2;
        if position > input.len() {
            return None;
        }
    }
    Some((arguments, position))
}

fn parse_length(input: &[u8], start: usize, kind: u8) -> Option<(usize, usize)> {
    let rest = input.get(start..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    assert_eq!(rest[0], kind, "a command is an array of strings");
    let length = std::str::from_utf8(&rest[1..end]).ok()?.parse().ok()?;
    Some((length, start + end + 2))
}
