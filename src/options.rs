//! The options of a cache, read once.

use std::time::Duration;

use mizan_cache_core::{
    config::{
        BackendConfig, Config, DEFAULT_COMMAND_TIMEOUT, DEFAULT_CONNECT_TIMEOUT, DEFAULT_LEASE_TIME,
        DEFAULT_LOCAL_MAX_BYTES, DEFAULT_MAX_BYTES, DEFAULT_MAX_IN_FLIGHT, DEFAULT_MAX_VALUE_BYTES, DEFAULT_TTL,
        RedisConfig, TlsConfig, Topology, check_local, check_memory, check_redis,
    },
    error::{Error, ErrorCode},
};

use crate::js::{Env, Failure, Kind, Outcome, Value};

const NAMES: [&str; 15] = [
    "secret",
    "previousSecrets",
    "redisUrl",
    "cluster",
    "sentinel",
    "tls",
    "credentials",
    "ttl",
    "leaseMs",
    "local",
    "maxBytes",
    "maxValueBytes",
    "commandTimeoutMs",
    "connectTimeoutMs",
    "maxInFlight",
];
const TLS_NAMES: [&str; 4] = ["ca", "cert", "key", "servername"];
const SENTINEL_NAMES: [&str; 6] = ["urls", "name", "username", "password", "database", "tls"];

/// The configuration that options describe. What they leave out of the secret and the place of Redis comes from the
/// fallbacks, where those are given.
pub fn read_config<'scope>(
    env: Env<'scope>,
    options: Value<'scope>,
    fallback_url: Value<'scope>,
    fallback_secret: Value<'scope>,
) -> Outcome<Config> {
    let options = Options::new(env, "options", options, &NAMES)?;
    let secret = match options.get("secret")? {
        Some(secret) => read_secret("options.secret", secret)?,
        None => read_secret("options.secret", fallback_secret)?,
    };
    Ok(Config {
        secret,
        previous_secrets: options.list("previousSecrets", read_secret)?.unwrap_or_default(),
        ttl: options.duration("ttl", 1.0)?.unwrap_or(DEFAULT_TTL),
        lease_time: options.duration("leaseMs", 1_000.0)?.unwrap_or(DEFAULT_LEASE_TIME),
        max_value_bytes: options.integer("maxValueBytes")?.unwrap_or(DEFAULT_MAX_VALUE_BYTES),
        backend: read_backend(env, &options, fallback_url)?,
    })
}

fn read_backend<'scope>(
    env: Env<'scope>,
    options: &Options<'scope>,
    fallback_url: Value<'scope>,
) -> Outcome<BackendConfig> {
    let url = options.text("redisUrl")?.map(|url| Topology::Standalone { url });
    let cluster = options
        .list("cluster", read_text)?
        .map(|urls| Topology::Cluster { urls });
    let sentinel = options
        .get("sentinel")?
        .map(|sentinel| read_sentinel(env, sentinel))
        .transpose()?;
    let mut topologies = [url, cluster, sentinel].into_iter().flatten();
    let mut topology = topologies.next();
    if topologies.next().is_some() {
        return Err(Error::new(
            ErrorCode::Option,
            "options: only one of redisUrl, cluster and sentinel can be given",
        )
        .into());
    }
    if topology.is_none() && fallback_url.kind()? != Kind::Undefined {
        topology = Some(Topology::Standalone {
            url: read_text("options.redisUrl", fallback_url)?,
        });
    }
    let max_bytes = options.integer("maxBytes")?.unwrap_or(DEFAULT_MAX_BYTES);
    let command_timeout = options
        .duration("commandTimeoutMs", 1_000.0)?
        .unwrap_or(DEFAULT_COMMAND_TIMEOUT);
    let connect_timeout = options
        .duration("connectTimeoutMs", 1_000.0)?
        .unwrap_or(DEFAULT_CONNECT_TIMEOUT);
    let max_in_flight = options.integer("maxInFlight")?.unwrap_or(DEFAULT_MAX_IN_FLIGHT);
    let local = read_local(env, options)?;
    let tls = read_tls(env, options)?;
    let asks_for_credentials = match options.get("credentials")? {
        None => false,
        Some(credentials) if credentials.kind()? == Kind::Function => true,
        Some(_) => return Err(options.error("credentials", "must be a function")),
    };
    // Also of the backend that is not used: where Redis is may depend on the place a program runs at.
    check_memory(max_bytes)?;
    check_redis(command_timeout, connect_timeout, max_in_flight)?;
    Ok(match topology {
        Some(topology) => BackendConfig::Redis(RedisConfig {
            local_max_bytes: match local {
                Local::Off => None,
                Local::Bounded(max_bytes) => Some(max_bytes),
                Local::Default => Some(DEFAULT_LOCAL_MAX_BYTES),
            },
            topology,
            command_timeout,
            connect_timeout,
            max_in_flight,
            asks_for_credentials,
            tls,
        }),
        None => BackendConfig::Memory { max_bytes },
    })
}

/// What is said of copies in this process.
enum Local {
    Default,
    Off,
    Bounded(u64),
}

fn read_local<'scope>(env: Env<'scope>, options: &Options<'scope>) -> Outcome<Local> {
    let Some(local) = options.get("local")? else {
        return Ok(Local::Default);
    };
    match local.kind()? {
        Kind::Boolean if !local.boolean()? => return Ok(Local::Off),
        Kind::Object if !local.is_array()? => {}
        _ => return Err(options.error("local", "must be false or an object")),
    }
    let local = Options::new(env, "options.local", local, &["maxBytes"])?;
    let max_bytes = local.integer("maxBytes")?.unwrap_or(DEFAULT_LOCAL_MAX_BYTES);
    check_local(max_bytes)?;
    Ok(Local::Bounded(max_bytes))
}

fn read_tls<'scope>(env: Env<'scope>, options: &Options<'scope>) -> Outcome<TlsConfig> {
    let Some(tls) = options.get("tls")? else {
        return Ok(TlsConfig::default());
    };
    let tls = Options::new(env, "options.tls", tls, &TLS_NAMES)?;
    let pem = |name| tls.get(name)?.map(|pem| read_pem(&tls.path_of(name), pem)).transpose();
    let ca = match tls.get("ca")? {
        Some(list) if list.kind()? == Kind::Object && list.is_array()? => {
            tls.list("ca", read_pem)?.map(|all| all.join(&b'\n'))
        }
        _ => pem("ca")?,
    };
    Ok(TlsConfig {
        ca,
        cert: pem("cert")?,
        key: pem("key")?,
        servername: tls.text("servername")?,
    })
}

fn read_pem(path: &str, pem: Value<'_>) -> Outcome<Vec<u8>> {
    let read = match pem.kind()? {
        Kind::String => pem.text()?.map(String::into_bytes),
        Kind::Object => pem.bytes()?,
        _ => None,
    };
    read.ok_or_else(|| {
        Error::new(
            ErrorCode::Option,
            format!("{path} must be PEM, as text or a Uint8Array"),
        )
        .into()
    })
}

fn read_sentinel<'scope>(env: Env<'scope>, sentinel: Value<'scope>) -> Outcome<Topology> {
    let sentinel = Options::new(env, "options.sentinel", sentinel, &SENTINEL_NAMES)?;
    Ok(Topology::Sentinel {
        urls: sentinel.list("urls", read_text)?.unwrap_or_default(),
        name: sentinel
            .text("name")?
            .ok_or_else(|| sentinel.error("name", "must be given"))?,
        username: sentinel.text("username")?,
        password: sentinel.text("password")?,
        database: sentinel.integer::<u32>("database")?.unwrap_or(0),
        tls: sentinel.boolean("tls")?.unwrap_or(false),
    })
}

/// A secret: bytes, or text as its UTF-8 (`protocol.md` §1.10).
pub fn read_secret(path: &str, secret: Value<'_>) -> Outcome<Vec<u8>> {
    let refuse = |code, reason: &str| Err(Error::new(code, format!("{path} {reason}")).into());
    match secret.kind()? {
        Kind::String => match secret.text()? {
            Some(text) => Ok(text.into_bytes()),
            None => refuse(ErrorCode::Surrogate, "has an unpaired surrogate"),
        },
        Kind::Object => match secret.bytes()? {
            Some(bytes) => Ok(bytes),
            None => refuse(ErrorCode::Secret, "must be a string or a Uint8Array"),
        },
        _ => refuse(ErrorCode::Secret, "must be a string or a Uint8Array"),
    }
}

fn read_text(path: &str, text: Value<'_>) -> Outcome<String> {
    if text.kind()? == Kind::String
        && let Some(text) = text.text()?
    {
        return Ok(text);
    }
    Err(Error::new(ErrorCode::Option, format!("{path} must be a well-formed string")).into())
}

/// An object whose members are options.
struct Options<'scope> {
    env: Env<'scope>,
    path: &'static str,
    object: Value<'scope>,
}

impl<'scope> Options<'scope> {
    /// An object that has no members but those of these names.
    fn new(env: Env<'scope>, path: &'static str, object: Value<'scope>, names: &[&str]) -> Outcome<Self> {
        if object.kind()? != Kind::Object || object.is_array()? {
            return Err(Error::new(ErrorCode::Option, format!("{path} must be an object")).into());
        }
        let options = Self { env, path, object };
        let keys = options.readable("", object.own_keys())?;
        for index in 0..keys.array_length()? {
            let key = keys.element(index)?;
            let name = match key.kind()? {
                Kind::Symbol => None,
                _ => key.to_name()?.text()?,
            };
            if !name.as_deref().is_some_and(|name| names.contains(&name)) {
                let shown: String = name.as_deref().unwrap_or("(symbol)").chars().take(64).collect();
                let meant = nearest(&shown, names).map(|meant| format!("; did you mean {meant}?"));
                let reason = format!("is not an option{}", meant.unwrap_or_default());
                return Err(options.error(&shown.escape_debug().to_string(), &reason));
            }
        }
        Ok(options)
    }

    fn error(&self, name: &str, reason: &str) -> Failure {
        Error::new(ErrorCode::Option, format!("{} {reason}", self.path_of(name))).into()
    }

    fn path_of(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    /// Where the caller's own code threw while it was read, the place is named instead.
    fn readable<T>(&self, name: &str, outcome: Outcome<T>) -> Outcome<T> {
        outcome.map_err(|failure| match failure {
            Failure::Thrown => {
                self.env.clear_exception();
                self.error(name, "cannot be read: reading it threw an exception")
            }
            Failure::Coded(error) => error.into(),
        })
    }

    fn get(&self, name: &str) -> Outcome<Option<Value<'scope>>> {
        let key = self.env.string(name)?;
        if !self.readable(name, self.is_given(key))? {
            return Ok(None);
        }
        let value = self.readable(name, self.object.property(key))?;
        Ok((value.kind()? != Kind::Undefined).then_some(value))
    }

    /// Whether the object has this member, or its class has. What every object inherits is not given: whoever can
    /// pollute `Object.prototype` would otherwise give options to everybody.
    fn is_given(&self, key: Value<'scope>) -> Outcome<bool> {
        let everybodys = self.env.object()?.prototype()?;
        let mut holder = self.object;
        while holder.kind()? != Kind::Null && !holder.is_same(everybodys)? {
            if holder.has_own(key)? {
                return Ok(true);
            }
            holder = holder.prototype()?;
        }
        Ok(false)
    }

    fn text(&self, name: &str) -> Outcome<Option<String>> {
        self.get(name)?
            .map(|text| read_text(&self.path_of(name), text))
            .transpose()
    }

    fn boolean(&self, name: &str) -> Outcome<Option<bool>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        if value.kind()? != Kind::Boolean {
            return Err(self.error(name, "must be true or false"));
        }
        Ok(Some(value.boolean()?))
    }

    fn number(&self, name: &str) -> Outcome<Option<f64>> {
        let Some(value) = self.get(name)? else { return Ok(None) };
        if value.kind()? != Kind::Number {
            return Err(self.error(name, "must be a number"));
        }
        Ok(Some(value.number()?))
    }

    /// An integer; the core knows its range.
    fn integer<T: TryFrom<i64>>(&self, name: &str) -> Outcome<Option<T>> {
        let Some(number) = self.number(name)? else {
            return Ok(None);
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what does not fit ends at a bound that is out of range"
        )]
        let integer = (number.fract() == 0.0).then_some(number as i64);
        match integer.and_then(|integer| T::try_from(integer).ok()) {
            Some(integer) => Ok(Some(integer)),
            None => Err(self.error(name, "must be an integer in range")),
        }
    }

    /// A time in units of which so many make a second; the core knows its range.
    fn duration(&self, name: &str, per_second: f64) -> Outcome<Option<Duration>> {
        let Some(number) = self.number(name)? else {
            return Ok(None);
        };
        match Duration::try_from_secs_f64(number / per_second) {
            Ok(duration) => Ok(Some(duration)),
            Err(_) => Err(self.error(name, "must be a time in range")),
        }
    }

    fn list<T>(&self, name: &str, read: impl Fn(&str, Value<'_>) -> Outcome<T>) -> Outcome<Option<Vec<T>>> {
        let Some(array) = self.get(name)? else { return Ok(None) };
        if array.kind()? != Kind::Object || !array.is_array()? {
            return Err(self.error(name, "must be an array"));
        }
        let items = (0..array.array_length()?).map(|index| {
            let path = format!("{}[{index}]", self.path_of(name));
            read(&path, self.readable(&format!("{name}[{index}]"), array.element(index))?)
        });
        items.collect::<Outcome<_>>().map(Some)
    }
}

/// The name that a misspelt one was meant to be, if one is near.
fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    let distances = names.iter().map(|known| (distance(name, known), *known));
    let (distance, nearest) = distances.min()?;
    (distance <= name.len() / 3).then_some(nearest)
}

/// How many letters must be put in, left out or replaced to make one text of another, whatever their case.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.to_lowercase().chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for place in 0..other.len() {
            let replaced = diagonal + usize::from(letter != other[place]);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}
