//! Commands: what each is for, and how it is written.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, cmd};

use super::{
    address::Credentials,
    broad_pass::ScanId,
    calls::{Asked, CallId, Calls},
    lease_scripts::{self, LeaseScript},
    purge_ledger::Stamp,
    rules::{Rule, holds},
};
use crate::{
    key::{DIGEST_HEX_LENGTH, Key, PREFIX},
    lease::LeaseToken,
};

/// Keys that one SCAN command looks at; the measured knee between round trips and the pause it means for others.
const SCAN_COUNT: usize = 1_000;

/// A purge of one entry on its way.
#[derive(Clone)]
pub(super) struct EntryPurge {
    pub key: Key,
    pub stamp: Stamp,
    /// Who waits for it; nobody where it was pending.
    pub call: Option<CallId>,
}

/// A command, by what it is for.
pub(super) enum Command {
    /// MGET; with the times to live before it where the values are copied.
    Read {
        calls: Vec<CallId>,
        lives: Option<Vec<Option<Duration>>>,
    },
    /// The script that looks up.
    LookUp(Vec<CallId>),
    /// The script that fills.
    Fill(Vec<CallId>),
    /// SET, and the beginning of the key's digest.
    Set(CallId, u64),
    /// The script that releases.
    Release(CallId),
    /// UNLINK of entries.
    Unlink(Vec<EntryPurge>),
    /// What follows goes to a node that does not own its slot yet.
    Asking,

    /// HELLO 3, with credentials.
    Hello(Option<Credentials>),
    /// SELECT.
    Select(u32),
    /// CLIENT TRACKING.
    Track,
    /// INFO server: which run of the server this is.
    Run,
    /// INFO replication: which data it continues. Of the heartbeat too.
    Replication,
    /// CLIENT KILL of an old connection.
    Kill(u64),
    /// PING: the heartbeat where INFO is refused, and of links that are not main.
    Ping,

    /// SENTINEL GET-MASTER-ADDR-BY-NAME.
    Primary(Arc<str>),
    /// CLUSTER INFO: how new the view of this node is.
    Epoch,
    /// CLUSTER SLOTS.
    Slots,
    /// CLUSTER NODES: which slots this node has and moves.
    OwnSlots(ScanId),
    /// SCAN.
    Scan {
        scan: ScanId,
        cursor: Vec<u8>,
        pattern: Arc<str>,
    },
    /// UNLINK of what a SCAN found, all of one context.
    UnlinkFound {
        scan: ScanId,
        context: Arc<str>,
        keys: Vec<Vec<u8>>,
    },
}

/// A script of ours.
#[derive(Clone, Copy)]
pub(super) enum Known {
    LookUp,
    Fill,
    Release,
}

impl Known {
    fn script(self) -> &'static LeaseScript {
        match self {
            Self::LookUp => &lease_scripts::LOOK_UP,
            Self::Fill => &lease_scripts::FILL,
            Self::Release => &lease_scripts::RELEASE,
        }
    }

    /// EVALSHA where the server knows the script, otherwise EVAL.
    fn begin(self, knows_scripts: &mut [bool; 3], keys: usize) -> Cmd {
        let knows = &mut knows_scripts[self as usize];
        let script = self.script();
        let mut command = if *knows { cmd("EVALSHA") } else { cmd("EVAL") };
        command.arg(if *knows { script.hash() } else { script.code });
        *knows = true;
        command.arg(keys);
        command
    }
}

impl Command {
    /// The script that it runs.
    pub fn script(&self) -> Option<Known> {
        match self {
            Self::LookUp(_) => Some(Known::LookUp),
            Self::Fill(_) => Some(Known::Fill),
            Self::Release(_) => Some(Known::Release),
            _ => None,
        }
    }

    /// Whether Redis may change anything by it, so that it must not be executed after it was given up.
    pub fn may_write(&self) -> bool {
        matches!(
            self,
            Self::LookUp(_)
                | Self::Fill(_)
                | Self::Set(..)
                | Self::Release(_)
                | Self::Unlink(_)
                | Self::UnlinkFound { .. }
        )
    }

    /// Writes the command, without the calls that were answered meanwhile, and says how many replies it has; none where
    /// nothing is left of it.
    pub fn write(
        &mut self,
        calls: &Calls,
        lease_time: Duration,
        knows_scripts: &mut [bool; 3],
        output: &mut Vec<u8>,
    ) -> usize {
        match self {
            Self::Read { calls: ids, lives } => {
                ids.retain(|id| calls.get(*id).is_some());
                if ids.is_empty() {
                    return 0;
                }
                let mut read = Cmd::with_capacity(ids.len() + 1, ids.len() * 96);
                read.arg("MGET");
                for key in keys(calls, ids) {
                    if lives.is_some() {
                        cmd("PTTL").arg(key.as_str()).write_packed_command(output);
                    }
                    read.arg(key.as_str());
                }
                read.write_packed_command(output);
                if lives.is_some() { ids.len() + 1 } else { 1 }
            }
            Self::LookUp(ids) => {
                ids.retain(|id| calls.get(*id).is_some());
                if ids.is_empty() {
                    return 0;
                }
                let mut script = Known::LookUp.begin(knows_scripts, ids.len());
                for key in keys(calls, ids) {
                    script.arg(key.as_str());
                }
                script.arg(milliseconds(lease_time));
                for id in ids.iter() {
                    if let Some(Asked::Lookup { token: Some(token), .. }) = calls.get(*id).map(|call| &call.asked) {
                        script.arg(token.as_str());
                    }
                }
                script.write_packed_command(output);
                1
            }
            Self::Fill(ids) => {
                ids.retain(|id| calls.get(*id).is_some());
                if ids.is_empty() {
                    return 0;
                }
                let mut script = Known::Fill.begin(knows_scripts, ids.len());
                for key in keys(calls, ids) {
                    script.arg(key.as_str());
                }
                for id in ids.iter() {
                    if let Some(Asked::Set {
                        value,
                        ttl,
                        lease: Some(lease),
                        ..
                    }) = calls.get(*id).map(|call| &call.asked)
                    {
                        script.arg(lease.as_str()).arg(&value[..]).arg(milliseconds(*ttl));
                    }
                }
                script.write_packed_command(output);
                1
            }
            Self::Set(id, _) => {
                let Some(Asked::Set { key, value, ttl, .. }) = calls.get(*id).map(|call| &call.asked) else {
                    return 0;
                };
                cmd("SET")
                    .arg(key.as_str())
                    .arg(&value[..])
                    .arg("PX")
                    .arg(milliseconds(*ttl))
                    .write_packed_command(output);
                1
            }
            Self::Release(id) => {
                let Some(Asked::Release { key, lease }) = calls.get(*id).map(|call| &call.asked) else {
                    return 0;
                };
                release(key, lease, knows_scripts).write_packed_command(output);
                1
            }
            Self::Unlink(purges) => {
                let mut unlink = Cmd::with_capacity(purges.len() + 1, purges.len() * 96);
                unlink.arg("UNLINK");
                for purge in purges.iter() {
                    unlink.arg(purge.key.as_str());
                }
                unlink.write_packed_command(output);
                1
            }
            Self::UnlinkFound { keys, .. } => {
                cmd("UNLINK").arg(&keys[..]).write_packed_command(output);
                1
            }
            other => {
                other.upkeep().write_packed_command(output);
                1
            }
        }
    }

    fn upkeep(&self) -> Cmd {
        let words = |words: &[&str]| {
            let mut command = Cmd::new();
            command.arg(words);
            command
        };
        match self {
            Self::Asking => words(&["ASKING"]),
            Self::Hello(credentials) => {
                let mut hello = words(&["HELLO", "3"]);
                if let Some(Credentials { username, password }) = credentials {
                    hello
                        .arg("AUTH")
                        .arg(username.as_deref().unwrap_or("default"))
                        .arg(password);
                }
                hello
            }
            Self::Select(database) => {
                let mut select = words(&["SELECT"]);
                select.arg(*database);
                select
            }
            Self::Track => words(&["CLIENT", "TRACKING", "ON"]),
            Self::Run => words(&["INFO", "server"]),
            Self::Replication => words(&["INFO", "replication"]),
            Self::Kill(client) => {
                let mut kill = words(&["CLIENT", "KILL", "ID"]);
                kill.arg(*client);
                kill
            }
            Self::Primary(name) => words(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", name]),
            Self::Epoch => words(&["CLUSTER", "INFO"]),
            Self::Slots => words(&["CLUSTER", "SLOTS"]),
            Self::OwnSlots(_) => words(&["CLUSTER", "NODES"]),
            Self::Scan { cursor, pattern, .. } => {
                let mut scan = words(&["SCAN"]);
                scan.arg(&cursor[..])
                    .arg("MATCH")
                    .arg(&**pattern)
                    .arg("COUNT")
                    .arg(SCAN_COUNT);
                scan
            }
            _ => words(&["PING"]),
        }
    }
}

fn release(key: &Key, lease: &LeaseToken, knows_scripts: &mut [bool; 3]) -> Cmd {
    if !holds(Rule::ReleaseCompares) {
        let mut unlink = cmd("UNLINK");
        unlink.arg(key.as_str());
        return unlink;
    }
    let mut script = Known::Release.begin(knows_scripts, 1);
    script.arg(key.as_str()).arg(lease.as_str());
    script
}

fn keys<'a>(calls: &'a Calls, ids: &'a [CallId]) -> impl Iterator<Item = &'a Key> {
    ids.iter().filter_map(|id| calls.get(*id)?.asked.key())
}

/// The pattern of a context's keys, or of all keys of this protocol: never a bare `*` (`protocol.md` §3).
pub(super) fn pattern(context: Option<&str>) -> Arc<str> {
    let context = context.unwrap_or("*");
    format!("{PREFIX}{context}:{}", "?".repeat(DIGEST_HEX_LENGTH)).into()
}

/// A whole number of milliseconds, at least one.
fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1)
}
