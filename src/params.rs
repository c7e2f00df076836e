//! The arguments that make a key, read from JavaScript without losing anything (`protocol.md` §1).
//!
//! What would be refused in the end is refused early: every value and every UTF-16 unit costs at least one byte of the
//! canonical form, so neither a string of 500 MB nor 32 levels of `[x, x]` is ever read further than that form may be
//! long. Cycles end where the nesting does.

use mizan_cache_core::{
    canonical::{
        Canonical, MAX_CANONICAL_BYTES, MAX_CONTEXT_LENGTH, MAX_DEPTH, ParamValue, Path, UserId, check_context,
    },
    error::{Error, ErrorCode},
};

use crate::js::{Env, Failure, Kept, Kind, Outcome, Value};

const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// The built-in functions and objects that tell a plain object from any other.
pub struct Realm {
    object_prototype: Kept,
    array_prototype: Kept,
    get_prototype_of: Kept,
    function_to_string: Kept,
}

impl Realm {
    /// Those of this environment.
    pub fn new(env: Env<'_>) -> Outcome<Self> {
        let global = env.global()?;
        let function = global.named(c"Function")?;
        Ok(Self {
            object_prototype: env.object()?.prototype()?.keep()?,
            array_prototype: env.array(&[])?.prototype()?.keep()?,
            get_prototype_of: global.named(c"Reflect")?.named(c"getPrototypeOf")?.keep()?,
            function_to_string: function.named(c"prototype")?.named(c"toString")?.keep()?,
        })
    }

    /// An object's prototype, also a proxy's.
    fn prototype<'scope>(&self, env: Env<'scope>, object: Value<'scope>) -> Outcome<Value<'scope>> {
        let prototype = object.prototype()?;
        if prototype.kind()? != Kind::Null {
            return Ok(prototype);
        }
        self.get_prototype_of.value(env)?.call(env.undefined()?, &[object])
    }

    /// Whether an object's prototype is `null` or any realm's `Object.prototype`.
    fn is_plain_object<'scope>(&self, env: Env<'scope>, object: Value<'scope>) -> Outcome<bool> {
        let prototype = self.prototype(env, object)?;
        Ok(prototype.kind()? == Kind::Null || self.is_object_prototype(env, prototype)?)
    }

    /// Whether an array's prototype is any realm's `Array.prototype`, which is itself an array, as no class's is.
    fn is_plain_array<'scope>(&self, env: Env<'scope>, array: Value<'scope>) -> Outcome<bool> {
        let prototype = self.prototype(env, array)?;
        Ok(prototype.is_same(self.array_prototype.value(env)?)?
            || prototype.kind()? == Kind::Object
                && prototype.is_array()?
                && self.is_object_prototype(env, self.prototype(env, prototype)?)?)
    }

    /// Whether it is any realm's `Object.prototype`: the one that a native function named `Object` has.
    fn is_object_prototype<'scope>(&self, env: Env<'scope>, value: Value<'scope>) -> Outcome<bool> {
        if value.is_same(self.object_prototype.value(env)?)? {
            return Ok(true);
        }
        if value.kind()? != Kind::Object || self.prototype(env, value)?.kind()? != Kind::Null {
            return Ok(false);
        }
        let constructor = value.named(c"constructor")?;
        if constructor.kind()? != Kind::Function || !constructor.named(c"prototype")?.is_same(value)? {
            return Ok(false);
        }
        let source = self.function_to_string.value(env)?.call(constructor, &[])?;
        Ok(source.text()?.as_deref() == Some("function Object() { [native code] }"))
    }
}

/// The canonical form of a call.
pub fn read_canonical(env: Env<'_>, realm: &Realm, arguments: [Value<'_>; 4]) -> Outcome<Canonical> {
    let [context, params, user, rev] = arguments;
    let context = read_context(context)?;
    let params = read_params(env, realm, params)?;
    let user = read_user(user)?;
    Ok(Canonical::new(&context, &params, user.as_ref(), read_rev(rev)?)?)
}

/// A context. One that is no text, or too long to be read, fails like the empty one.
pub fn read_context(context: Value<'_>) -> Outcome<String> {
    let mut text = String::new();
    if context.kind()? == Kind::String && context.length()? <= MAX_CONTEXT_LENGTH {
        let not_text = || Path::CONTEXT.error(ErrorCode::Surrogate, UNPAIRED_SURROGATE);
        text = context.text()?.ok_or_else(not_text)?;
    }
    check_context(&text)?;
    Ok(text)
}

fn read_user(user: Value<'_>) -> Outcome<Option<UserId>> {
    let path = Path::USER;
    Ok(match user.kind()? {
        Kind::Undefined | Kind::Null => None,
        Kind::String => {
            let mut reader = Budget {
                left: MAX_CANONICAL_BYTES,
            };
            Some(UserId::Text(reader.text(user, &path)?))
        }
        Kind::Number => match to_safe_integer(user.number()?) {
            Some(integer) => Some(UserId::Integer(integer)),
            None => return Err(path.error(ErrorCode::User, "a number must be a safe integer").into()),
        },
        Kind::BigInt => match user.big_integer()? {
            Some(integer) => Some(UserId::Integer(integer)),
            None => return Err(path.error(ErrorCode::User, OUT_OF_RANGE).into()),
        },
        _ => {
            return Err(path
                .error(
                    ErrorCode::User,
                    "must be a string, an integer, a bigint, null or undefined",
                )
                .into());
        }
    })
}

fn read_rev(rev: Value<'_>) -> Outcome<u64> {
    let integer = match rev.kind()? {
        Kind::Undefined => return Ok(0),
        Kind::Number => to_safe_integer(rev.number()?),
        _ => None,
    };
    integer
        .and_then(|integer| u64::try_from(integer).ok())
        .ok_or_else(|| Error::new(ErrorCode::Rev, "rev: must be an integer in [0, 2^53-1]").into())
}

const UNPAIRED_SURROGATE: &str = "the text has an unpaired surrogate";
const OUT_OF_RANGE: &str = "an integer must be in [-2^63, 2^64-1]";

/// A number as the integer that it is, if it is one that JavaScript can tell from its neighbours.
#[expect(clippy::cast_possible_truncation, reason = "a safe integer has 53 bits")]
fn to_safe_integer(number: f64) -> Option<i128> {
    (number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER).then_some(number as i128)
}

fn read_params(env: Env<'_>, realm: &Realm, params: Value<'_>) -> Outcome<Vec<(String, ParamValue)>> {
    let path = Path::PARAMS;
    match params.kind()? {
        Kind::Undefined | Kind::Null => Ok(Vec::new()),
        Kind::Object if !params.is_array()? => {
            let mut reader = Reader {
                env,
                realm,
                budget: Budget {
                    left: MAX_CANONICAL_BYTES,
                },
            };
            reader.members(params, 1, &path)
        }
        _ => Err(path
            .error(ErrorCode::ParamType, "must be a plain object, null or undefined")
            .into()),
    }
}

/// How many bytes of canonical form there is still room for.
struct Budget {
    left: usize,
}

impl Budget {
    fn spend(&mut self, bytes: usize, path: &Path<'_>) -> Outcome<()> {
        let too_long = || path.error(ErrorCode::Size, "the canonical form is longer than 1,048,576 bytes");
        self.left = self.left.checked_sub(bytes).ok_or_else(too_long)?;
        Ok(())
    }

    fn text(&mut self, value: Value<'_>, path: &Path<'_>) -> Outcome<String> {
        self.spend(value.length()? + r#""""#.len(), path)?;
        match value.text()? {
            Some(text) => Ok(text),
            None => Err(path
                .error(ErrorCode::Surrogate, "the text has an unpaired surrogate")
                .into()),
        }
    }
}

struct Reader<'scope, 'realm> {
    env: Env<'scope>,
    realm: &'realm Realm,
    budget: Budget,
}

impl<'scope> Reader<'scope, '_> {
    /// A value that stands in a container of this depth.
    fn value(&mut self, value: Value<'scope>, depth: usize, path: &Path<'_>) -> Outcome<ParamValue> {
        let refuse = |reason: &str| Err(path.error(ErrorCode::ParamType, reason).into());
        match value.kind()? {
            Kind::String => Ok(ParamValue::Text(self.budget.text(value, path)?)),
            Kind::Object if value.is_array()? => self.items(value, depth + 1, path).map(ParamValue::List),
            Kind::Object => self.members(value, depth + 1, path).map(ParamValue::Map),
            kind => {
                self.budget.spend(r#""0""#.len(), path)?;
                match kind {
                    Kind::Null => Ok(ParamValue::Null),
                    Kind::Boolean => Ok(ParamValue::Bool(value.boolean()?)),
                    Kind::Number => read_number(value.number()?, path),
                    Kind::BigInt => match value.big_integer()? {
                        Some(integer) => Ok(ParamValue::Integer(integer)),
                        None => Err(path.error(ErrorCode::ParamNumber, OUT_OF_RANGE).into()),
                    },
                    Kind::Undefined => refuse("undefined is no value: leave the member out, or say null"),
                    Kind::Function => refuse("a function is no value"),
                    Kind::Symbol => refuse("a symbol is no value"),
                    _ => refuse("this is no value"),
                }
            }
        }
    }

    fn members(&mut self, object: Value<'scope>, depth: usize, path: &Path<'_>) -> Outcome<Vec<(String, ParamValue)>> {
        check_depth(depth, path)?;
        if !self.readable(self.realm.is_plain_object(self.env, object), path)? {
            return Err(path.error(ErrorCode::ParamType, "an object must be a plain one").into());
        }
        let keys = self.readable(object.own_keys(), path)?;
        let count = keys.array_length()?;
        self.budget.spend("{}".len(), path)?;
        let mut members = Vec::new();
        for index in 0..count {
            let key = keys.element(index)?;
            if key.kind()? == Kind::Symbol {
                return Err(path
                    .error(ErrorCode::ParamType, "an object must have no symbol as a key")
                    .into());
            }
            let key = key.to_name()?;
            let name = self.budget.text(key, path)?;
            let member_path = path.member(&name);
            let value = self.readable(object.property(key), &member_path)?;
            let value = self.value(value, depth, &member_path)?;
            members.push((name, value));
        }
        Ok(members)
    }

    fn items(&mut self, array: Value<'scope>, depth: usize, path: &Path<'_>) -> Outcome<Vec<ParamValue>> {
        check_depth(depth, path)?;
        if !self.readable(self.realm.is_plain_array(self.env, array), path)? {
            return Err(path.error(ErrorCode::ParamType, "an array must be a plain one").into());
        }
        let length = array.array_length()?;
        // Before its elements are looked at: the length alone may be four billion.
        self.budget.spend("[]".len() + length as usize, path)?;
        if !self.is_dense(array, length, path)? {
            return Err(path
                .error(ErrorCode::ParamType, "an array must have no holes and no other members")
                .into());
        }
        (0..length)
            .map(|index| {
                let path = path.item(index as usize);
                let item = self.readable(array.element(index), &path)?;
                self.value(item, depth, &path)
            })
            .collect()
    }

    /// Whether an array's own keys are exactly its indices. They come in ascending order and before all others, so this
    /// is so where there are as many as the array is long and the last of them is the last index.
    fn is_dense(&mut self, array: Value<'scope>, length: u32, path: &Path<'_>) -> Outcome<bool> {
        let keys = self.readable(array.own_keys(), path)?;
        if keys.array_length()? != length {
            return Ok(false);
        }
        let Some(last) = length.checked_sub(1) else {
            return Ok(true);
        };
        let key = keys.element(last)?;
        Ok(key.kind()? == Kind::Number && to_safe_integer(key.number()?) == Some(last.into()))
    }

    /// Where the caller's own code threw while it was read, the place is named instead.
    fn readable<T>(&self, outcome: Outcome<T>, path: &Path<'_>) -> Outcome<T> {
        outcome.map_err(|failure| match failure {
            Failure::Thrown => {
                self.env.clear_exception();
                path.error(ErrorCode::ParamType, "reading it threw an exception").into()
            }
            Failure::Coded(error) => error.into(),
        })
    }
}

fn check_depth(depth: usize, path: &Path<'_>) -> Outcome<()> {
    if depth > MAX_DEPTH {
        return Err(path
            .error(ErrorCode::Depth, "parameters are nested deeper than 32")
            .into());
    }
    Ok(())
}

fn read_number(number: f64, path: &Path<'_>) -> Outcome<ParamValue> {
    if number.fract() != 0.0 && number.is_finite() {
        return Ok(ParamValue::Float(number));
    }
    match to_safe_integer(number) {
        Some(integer) => Ok(ParamValue::Integer(integer)),
        None => Err(path
            .error(
                ErrorCode::ParamNumber,
                "a number must be finite, and a safe integer if it is integral",
            )
            .into()),
    }
}
