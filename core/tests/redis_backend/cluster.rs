//! The Redis backend on a cluster of three primaries.

use crate::support::{Cluster, call, config, redis_config};
use bytes::Bytes;
use mizan_cache_core::{
    cache::{Cache, Purge, PutOptions},
    config::{BackendConfig, Topology},
    lease::Lookup,
};

const VALUE: Bytes = Bytes::from_static(b"{}");

fn cache(cluster: &Cluster, secret: [u8; 32], previous: &[[u8; 32]]) -> Cache {
    let mut redis = redis_config("");
    redis.topology = Topology::Cluster { urls: cluster.urls() };
    let mut config = config(BackendConfig::Redis(redis));
    config.secret = secret.to_vec();
    config.previous_secrets = previous.iter().map(|secret| secret.to_vec()).collect();
    Cache::new(&config).expect("a legal configuration")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broad_purge_leaves_nothing_on_any_primary_and_nothing_else_goes() {
    let cluster = Cluster::start().await;
    let cache = cache(&cluster, [1; 32], &[]);
    for id in 0..600 {
        assert_eq!(
            cache.put(&call("user", id), VALUE, PutOptions::default()).await,
            Ok(true)
        );
    }
    for id in 0..60 {
        assert_eq!(
            cache.put(&call("order", id), VALUE, PutOptions::default()).await,
            Ok(true)
        );
    }
    assert!(cluster.sizes().await.iter().all(|size| *size > 100), "keys are spread");
    assert_eq!(cache.purge(Purge::Context("user")).await, Ok(600));
    assert_eq!(cluster.sizes().await.iter().sum::<usize>(), 60);
    assert_eq!(cache.clear().await, Ok(60));
    assert_eq!(cluster.sizes().await, [0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_and_purges_under_two_secrets_work_across_slots() {
    let cluster = Cluster::start().await;
    let old = cache(&cluster, [1; 32], &[]);
    let new = cache(&cluster, [2; 32], &[[1; 32]]);
    for id in 0..20 {
        let user = call("user", id);
        let Ok(Lookup::Leased(lease)) = new.lookup(&user).await else {
            panic!("a lease");
        };
        let options = PutOptions {
            lease: Some(lease),
            ..PutOptions::default()
        };
        assert_eq!(new.put(&user, VALUE, options).await, Ok(true));
        assert_eq!(old.put(&user, VALUE, PutOptions::default()).await, Ok(true));
        assert_eq!(new.purge(Purge::Entry(&user)).await, Ok(2));
        assert_eq!(old.get(&user).await, Ok(None));
    }
}
