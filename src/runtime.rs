//! The one runtime of the process, for everything that waits for Redis.

use std::sync::LazyLock;

use tokio::runtime::{Builder, Runtime};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    // Its thread outlives the environment that starts it, so the code it runs must stay loaded.
    napi::bindgen_prelude::retain_current_module_for_unload_safety();
    Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("mizan-cache")
        .enable_all()
        .build()
        .expect("the system has a thread and an event queue to give")
});

/// The runtime, which is started by the first operation that needs it and runs until the process ends.
pub fn runtime() -> &'static Runtime {
    &RUNTIME
}
