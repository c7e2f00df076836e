//! N-API bindings of the Mizan cache: they convert values and delegate to `mizan-cache-core`.
//!
//! `cache/native.ts` declares the types of its functions. Loading it starts no thread, and nothing here keeps a process
//! alive: sockets and timers are JavaScript's.

mod answers;
mod default_cache;
mod events;
#[cfg(feature = "faults")]
mod faults;
mod handle;
mod js;
mod operations;
mod options;
mod params;
mod text;

use std::rc::Rc;

use mizan_cache_core::key::Signer;
use napi::{JsValue, bindgen_prelude::Object};
use napi_derive::napi;

use crate::{
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
        let realm = Rc::new(Realm::new(env)?);
        let nothing = Rc::new(());
        exports.define(c"canonicalForm", env.function("canonicalForm", &realm, canonical_form)?)?;
        exports.define(c"createSigner", env.function("createSigner", &realm, create_signer)?)?;
        exports.define(c"deriveKey", env.function("deriveKey", &realm, derive_key)?)?;
        exports.define(c"openCache", env.function("openCache", &nothing, open_cache)?)?;
        exports.define(
            c"configureDefault",
            env.function("configureDefault", &nothing, configure_default)?,
        )?;
        exports.define(c"currentId", env.function("currentId", &nothing, current_id)?)?;
        exports.define(
            c"currentDefault",
            env.function("currentDefault", &nothing, current_default)?,
        )?;
        #[cfg(feature = "faults")]
        exports.define(c"faults", faults::faults(env)?)?;
        env.undefined()
    });
}

fn canonical_form<'scope>(
    env: Env<'scope>,
    realm: &Rc<Realm>,
    [context, params, user, rev, ..]: Arguments<'scope>,
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

fn open_cache<'scope>(env: Env<'scope>, _: &Rc<()>, [options, ..]: Arguments<'scope>) -> Outcome<Value<'scope>> {
    let config = read_config(env, options, env.undefined()?, env.undefined()?)?;
    operations(env, Held::open(&config, None)?)
}

fn configure_default<'scope>(
    env: Env<'scope>,
    _: &Rc<()>,
    [options, fallback_url, fallback_secret, ..]: Arguments<'scope>,
) -> Outcome<Value<'scope>> {
    let config = read_config(env, options, fallback_url, fallback_secret)?;
    operations(env, default_cache::configure(config)?)
}

/// The id of the default cache; 0 while there is none.
fn current_id<'scope>(env: Env<'scope>, _: &Rc<()>, _: Arguments<'scope>) -> Outcome<Value<'scope>> {
    env.count(default_cache::current_id())
}

/// The default cache, and the certificates that whoever configured it gave: of those of another thread JavaScript has none.
fn current_default<'scope>(env: Env<'scope>, _: &Rc<()>, _: Arguments<'scope>) -> Outcome<Value<'scope>> {
    let (held, certificates) = default_cache::current()?;
    let tls = env.object()?;
    for (name, pem) in [
        (c"ca", certificates.ca),
        (c"cert", certificates.cert),
        (c"key", certificates.key),
    ] {
        if let Some(pem) = pem {
            tls.define(name, env.bytes(&pem)?)?;
        }
    }
    if let Some(servername) = certificates.servername {
        tls.define(c"servername", env.string(&servername)?)?;
    }
    env.array(&[operations(env, held)?, tls])
}
