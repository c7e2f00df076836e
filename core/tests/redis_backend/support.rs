//! Redis servers of the tests' own, on unix sockets in a temporary folder, gone with the value that holds them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use mizan_cache_core::{
    cache::{Cache, Observer},
    canonical::{Canonical, ParamValue},
    config::{
        BackendConfig, Config, DEFAULT_LEASE_TIME, DEFAULT_MAX_IN_FLIGHT, DEFAULT_MAX_VALUE_BYTES, DEFAULT_TTL,
        RedisConfig, TlsConfig, Topology,
    },
    events::Event,
};
use redis::aio::MultiplexedConnection;

/// How long anything that must happen may take before the test counts as failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long a call waits for Redis.
pub const COMMAND_TIMEOUT: Duration = Duration::from_millis(250);

pub struct Server {
    process: Child,
    folder: PathBuf,
    arguments: Vec<String>,
}

impl Server {
    pub async fn start() -> Self {
        let server = Self::spawn(&["--port".to_owned(), "0".to_owned()]);
        server.answers().await;
        server
    }

    /// A server with these arguments, of which none has a space; `None` if it does not know them.
    pub async fn start_with(arguments: &str) -> Option<Self> {
        let arguments: Vec<String> = arguments.split(' ').map(str::to_owned).collect();
        let mut server = Self::spawn(&arguments);
        let client = redis::Client::open(server.url()).expect("a URL");
        let mut has_ended = false;
        until("the server to answer, or to end", async || {
            has_ended = server.process.try_wait().expect("a process").is_some();
            has_ended || client.get_multiplexed_async_connection().await.is_ok()
        })
        .await;
        (!has_ended).then_some(server)
    }

    fn spawn(arguments: &[String]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "mizan-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a temporary folder");
        Self {
            process: run(&folder, arguments),
            folder,
            arguments: arguments.to_vec(),
        }
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
        self.process = run(&self.folder, &self.arguments);
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

fn run(folder: &Path, arguments: &[String]) -> Child {
    let program = std::env::var_os("REDIS_SERVER").unwrap_or_else(|| "redis-server".into());
    let socket = folder.join("redis.sock");
    let _ = fs::remove_file(&socket);
    Command::new(program)
        .args([
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

/// Three primaries that share the slots.
pub struct Cluster {
    servers: Vec<Server>,
    ports: Vec<u16>,
}

impl Cluster {
    pub async fn start() -> Self {
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let servers: Vec<Server> = ports
            .iter()
            .map(|port| Server::spawn(&cluster_arguments(*port)))
            .collect();
        for (index, server) in servers.iter().enumerate() {
            server.answers().await;
            let mut client = server.client().await;
            let (first, last) = (index * 5_462, (index * 5_462 + 5_461).min(16_383));
            let mut own = redis::cmd("CLUSTER");
            let _: () = own
                .arg("ADDSLOTSRANGE")
                .arg(first)
                .arg(last)
                .query_async(&mut client)
                .await
                .expect("slots");
            let mut meet = redis::cmd("CLUSTER");
            let _: () = meet
                .arg("MEET")
                .arg("127.0.0.1")
                .arg(ports[0])
                .query_async(&mut client)
                .await
                .expect("a node");
        }
        for server in &servers {
            let mut client = server.client().await;
            until("the cluster to be complete", async || {
                let state: String = redis::cmd("CLUSTER")
                    .arg("INFO")
                    .query_async(&mut client)
                    .await
                    .expect("its state");
                state.contains("cluster_state:ok") && state.contains("cluster_known_nodes:3")
            })
            .await;
        }
        Self { servers, ports }
    }

    pub fn urls(&self) -> Vec<String> {
        self.ports
            .iter()
            .map(|port| format!("redis://127.0.0.1:{port}"))
            .collect()
    }

    /// How many keys each primary has.
    pub async fn sizes(&self) -> Vec<usize> {
        let mut sizes = Vec::new();
        for server in &self.servers {
            let mut client = server.client().await;
            sizes.push(redis::cmd("DBSIZE").query_async(&mut client).await.expect("a size"));
        }
        sizes
    }
}

fn cluster_arguments(port: u16) -> Vec<String> {
    let arguments = format!("--port {port} --bind 127.0.0.1 --cluster-enabled yes --cluster-node-timeout 2000");
    arguments.split(' ').map(str::to_owned).collect()
}

/// A port that nobody listens at now, below the range in which the cluster's second port would be out of bounds.
pub fn free_port() -> u16 {
    loop {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        if port < 55_000 {
            return port;
        }
    }
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
        command_timeout: COMMAND_TIMEOUT,
        connect_timeout: Duration::from_millis(500),
        max_in_flight: DEFAULT_MAX_IN_FLIGHT,
        local_max_bytes: None,
        asks_for_credentials: false,
        tls: TlsConfig::default(),
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

/// The events of a cache.
#[derive(Default)]
pub struct Events(Mutex<Vec<Event>>);

impl Events {
    pub fn of(cache: &Cache) -> Arc<Self> {
        let events = Arc::<Self>::default();
        let observer: Arc<dyn Observer> = events.clone();
        assert!(cache.observe(&observer));
        events
    }

    pub fn all(&self) -> Vec<Event> {
        self.0.lock().expect("no panic").clone()
    }

    pub fn has(&self, event: &Event) -> bool {
        self.0.lock().expect("no panic").contains(event)
    }
}

impl Observer for Events {
    fn observe(&self, event: &Event) {
        self.0.lock().expect("no panic").push(event.clone());
    }
}

/// The answers to calls that were made together.
pub async fn all<T>(calls: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let calls: Vec<_> = calls.into_iter().collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await);
    }
    answers
}

/// The call of a context with one parameter.
pub fn call(context: &str, id: i128) -> Canonical {
    Canonical::new(context, &[("id".to_owned(), ParamValue::Integer(id))], None, 0).expect("a legal call")
}
