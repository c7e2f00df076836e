//! N-API bindings of the Mizan cache: they convert values and delegate to `mizan-cache-core`.
//!
//! The module has one function, `attach(settle)`, which returns all others; `cache/native.ts` declares their types.
//! Loading it starts no thread, and nothing here keeps a process alive but operations that are under way.

mod answer;
mod completions;
mod default_cache;
mod events;
#[cfg(feature = "faults")]
mod faults;
mod js;
mod operations;
mod options;
mod params;
mod runtime;

use std::rc::Rc;

use mizan_cache_core::key::Signer;
use napi::{JsValue, bindgen_prelude::Object};
use napi_derive::napi;

use crate::{
    completions::Completions,
    default_cache::Held,
    js::{ARGUMENTS, Env, Outcome, Value},
    operations::{operations, read_canonical},
    options::{read_config, read_secret},
    params::Realm,
};

type Arguments<'scope> = [Value<'scope>; ARGUMENTS];

/// Fills the module's exports.
#[napi(module_exports)]
fn register(exports: Object<'_>, env: napi::Env) {
    // SAFETY: Node is running this callback in this environment, and neither value outlives it.
    let (env, exports) = unsafe {
        let env = Env::from_raw(env.raw());
        (env, env.value(exports.raw()))
    };
    js::guard(env, || {
        exports.set(c"attach", env.function("attach", &Rc::new(Realm::new(env)?), attach)?)?;
        env.undefined()
    });
}

/// All functions, for a user of this module who settles promises by `settle`.
fn attach<'scope>(env: Env<'scope>, realm: &Rc<Realm>, [settle, ..]: Arguments<'scope>) -> Outcome<Value<'scope>> {
    let completions = Rc::new(Completions::new(settle)?);
    let functions = env.object()?;
    functions.set(c"canonicalForm", env.function("canonicalForm", realm, canonical_form)?)?;
    functions.set(c"createSigner", env.function("createSigner", realm, create_signer)?)?;
    functions.set(c"deriveKey", env.function("deriveKey", realm, derive_key)?)?;
    functions.set(c"openCache", env.function("openCache", &completions, open_cache)?)?;
    functions.set(
        c"configureDefault",
        env.function("configureDefault", &completions, configure_default)?,
    )?;
    functions.set(c"begin", env.function("begin", &completions, begin)?)?;
    functions.set(c"defaultCache", operations(env, None, &completions)?)?;
    #[cfg(feature = "faults")]
    functions.set(c"faults", faults::faults(env, &completions)?)?;
    Ok(functions)
}

/// Begins the operations whose answers are still to come.
fn begin<'scope>(env: Env<'scope>, completions: &Rc<Completions>, _: Arguments<'scope>) -> Outcome<Value<'scope>> {
    completions.begin();
    env.undefined()
}

fn canonical_form<'scope>(
    env: Env<'scope>,
    realm: &Rc<Realm>,
    [context, params, user, rev, _]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let canonical = params::read_canonical(env, realm, [context, params, user, rev])?;
    env.string(canonical.as_str())
}

/// A function that makes the key of a canonical form.
fn create_signer<'scope>(env: Env<'scope>, _: &Rc<Realm>, [secret, ..]: Arguments<'scope>) -> Outcome<Value<'scope>> {
    let signer = Signer::new(&read_secret("secret", secret)?)?;
    env.function("sign", &Rc::new(signer), sign)
}

fn sign<'scope>(env: Env<'scope>, signer: &Rc<Signer>, [canonical, ..]: Arguments<'scope>) -> Outcome<Value<'scope>> {
    env.string(signer.key(&read_canonical(canonical)?).as_str())
}

/// The key of a canonical form, for a secret that is used once or may change.
fn derive_key<'scope>(
    env: Env<'scope>,
    _: &Rc<Realm>,
    [secret, canonical, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let signer = Signer::new(&read_secret("secret", secret)?)?;
    env.string(signer.key(&read_canonical(canonical)?).as_str())
}

fn open_cache<'scope>(
    env: Env<'scope>,
    completions: &Rc<Completions>,
    [options, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let config = read_config(env, options, env.undefined()?, env.undefined()?)?;
    let held = Held::open(&config)?;
    completions.observe(env, &held.cache)?;
    operations(env, Some(held), completions)
}

fn configure_default<'scope>(
    env: Env<'scope>,
    completions: &Rc<Completions>,
    [options, fallback_url, fallback_secret, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let config = read_config(env, options, fallback_url, fallback_secret)?;
    let held = default_cache::configure(config)?;
    completions.observe(env, &held.cache)?;
    operations(env, Some(held), completions)
}
