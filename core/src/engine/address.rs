//! Where servers are, and who asks them: what the URLs of a configuration say, every part honoured or refused.

use std::{borrow::Cow, fmt, path::PathBuf};

use redis::{ConnectionAddr, IntoConnectionInfo, parse_redis_url};

use crate::{
    config::{RedisConfig, Topology},
    error::{Error, ErrorCode},
};

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// A host and a port.
    Tcp {
        /// A name or an IP address, without brackets.
        host: String,
        /// The port.
        port: u16,
        /// Whether the connection is made by TLS.
        tls: bool,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The user; `None` is the default user.
    pub username: Option<String>,
    /// The password.
    pub password: String,
}

/// A server of the configuration.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Server {
    pub address: Address,
    pub credentials: Option<Credentials>,
    pub database: u32,
}

/// The servers of a configuration, checked.
#[derive(Clone)]
pub(crate) enum Servers {
    /// One server, or one address of a cluster.
    One(Server),
    /// Some nodes of a cluster.
    Cluster(Vec<Server>),
    /// Sentinels, and how the primary is asked that they name.
    Sentinels {
        sentinels: Vec<Server>,
        name: String,
        credentials: Option<Credentials>,
        database: u32,
        tls: bool,
    },
}

impl Servers {
    pub fn new(config: &RedisConfig) -> Result<Self, Error> {
        let servers = Self::parse(config)?;
        let (path, has_credentials) = match &servers {
            Self::One(server) => ("options.redisUrl", server.credentials.is_some()),
            Self::Cluster(nodes) => ("options.cluster", nodes.iter().any(|node| node.credentials.is_some())),
            Self::Sentinels { credentials, .. } => ("options.sentinel", credentials.is_some()),
        };
        if config.asks_for_credentials && has_credentials {
            return Err(refuse(path, "names a password beside options.credentials"));
        }
        Ok(servers)
    }

    fn parse(config: &RedisConfig) -> Result<Self, Error> {
        match &config.topology {
            Topology::Standalone { url } => Ok(Self::One(parse("options.redisUrl", url)?)),
            Topology::Cluster { urls } => {
                let nodes = parse_all("options.cluster", urls)?;
                if nodes.iter().any(|node| node.database != 0) {
                    return Err(refuse(
                        "options.cluster",
                        "names a database: a cluster has only database 0",
                    ));
                }
                Ok(Self::Cluster(nodes))
            }
            Topology::Sentinel {
                urls,
                name,
                username,
                password,
                database,
                tls,
            } => {
                if username.is_some() && password.is_none() {
                    return Err(refuse("options.sentinel", "has a username without a password"));
                }
                Ok(Self::Sentinels {
                    sentinels: parse_all("options.sentinel.urls", urls)?,
                    name: name.clone(),
                    credentials: password.clone().map(|password| Credentials {
                        username: username.clone(),
                        password,
                    }),
                    database: *database,
                    tls: *tls,
                })
            }
        }
    }
}

fn parse_all(path: &str, urls: &[String]) -> Result<Vec<Server>, Error> {
    if urls.is_empty() {
        return Err(refuse(path, "must have at least one URL"));
    }
    let urls = urls.iter().enumerate();
    urls.map(|(index, url)| parse(&format!("{path}[{index}]"), url))
        .collect()
}

fn parse(path: &str, text: &str) -> Result<Server, Error> {
    let unreadable = || refuse(path, "is not a redis://, rediss:// or unix:// URL");
    let mut url = parse_redis_url(text).ok_or_else(unreadable)?;
    let tls = matches!(url.scheme(), "rediss" | "valkeys");
    // The crate reads such a URL only where it is built with TLS, which it needs for its own sockets alone.
    if tls && url.set_scheme("redis").is_err() {
        return Err(unreadable());
    }
    if url.fragment().is_some() {
        return Err(refuse(path, "has a fragment (#…), which means nothing here"));
    }
    let mut query_database = None;
    let is_unix = url.scheme().ends_with("unix");
    for (name, value) in url.query_pairs() {
        match &*name {
            "db" if query_database.is_none() => query_database = Some(database(path, &value)?),
            "user" | "pass" if is_unix => {}
            _ => {
                return Err(refuse(path, "has a query other than db, the number of a database"));
            }
        }
    }
    let path_database = match url.path().trim_start_matches('/') {
        _ if is_unix => None,
        "" => None,
        number => Some(database(path, number)?),
    };
    if path_database.is_some() && query_database.is_some_and(|number| Some(number) != path_database) {
        return Err(refuse(path, "names two databases"));
    }
    if !is_unix {
        url.set_query(None);
        url.set_path("");
    }
    let info = url.into_connection_info().map_err(|_| unreadable())?;
    let address = match info.addr() {
        ConnectionAddr::Tcp(host, port) => Address::Tcp {
            host: host.clone(),
            port: *port,
            tls,
        },
        ConnectionAddr::Unix(path) => Address::Unix(path.clone()),
        _ => return Err(unreadable()),
    };
    let (username, password) = (info.redis_settings().username(), info.redis_settings().password());
    if username.is_some() && password.is_none() {
        return Err(refuse(path, "has a user without a password"));
    }
    Ok(Server {
        address,
        credentials: password.map(|password| Credentials {
            username: username.map(str::to_owned),
            password: password.to_owned(),
        }),
        database: query_database.or(path_database).unwrap_or(0),
    })
}

fn database(path: &str, number: &str) -> Result<u32, Error> {
    let digits = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    let number = digits.then(|| number.parse().ok()).flatten();
    number.ok_or_else(|| refuse(path, "names a database that is no number"))
}

/// The URL itself may hold a password and is not repeated.
fn refuse(path: &str, reason: &str) -> Error {
    Error::new(ErrorCode::Option, format!("{path} {reason}"))
}

/// What an error of the server says first: its code.
pub(crate) fn error_code(error: &[u8]) -> Cow<'_, str> {
    let end = error.iter().position(|byte| *byte == b' ').unwrap_or(error.len());
    String::from_utf8_lossy(&error[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(url: &str) -> Result<Server, String> {
        parse("options.redisUrl", url).map_err(|error| error.message().to_owned())
    }

    fn tcp(host: &str, port: u16, tls: bool) -> Address {
        let host = host.to_owned();
        Address::Tcp { host, port, tls }
    }

    #[test]
    fn every_part_of_a_url_is_honoured() {
        let server = one("rediss://bob:s%20p@redis.example:7000/3").ok().unwrap();
        assert_eq!(server.address, tcp("redis.example", 7000, true));
        assert_eq!(server.database, 3);
        let credentials = server.credentials.unwrap();
        assert_eq!(credentials.username.as_deref(), Some("bob"));
        assert_eq!(credentials.password, "s p");
        assert_eq!(one("redis://h?db=2").ok().unwrap().database, 2);
        assert_eq!(one("redis://h/2?db=2").ok().unwrap().database, 2);
        assert_eq!(one("redis://[::1]:7").ok().unwrap().address, tcp("::1", 7, false));
        assert_eq!(one("redis://:p@h").ok().unwrap().credentials.unwrap().username, None);
        let unix = one("unix:///run/redis.sock?db=4&pass=p").ok().unwrap();
        assert_eq!(unix.address, Address::Unix("/run/redis.sock".into()));
        assert_eq!((unix.database, unix.credentials.unwrap().password), (4, "p".to_owned()));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for (url, reason) in [
            ("http://h", "is not a redis"),
            ("redis://bob@h", "has a user without a password"),
            ("redis://h/1?db=2", "names two databases"),
            ("redis://h?db=x", "names a database that is no number"),
            ("redis://h/x", "names a database that is no number"),
            ("redis://h/-1", "names a database that is no number"),
            ("redis://h?protocol=2", "has a query other than db"),
            ("redis://h?db=1&db=2", "has a query other than db"),
            ("rediss://h/#insecure", "has a fragment"),
            ("redis://0.0.0.0", "is not a redis"),
        ] {
            let message = one(url).err().unwrap_or_else(|| panic!("{url} was taken"));
            assert!(
                message.starts_with(&format!("options.redisUrl {reason}")),
                "{url}: {message}"
            );
        }
    }
}
