//! A Redis server of a test's own, on a unix socket in a temporary folder, gone with the value that holds it.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use mizan_cache_core::{
    canonical::{Canonical, ParamValue},
    config::{
        BackendConfig, Config, DEFAULT_LEASE_TIME, DEFAULT_MAX_IN_FLIGHT, DEFAULT_MAX_VALUE_BYTES, DEFAULT_TTL,
        RedisConfig, TlsConfig, Topology,
    },
};

pub struct Server {
    process: Child,
    folder: PathBuf,
    arguments: Vec<String>,
}

impl Server {
    pub fn start(arguments: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("mizan-engine-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a temporary folder");
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let server = Self {
            process: run(&folder, &arguments),
            folder,
            arguments,
        };
        server.answers();
        server
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.folder.join("redis.sock").display())
    }

    /// One command, by a connection of its own, and what the server answers.
    pub fn ask(&self, words: &[&str]) -> redis::Value {
        let mut socket = UnixStream::connect(self.folder.join("redis.sock")).expect("a server");
        let mut command = redis::Cmd::new();
        command.arg(words);
        socket
            .write_all(&command.get_packed_command())
            .expect("a server that listens");
        let (mut answer, mut buffer) = (Vec::new(), vec![0; 65_536]);
        loop {
            let length = socket.read(&mut buffer).expect("an answer");
            answer.extend_from_slice(&buffer[..length]);
            if let Ok(value) = redis::parse_redis_value(&answer) {
                return value;
            }
            assert!(length > 0, "an answer");
        }
    }

    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn resume(&self) {
        self.signal("CONT");
    }

    pub fn kill(&mut self) {
        self.process.kill().expect("a running server");
        self.process.wait().expect("an ended server");
    }

    pub fn restart(&mut self) {
        self.kill();
        self.process = run(&self.folder, &self.arguments);
        self.answers();
    }

    fn answers(&self) {
        until("the server to answer", || {
            UnixStream::connect(self.folder.join("redis.sock")).is_ok()
        });
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.process.id().to_string())
            .status();
        assert!(status.expect("the kill command").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A paused process is killed too; one that was killed by the test is gone already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn run(folder: &PathBuf, arguments: &[String]) -> Child {
    let program = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
    let socket = folder.join("redis.sock");
    let _ = fs::remove_file(&socket);
    Command::new(program)
        .args([
            "--port",
            "0",
            "--save",
            "",
            "--appendonly",
            "no",
            "--enable-debug-command",
            "yes",
            "--unixsocket",
        ])
        .arg(socket)
        .args(arguments)
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect(
            "redis-server 7 or newer on the PATH or in REDIS_SERVER: install it with `apt-get install redis-server`",
        )
}

/// Waits for something that can be observed.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn config(url: &str) -> Config {
    Config {
        secret: b"a secret that only the tests know".to_vec(),
        previous_secrets: Vec::new(),
        backend: BackendConfig::Redis(RedisConfig {
            topology: Topology::Standalone { url: url.to_owned() },
            command_timeout: Duration::from_millis(250),
            connect_timeout: Duration::from_millis(500),
            max_in_flight: DEFAULT_MAX_IN_FLIGHT,
            local_max_bytes: None,
            asks_for_credentials: false,
            tls: TlsConfig::default(),
        }),
        ttl: DEFAULT_TTL,
        lease_time: DEFAULT_LEASE_TIME,
        max_value_bytes: DEFAULT_MAX_VALUE_BYTES,
    }
}

/// The call of a context with one parameter.
pub fn call(context: &str, id: i128) -> Canonical {
    Canonical::new(context, &[("id".to_owned(), ParamValue::Integer(id))], None, 0).expect("a legal call")
}
