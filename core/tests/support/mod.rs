//! Redis servers of the tests' own, on unix sockets in a temporary folder, gone with the value that holds them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use mizan_cache_core::{
    cache::Cache,
    canonical::{Canonical, ParamValue},
    config::{
        BackendConfig, Config, DEFAULT_LEASE_TIME, DEFAULT_MAX_IN_FLIGHT, DEFAULT_MAX_VALUE_BYTES, DEFAULT_TTL,
        RedisConfig, Topology,
    },
};
use redis::aio::MultiplexedConnection;

/// How long anything that must happen may take before the test counts as failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Server {
    process: Child,
    folder: PathBuf,
}

impl Server {
    pub async fn start() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "mizan-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a temporary folder");
        let server = Self {
            process: run(&folder),
            folder,
        };
        server.answers().await;
        server
    }

    pub fn url(&self) -> String {
        format!("unix://{}", self.folder.join("redis.sock").display())
    }

    /// A client that knows nothing of leases.
    pub async fn client(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.url()).expect("a URL");
        client.get_multiplexed_async_connection().await.expect("a connection")
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

    pub async fn restart(&mut self) {
        self.kill();
        self.process = run(&self.folder);
        self.answers().await;
    }

    async fn answers(&self) {
        let client = redis::Client::open(self.url()).expect("a URL");
        until("the server to answer", async || {
            client.get_multiplexed_async_connection().await.is_ok()
        })
        .await;
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

fn run(folder: &Path) -> Child {
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
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn redis_config(url: &str) -> RedisConfig {
    RedisConfig {
        topology: Topology::Standalone { url: url.to_owned() },
        command_timeout: Duration::from_millis(250),
        connect_timeout: Duration::from_millis(500),
        max_in_flight: DEFAULT_MAX_IN_FLIGHT,
    }
}

pub fn config(backend: BackendConfig) -> Config {
    Config {
        secret: b"a secret that only the tests know".to_vec(),
        previous_secrets: Vec::new(),
        backend,
        ttl: DEFAULT_TTL,
        lease_time: DEFAULT_LEASE_TIME,
        max_value_bytes: DEFAULT_MAX_VALUE_BYTES,
    }
}

pub fn cache(server: &Server) -> Cache {
    Cache::new(&config(BackendConfig::Redis(redis_config(&server.url())))).expect("a legal configuration")
}

/// The call of a context with one parameter.
pub fn call(context: &str, id: i128) -> Canonical {
    Canonical::new(context, &[("id".to_owned(), ParamValue::Integer(id))], None, 0).expect("a legal call")
}
