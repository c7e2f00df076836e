//! How a cache lives on tokio: its task, its runtimes, its sockets.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use crate::support::{COMMAND_TIMEOUT, Events, Server, all, cache, call, config, free_port, redis_config, until};
use bytes::Bytes;
use mizan_cache_core::{
    cache::{Cache, Credentials, Observer, Purge, PutOptions},
    config::{BackendConfig, RedisConfig, TlsConfig},
    error::ErrorCode,
    events::{ConnectionEvent, Event, Reason},
    lease::Lookup,
    stats::Circuit,
};
use tokio::runtime::{Builder, Runtime};

const VALUE: Bytes = Bytes::from_static(b"{}");

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

async fn put(cache: &Cache, id: i128) -> bool {
    let stored = cache.put(&call("user", id), VALUE, PutOptions::default());
    stored.await.expect("an open cache")
}

async fn get(cache: &Cache, id: i128) -> Option<Bytes> {
    cache.get(&call("user", id)).await.expect("an open cache")
}

/// How many commands of a kind the server has done.
async fn done(server: &Server, command: &str) -> usize {
    let mut client = server.client().await;
    let statistics: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut client)
        .await
        .expect("statistics");
    let prefix = format!("cmdstat_{command}:calls=");
    let calls = statistics.lines().find_map(|line| line.strip_prefix(&*prefix));
    calls.map_or(0, |calls| {
        let calls = calls.split(',').next().and_then(|calls| calls.parse().ok());
        calls.expect("a number of calls")
    })
}

#[tokio::test]
async fn calls_that_are_made_together_go_together_and_in_their_order() {
    let server = Server::start().await;
    let cache = cache(&server);
    assert!(put(&cache, 0).await);
    let before = done(&server, "mget").await;
    let answers = all((0..100).map(|_| cache.get(&call("user", 0)))).await;
    assert!(answers.iter().all(|answer| *answer == Ok(Some(VALUE))));
    assert_eq!(done(&server, "mget").await - before, 1);

    // Also those of different tasks.
    let before = done(&server, "mget").await;
    let tasks = (0..100).map(|_| {
        let cache = cache.clone();
        tokio::spawn(async move { cache.get(&call("user", 0)).await })
    });
    for answer in all(tasks).await {
        assert_eq!(answer.expect("no panic"), Ok(Some(VALUE)));
    }
    assert!(done(&server, "mget").await - before < 10);

    for _ in 0..50 {
        let user = call("user", 1);
        let first = cache.put(&user, Bytes::from_static(b"1"), PutOptions::default());
        let purge = cache.purge(Purge::Entry(&user));
        let second = cache.put(&user, Bytes::from_static(b"2"), PutOptions::default());
        let read = cache.get(&user);
        // In whatever order they are waited for.
        assert_eq!(read.await, Ok(Some(Bytes::from_static(b"2"))));
        assert_eq!(second.await, Ok(true));
        assert_eq!(purge.await, Ok(1));
        assert_eq!(first.await, Ok(true));
    }
}

#[tokio::test]
async fn a_future_that_is_dropped_stops_nothing() {
    let server = Server::start().await;
    let (cache, other) = (cache(&server), cache(&server));
    assert!(put(&other, 1).await);
    drop(cache.purge(Purge::Entry(&call("user", 1))));
    until("the purge to arrive", async || get(&other, 1).await.is_none()).await;
    drop(cache.put(&call("user", 2), VALUE, PutOptions::default()));
    until("the value to arrive", async || get(&other, 2).await.is_some()).await;
    assert_eq!(cache.stats().purges, 1);
}

#[test]
fn a_call_may_be_made_outside_of_the_runtime_that_waits_for_it() {
    let runtime = runtime();
    let server = runtime.block_on(Server::start());
    let cache = cache(&server);
    let stored = cache.put(&call("user", 1), VALUE, PutOptions::default());
    assert_eq!(runtime.block_on(stored), Ok(true));
    // The task runs by now: any executor will do.
    let found = cache.get(&call("user", 1));
    let waiting = thread::spawn(|| {
        Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(found)
    });
    runtime.block_on(until("the answer", async || waiting.is_finished()));
    assert_eq!(waiting.join().expect("no panic"), Ok(Some(VALUE)));
}

#[test]
fn a_cache_outlives_its_runtime() {
    let of_server = runtime();
    let server = of_server.block_on(Server::start());
    let cache = cache(&server);
    let first = runtime();
    assert!(first.block_on(put(&cache, 1)));
    server.pause();
    let (unanswered, purge) = {
        let _entered = first.enter();
        (cache.get(&call("user", 1)), cache.purge(Purge::Entry(&call("user", 1))))
    };
    // Sent, or still queued when the runtime ends: neither hangs, and the purge is done by the next task.
    drop(first);
    server.resume();
    let second = runtime();
    assert_eq!(second.block_on(unanswered), Ok(None));
    assert_eq!(second.block_on(purge), Ok(0));
    second.block_on(until("the connection", async || put(&cache, 2).await));
    second.block_on(until("the purge to arrive", async || get(&cache, 1).await.is_none()));
    assert_eq!(second.block_on(get(&cache, 2)), Some(VALUE));
    second.block_on(cache.close());
    assert_eq!(
        second
            .block_on(cache.get(&call("user", 2)))
            .map_err(|error| error.code()),
        Err(ErrorCode::Closed)
    );
}

#[tokio::test]
async fn what_is_not_used_needs_no_runtime_and_no_task() {
    let server = Server::start().await;
    thread::spawn({
        let url = server.url();
        move || {
            let cache = Cache::new(&config(BackendConfig::Redis(redis_config(&url)))).expect("a legal configuration");
            assert_eq!(cache.stats().circuit, Some(Circuit::Idle));
            assert!(!cache.is_connected());
            // Ready at once.
            let mut closing = std::pin::pin!(cache.close());
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(closing.as_mut().poll(&mut context).is_ready());
        }
    })
    .join()
    .expect("no panic");
}

#[tokio::test]
async fn closing_twice_waits_twice_and_fails_what_comes_later() {
    let server = Server::start().await;
    let cache = cache(&server);
    assert!(put(&cache, 1).await);
    server.pause();
    let purge = cache.purge(Purge::Entry(&call("user", 1)));
    let (first, second) = (cache.close(), cache.close());
    assert_eq!(
        cache.purge(Purge::Context("user")).await.map_err(|error| error.code()),
        Err(ErrorCode::Closed)
    );
    assert_eq!(cache.peek(&call("user", 1)), None);
    server.resume();
    first.await;
    second.await;
    assert_eq!(purge.await, Ok(1));
    cache.close().await;
    assert!(!cache.is_connected());
}

#[tokio::test]
async fn the_last_clone_delivers_what_is_pending() {
    let server = Server::start().await;
    let (cache, other) = (cache(&server), cache(&server));
    assert!(put(&other, 1).await);
    assert!(put(&cache, 2).await);
    server.pause();
    assert_eq!(cache.purge(Purge::Entry(&call("user", 1))).await, Ok(0));
    assert_eq!(cache.stats().pending_purges, 1);
    drop(cache.clone());
    drop(cache);
    server.resume();
    until("the purge to arrive", async || get(&other, 1).await.is_none()).await;
}

#[tokio::test]
async fn a_cache_inherits_what_the_one_before_it_could_not_deliver() {
    let mut server = Server::start().await;
    let (old, other) = (cache(&server), cache(&server));
    assert!(put(&other, 1).await);
    assert!(put(&old, 2).await);
    server.pause();
    assert_eq!(old.purge(Purge::Entry(&call("user", 1))).await, Ok(0));
    let config = config(BackendConfig::Redis(redis_config(&server.url())));
    let new = Cache::replacing(&config, &old).expect("a legal configuration");
    assert_eq!(new.stats().pending_purges, 1);
    old.close().await;
    server.resume();
    assert_eq!(get(&new, 1).await, None, "covered until it is delivered");
    until("the purge to arrive", async || new.stats().pending_purges == 0).await;
    assert_eq!(get(&other, 1).await, None);
    server.kill();
}

/// The program, not Redis, is what was slow.
#[tokio::test]
async fn a_program_that_was_blocked_sees_no_timeouts() {
    let server = Server::start().await;
    let cache = cache(&server);
    assert!(put(&cache, 1).await);
    for _ in 0..5 {
        server.pause();
        let found = cache.get(&call("user", 1));
        until("the call to be sent", async || cache.stats().in_flight > 0).await;
        server.resume();
        // Redis answers, and nobody looks.
        thread::sleep(COMMAND_TIMEOUT + Duration::from_millis(50));
        // The task is woken before the runtime has looked.
        let next = cache.get(&call("user", 1));
        assert_eq!(found.await, Ok(Some(VALUE)));
        assert_eq!(next.await, Ok(Some(VALUE)));
    }
    for _ in 0..3 {
        let found = cache.get(&call("user", 1));
        thread::sleep(COMMAND_TIMEOUT + Duration::from_millis(50));
        assert_eq!(found.await, Ok(Some(VALUE)));
        thread::sleep(COMMAND_TIMEOUT + Duration::from_millis(50));
    }
    assert_eq!(cache.stats().timeouts, 0);
    assert_eq!(cache.stats().reconnects, 0);
}

#[tokio::test]
async fn a_large_value_comes_and_goes_whole() {
    let server = Server::start().await;
    let mut redis = redis_config(&server.url());
    redis.command_timeout = Duration::from_secs(10);
    let cache = Cache::new(&config(BackendConfig::Redis(redis))).expect("a legal configuration");
    let large: Bytes = (0..8 * 1024 * 1024_u32)
        .map(|number| number.to_le_bytes()[0])
        .collect::<Vec<_>>()
        .into();
    let user = call("user", 1);
    for _ in 0..3 {
        assert_eq!(cache.put(&user, large.clone(), PutOptions::default()).await, Ok(true));
        assert_eq!(
            cache.get(&user).await.map(|found| found == Some(large.clone())),
            Ok(true)
        );
        assert!(put(&cache, 2).await);
    }
}

#[tokio::test]
async fn many_values_are_read_and_looked_up_in_their_order() {
    let server = Server::start().await;
    let cache = cache(&server);
    let calls: Vec<_> = (0..300).map(|id| call("user", id)).collect();
    let values = (0..300).map(|id| (id % 2 == 0).then(|| Bytes::from(id.to_string())));
    let values: Vec<_> = values.collect();
    for (call, value) in calls.iter().zip(&values) {
        if let Some(value) = value {
            assert_eq!(cache.put(call, value.clone(), PutOptions::default()).await, Ok(true));
        }
    }
    assert_eq!(cache.get_many(&calls).await.as_ref(), Ok(&values));
    let found = cache.lookup_many(&calls).await.expect("an open cache");
    for ((found, value), call) in found.into_iter().zip(&values).zip(&calls) {
        match (found, value) {
            (Lookup::Hit(found), Some(value)) => assert_eq!(found, value),
            (Lookup::Leased(lease), None) => {
                assert_eq!(cache.release(call, lease.clone()).await, Ok(true));
                assert_eq!(cache.release(call, lease).await, Ok(false));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(cache.stats().purges, 0, "to give a lease back is no purge");
}

#[tokio::test]
async fn a_copy_answers_without_redis_but_overtakes_no_call() {
    let server = Server::start().await;
    let mut redis = redis_config(&server.url());
    redis.local_max_bytes = Some(1 << 20);
    let cache = Cache::new(&config(BackendConfig::Redis(redis))).expect("a legal configuration");
    let user = call("user", 1);
    assert!(put(&cache, 1).await);
    until("a copy", async || {
        get(&cache, 1).await;
        cache.peek(&user).is_some()
    })
    .await;
    let before = done(&server, "mget").await;
    assert_eq!(get(&cache, 1).await, Some(VALUE));
    assert_eq!(cache.lookup(&user).await, Ok(Lookup::Hit(VALUE)));
    assert_eq!(done(&server, "mget").await, before);
    let newer = Bytes::from_static(b"newer");
    for _ in 0..20 {
        get(&cache, 1).await;
        let stored = cache.put(&user, newer.clone(), PutOptions::default());
        assert_eq!(get(&cache, 1).await, Some(newer.clone()));
        assert_eq!(stored.await, Ok(true));
        get(&cache, 1).await;
        let purged = cache.purge(Purge::Entry(&user));
        assert_eq!(get(&cache, 1).await, None);
        assert_eq!(purged.await, Ok(1));
        assert!(put(&cache, 1).await);
    }
}

async fn secure(server: &Server, rules: &[&str]) {
    let mut client = server.client().await;
    let mut command = redis::cmd("ACL");
    command.arg("SETUSER").arg(rules);
    let _: () = command.query_async(&mut client).await.expect("a rule");
}

#[tokio::test]
async fn credentials_are_asked_for_at_each_connection() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let server = Server::start().await;
    secure(&server, &["app", "on", ">0", "~*", "+@all"]).await;
    let config = config(BackendConfig::Redis(redis_config(&server.url())));
    let cache = Cache::builder(&config)
        .credentials(|| async {
            tokio::task::yield_now().await;
            Some(Credentials {
                username: Some("app".to_owned()),
                password: ASKED.fetch_add(1, Relaxed).to_string(),
            })
        })
        .build()
        .expect("a legal configuration");
    assert!(put(&cache, 1).await);
    assert_eq!(ASKED.load(Relaxed), 1);
    secure(&server, &["app", "resetpass", ">1"]).await;
    let mut client = server.client().await;
    let _: () = redis::cmd("CLIENT")
        .arg(&["KILL", "USER", "app"])
        .query_async(&mut client)
        .await
        .expect("a connection that ends");
    until("the next connection", async || put(&cache, 1).await).await;
    assert_eq!(ASKED.load(Relaxed), 2);
}

#[tokio::test]
async fn a_program_without_credentials_is_told_so() {
    let server = Server::start().await;
    let config = config(BackendConfig::Redis(redis_config(&server.url())));
    let cache = Cache::builder(&config)
        .credentials(|| async { None })
        .build()
        .expect("a legal configuration");
    let events = Events::of(&cache);
    assert!(!put(&cache, 1).await);
    let failed = Event::Connection(ConnectionEvent::Failed(Reason::Credentials));
    until("the failure to be told", async || events.has(&failed)).await;
}

#[test]
fn credentials_need_their_function_and_redis() {
    let mut redis = redis_config("redis://127.0.0.1");
    redis.asks_for_credentials = true;
    let refused = |result: Result<Cache, _>| {
        result
            .map(|_| ())
            .map_err(|error: mizan_cache_core::error::Error| error.code())
    };
    assert_eq!(
        refused(Cache::new(&config(BackendConfig::Redis(redis)))),
        Err(ErrorCode::Option)
    );
    let memory = config(BackendConfig::Memory { max_bytes: 1_000 });
    let asking = Cache::builder(&memory).credentials(|| async { None });
    assert_eq!(refused(asking.build()), Err(ErrorCode::Option));
}

/// An authority, and a certificate for this host and for clients.
struct Certificates {
    folder: tempfolder::Folder,
}

mod tempfolder {
    use std::{fs, path::PathBuf};

    pub struct Folder(pub PathBuf);

    impl Folder {
        pub fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mizan-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a temporary folder");
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

impl Certificates {
    fn new(name: &str) -> Self {
        let folder = tempfolder::Folder::new(name);
        let openssl = |arguments: &str| {
            let output = Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(&folder.0)
                .output()
                .expect("openssl on the PATH");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        openssl(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2"
        ));
        openssl(&format!(
            "req {key} -keyout key.pem -out request.pem -subj /CN=cache.test"
        ));
        fs::write(folder.0.join("names"), "subjectAltName=DNS:cache.test").expect("a file");
        openssl(
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile names",
        );
        Self { folder }
    }

    fn path(&self, name: &str) -> String {
        self.folder.0.join(name).display().to_string()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(Path::new(&self.path(name))).expect("a file")
    }
}

#[tokio::test]
async fn tls_trusts_whom_it_is_told_to_and_shows_who_it_is() {
    let (ours, foreign) = (Certificates::new("ours"), Certificates::new("foreign"));
    let port = free_port();
    let arguments = [
        format!("--port 0 --bind 127.0.0.1 --tls-port {port} --tls-auth-clients yes"),
        format!("--tls-ca-cert-file {}", ours.path("ca.pem")),
        format!(
            "--tls-cert-file {} --tls-key-file {}",
            ours.path("cert.pem"),
            ours.path("key.pem")
        ),
    ];
    let Some(server) = Server::start_with(&arguments.join(" ")).await else {
        println!("skipped: this Redis is built without TLS");
        return;
    };
    let trusting = TlsConfig {
        ca: Some(ours.read("ca.pem")),
        cert: Some(ours.read("cert.pem")),
        key: Some(ours.read("key.pem")),
        servername: Some("cache.test".to_owned()),
    };
    let connect = |tls: TlsConfig| {
        let redis = RedisConfig {
            tls,
            connect_timeout: Duration::from_secs(5),
            command_timeout: Duration::from_secs(5),
            ..redis_config(&format!("rediss://127.0.0.1:{port}"))
        };
        Cache::new(&config(BackendConfig::Redis(redis))).expect("a legal configuration")
    };
    let cache = connect(trusting.clone());
    assert!(put(&cache, 1).await);
    assert_eq!(get(&cache, 1).await, Some(VALUE));
    let large = Bytes::from(vec![b'x'; 4 * 1024 * 1024]);
    let user = call("user", 2);
    assert_eq!(cache.put(&user, large.clone(), PutOptions::default()).await, Ok(true));
    assert_eq!(cache.get(&user).await.map(|found| found == Some(large)), Ok(true));

    let mistrusting = [
        TlsConfig {
            ca: Some(foreign.read("ca.pem")),
            ..trusting.clone()
        },
        // The authorities of this host know nothing of ours.
        TlsConfig {
            ca: None,
            ..trusting.clone()
        },
        TlsConfig {
            servername: None,
            ..trusting.clone()
        },
        TlsConfig {
            cert: None,
            key: None,
            ..trusting.clone()
        },
        TlsConfig {
            cert: Some(foreign.read("cert.pem")),
            key: Some(foreign.read("key.pem")),
            ..trusting.clone()
        },
    ];
    for (index, tls) in mistrusting.into_iter().enumerate() {
        let cache = connect(tls);
        let events = Events::of(&cache);
        assert!(!put(&cache, 1).await, "{index}");
        let failed = Event::Connection(ConnectionEvent::Failed(Reason::Certificate));
        until("the failure to be told", async || events.has(&failed)).await;
    }
    let mixed = TlsConfig {
        key: Some(foreign.read("key.pem")),
        ..trusting
    };
    let redis = RedisConfig {
        tls: mixed,
        ..redis_config("rediss://127.0.0.1")
    };
    let refused = Cache::new(&config(BackendConfig::Redis(redis))).expect_err("a refusal");
    assert_eq!(refused.message(), "options.tls.key is not the key of options.tls.cert");
    drop(server);
}

/// An observer that asks the cache itself, where a lock would wait for itself.
#[tokio::test]
async fn an_observer_may_use_the_cache() {
    struct Asking(Cache, AtomicU32);
    impl Observer for Asking {
        fn observe(&self, _: &Event) {
            let _ = (self.0.stats(), self.0.is_connected(), self.0.peek(&call("user", 1)));
            drop(self.0.purge(Purge::Entry(&call("user", 2))));
            self.1.fetch_add(1, Relaxed);
        }
    }
    let server = Server::start().await;
    let cache = cache(&server);
    let asking = Arc::new(Asking(cache.clone(), AtomicU32::new(0)));
    let observer: Arc<dyn Observer> = asking.clone();
    assert!(cache.observe(&observer));
    assert!(put(&cache, 1).await);
    assert!(asking.1.load(Relaxed) > 0);
    assert_eq!(cache.clear().await, Ok(1));
}
