//! JavaScript values, and every call of Node-API.
//!
//! An [`Env`] and a [`Value`] live as long as the callback they were handed to: their lifetime keeps them from leaving
//! it, and their raw pointers keep them on its thread. That is what all the `unsafe` here rests on.

use std::{
    ffi::{CStr, c_char, c_void},
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    rc::Rc,
};

use mizan_cache_core::error::{Error, ErrorCode};
use napi::sys;

/// The most arguments that any function of this addon reads.
pub const ARGUMENTS: usize = 6;

/// Why a function returns no value.
pub enum Failure {
    /// An error to be thrown, with its code.
    Coded(Error),
    /// JavaScript that was called threw, and its exception is pending.
    Thrown,
}

impl Failure {
    /// As an error of this package; a pending exception is cleared.
    pub fn into_error(self, env: Env<'_>) -> Error {
        match self {
            Self::Coded(error) => error,
            Self::Thrown => {
                env.clear_exception();
                internal("an exception")
            }
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Coded(error)
    }
}

/// What a function returns.
pub type Outcome<T> = Result<T, Failure>;

/// A function's body: its environment, the data it was made with, its arguments (`undefined` where there are fewer).
pub type Body<T> = for<'scope> fn(Env<'scope>, &Rc<T>, [Value<'scope>; ARGUMENTS]) -> Outcome<Value<'scope>>;

/// What `typeof` says, with `null` told apart from objects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `undefined`
    Undefined,
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A double.
    Number,
    /// A string of UTF-16 units, well-formed or not.
    String,
    /// A symbol.
    Symbol,
    /// An object that cannot be called.
    Object,
    /// A function.
    Function,
    /// A bigint.
    BigInt,
    /// A native pointer of some addon.
    External,
}

/// The environment of a callback.
#[derive(Clone, Copy)]
pub struct Env<'scope> {
    raw: sys::napi_env,
    scope: PhantomData<&'scope ()>,
}

/// A value in a callback.
#[derive(Clone, Copy)]
pub struct Value<'scope> {
    env: Env<'scope>,
    raw: sys::napi_value,
}

/// Calls a function of Node-API, and makes a `Result` of its status.
macro_rules! node_api {
    ($function:ident($env:expr $(, $argument:expr)* $(,)?)) => {{
        // SAFETY: the environment and the values among the arguments belong to the callback that is running, on its
        // thread, as the lifetimes of `Env` and `Value` ensure; the other pointers are to locals that outlive the call
        // and have the types and lengths that the function asks for.
        let status = unsafe { sys::$function($env.raw $(, $argument)*) };
        $env.check_status(status, stringify!($function))
    }};
}

/// A defect of this package.
pub fn internal(reason: &str) -> Error {
    Error::new(ErrorCode::Internal, format!("internal error: {reason}"))
}

/// Runs the body of a callback. Nothing unwinds into Node: a panic becomes an error with a code, as any failure does.
pub fn guard<'scope>(env: Env<'scope>, body: impl FnOnce() -> Outcome<Value<'scope>>) -> sys::napi_value {
    let error = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => return value.raw,
        Ok(Err(Failure::Thrown)) => return ptr::null_mut(),
        Ok(Err(Failure::Coded(error))) => error,
        Err(_) => internal("a panic"),
    };
    // Where even this fails the environment is being torn down, and nobody is left to be told.
    let _ = env
        .error(&error)
        .and_then(|error| node_api!(napi_throw(env, error.raw)));
    ptr::null_mut()
}

impl<'scope> Env<'scope> {
    /// The environment that Node hands to a callback.
    ///
    /// # Safety
    /// `raw` must be the environment of the callback that is running, and `'scope` must not outlast that callback.
    pub const unsafe fn from_raw(raw: sys::napi_env) -> Self {
        Self {
            raw,
            scope: PhantomData,
        }
    }

    /// A value that Node hands to a callback.
    ///
    /// # Safety
    /// `raw` must be a value of the callback that is running.
    pub const unsafe fn value(self, raw: sys::napi_value) -> Value<'scope> {
        Value { env: self, raw }
    }

    fn check_status(self, status: sys::napi_status, function: &str) -> Outcome<()> {
        if status == sys::Status::napi_ok {
            return Ok(());
        }
        // The status itself does not tell: a getter that throws is a generic failure of what read the property.
        let mut thrown = false;
        // SAFETY: as in `node_api`; and the only failure, an argument that is missing, is none here.
        unsafe { sys::napi_is_exception_pending(self.raw, &raw mut thrown) };
        // What a worker says that is being terminated.
        if thrown || status == sys::Status::napi_cannot_run_js {
            return Err(Failure::Thrown);
        }
        Err(internal(&format!("{function} returned status {status}")).into())
    }

    fn make(self, create: impl FnOnce(*mut sys::napi_value) -> Outcome<()>) -> Outcome<Value<'scope>> {
        let mut raw = ptr::null_mut();
        create(&raw mut raw)?;
        Ok(Value { env: self, raw })
    }

    /// `undefined`
    pub fn undefined(self) -> Outcome<Value<'scope>> {
        self.make(|result| node_api!(napi_get_undefined(self, result)))
    }

    /// `null`
    pub fn null(self) -> Outcome<Value<'scope>> {
        self.make(|result| node_api!(napi_get_null(self, result)))
    }

    /// `true` or `false`
    pub fn boolean(self, value: bool) -> Outcome<Value<'scope>> {
        self.make(|result| node_api!(napi_get_boolean(self, value, result)))
    }

    /// A number.
    pub fn number(self, value: f64) -> Outcome<Value<'scope>> {
        self.make(|result| node_api!(napi_create_double(self, value, result)))
    }

    /// A count as a number; those of this package stay far below 2^53.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count would have to pass 2^53 to lose a digit"
    )]
    pub fn count(self, value: u64) -> Outcome<Value<'scope>> {
        self.number(value as f64)
    }

    /// A number that fits into 31 bits, which takes no memory.
    pub fn small(self, value: u32) -> Outcome<Value<'scope>> {
        self.make(|result| node_api!(napi_create_uint32(self, value, result)))
    }

    /// A string.
    pub fn string(self, text: &str) -> Outcome<Value<'scope>> {
        self.utf8(text.as_bytes())
    }

    /// A string of UTF-8.
    pub fn utf8(self, text: &[u8]) -> Outcome<Value<'scope>> {
        let (start, length) = (text.as_ptr().cast::<c_char>(), text.len().cast_signed());
        self.make(|result| node_api!(napi_create_string_utf8(self, start, length, result)))
    }

    /// A string of ASCII, which is copied as it is.
    pub fn latin1(self, text: &[u8]) -> Outcome<Value<'scope>> {
        let (start, length) = (text.as_ptr().cast::<c_char>(), text.len().cast_signed());
        self.make(|result| node_api!(napi_create_string_latin1(self, start, length, result)))
    }

    /// A `Uint8Array` with a copy of these bytes.
    pub fn bytes(self, bytes: &[u8]) -> Outcome<Value<'scope>> {
        let mut start = ptr::null_mut();
        let buffer =
            self.make(|result| node_api!(napi_create_arraybuffer(self, bytes.len(), &raw mut start, result)))?;
        if !bytes.is_empty() {
            // SAFETY: Node has just made this buffer of that many bytes, and nothing else knows it yet.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), start.cast::<u8>(), bytes.len()) };
        }
        let kind = sys::TypedarrayType::uint8_array;
        self.make(|result| node_api!(napi_create_typedarray(self, kind, bytes.len(), buffer.raw, 0, result)))
    }

    /// A `Buffer` with a copy of these bytes.
    pub fn buffer(self, bytes: &[u8]) -> Outcome<Value<'scope>> {
        let (start, nothing) = (bytes.as_ptr().cast::<c_void>(), ptr::null_mut());
        self.make(|result| node_api!(napi_create_buffer_copy(self, bytes.len(), start, nothing, result)))
    }

    /// An array of these values.
    pub fn array(self, values: &[Value<'scope>]) -> Outcome<Value<'scope>> {
        let array = self.make(|result| node_api!(napi_create_array_with_length(self, values.len(), result)))?;
        for (index, value) in (0..).zip(values) {
            array.define_element(index, *value)?;
        }
        Ok(array)
    }

    /// An empty object.
    pub fn object(self) -> Outcome<Value<'scope>> {
        self.make(|result| node_api!(napi_create_object(self, result)))
    }

    /// An `Error` with a `code`.
    pub fn error(self, error: &Error) -> Outcome<Value<'scope>> {
        let code = self.string(error.code().as_str())?;
        let message = self.string(error.message())?;
        self.make(|result| node_api!(napi_create_error(self, code.raw, message.raw, result)))
    }

    /// A promise that is rejected with this error.
    pub fn rejection(self, error: &Error) -> Outcome<Value<'scope>> {
        let error = self.error(error)?;
        let mut deferred = ptr::null_mut();
        let promise = self.make(|result| node_api!(napi_create_promise(self, &raw mut deferred, result)))?;
        node_api!(napi_reject_deferred(self, deferred, error.raw))?;
        Ok(promise)
    }

    /// The global object.
    pub fn global(self) -> Outcome<Value<'scope>> {
        self.make(|result| node_api!(napi_get_global(self, result)))
    }

    /// A function over shared data, which lives as long as the function.
    pub fn function<T: 'static>(self, name: &str, data: &Rc<T>, body: Body<T>) -> Outcome<Value<'scope>> {
        let bound = Box::into_raw(Box::new(Bound {
            body,
            data: Rc::clone(data),
        }))
        .cast::<c_void>();
        let (start, length) = (name.as_ptr().cast::<c_char>(), name.len().cast_signed());
        // Where one of these fails the box is leaked: the function may exist by then, and would reach for it.
        let function = self.make(|result| {
            node_api!(napi_create_function(
                self,
                start,
                length,
                Some(invoke::<T>),
                bound,
                result
            ))
        })?;
        let (raw, release) = (function.raw, Some(release::<T> as _));
        node_api!(napi_add_finalizer(
            self,
            raw,
            bound,
            release,
            ptr::null_mut(),
            ptr::null_mut()
        ))?;
        Ok(function)
    }

    /// Clears the pending exception, if there is one.
    pub fn clear_exception(self) {
        // It fails where the environment is being torn down; then whatever comes next fails as well.
        let _ = self.make(|result| node_api!(napi_get_and_clear_last_exception(self, result)));
    }
}

struct Bound<T> {
    body: Body<T>,
    data: Rc<T>,
}

unsafe extern "C" fn invoke<T: 'static>(raw_env: sys::napi_env, info: sys::napi_callback_info) -> sys::napi_value {
    // SAFETY: this is the callback's own environment, and `guard` ends before the callback does.
    let env = unsafe { Env::from_raw(raw_env) };
    guard(env, || {
        let (mut count, mut arguments, mut bound) = (ARGUMENTS, [ptr::null_mut(); ARGUMENTS], ptr::null_mut());
        let (start, this) = (arguments.as_mut_ptr(), ptr::null_mut());
        node_api!(napi_get_cb_info(env, info, &raw mut count, start, this, &raw mut bound))?;
        // SAFETY: `function` made this function with a `Bound<T>`, which `release` frees after the function is gone.
        let bound = unsafe { &*bound.cast::<Bound<T>>() };
        (bound.body)(env, &bound.data, arguments.map(|raw| Value { env, raw }))
    })
}

unsafe extern "C" fn release<T>(_: sys::napi_env, bound: *mut c_void, _: *mut c_void) {
    // SAFETY: `function` handed this box over, and Node calls a finalizer once, after the last call of the function.
    let bound = unsafe { Box::from_raw(bound.cast::<Bound<T>>()) };
    // Nobody can be told of a panic in a destructor; but it must not unwind into Node.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(bound)));
}

impl<'scope> Value<'scope> {
    /// What it is.
    pub fn kind(self) -> Outcome<Kind> {
        let mut kind = 0;
        node_api!(napi_typeof(self.env, self.raw, &raw mut kind))?;
        Ok(match kind {
            sys::ValueType::napi_undefined => Kind::Undefined,
            sys::ValueType::napi_null => Kind::Null,
            sys::ValueType::napi_boolean => Kind::Boolean,
            sys::ValueType::napi_number => Kind::Number,
            sys::ValueType::napi_string => Kind::String,
            sys::ValueType::napi_symbol => Kind::Symbol,
            sys::ValueType::napi_object => Kind::Object,
            sys::ValueType::napi_function => Kind::Function,
            sys::ValueType::napi_bigint => Kind::BigInt,
            _ => Kind::External,
        })
    }

    /// A boolean's value.
    pub fn boolean(self) -> Outcome<bool> {
        let mut value = false;
        node_api!(napi_get_value_bool(self.env, self.raw, &raw mut value))?;
        Ok(value)
    }

    /// A number's value.
    pub fn number(self) -> Outcome<f64> {
        let mut value = 0.0;
        node_api!(napi_get_value_double(self.env, self.raw, &raw mut value))?;
        Ok(value)
    }

    /// A bigint's value, unless its magnitude takes more than 64 bits.
    pub fn big_integer(self) -> Outcome<Option<i128>> {
        let (mut sign, mut count, mut word) = (0, 1, 0);
        node_api!(napi_get_value_bigint_words(
            self.env,
            self.raw,
            &raw mut sign,
            &raw mut count,
            &raw mut word
        ))?;
        let magnitude = i128::from(word);
        Ok((count <= 1).then_some(if sign == 0 { magnitude } else { -magnitude }))
    }

    /// A string's length in UTF-16 units; it costs the same for every length.
    pub fn length(self) -> Outcome<usize> {
        let mut length = 0;
        node_api!(napi_get_value_string_utf16(
            self.env,
            self.raw,
            ptr::null_mut(),
            0,
            &raw mut length
        ))?;
        Ok(length)
    }

    /// A string's text, unless it holds an unpaired surrogate.
    pub fn text(self) -> Outcome<Option<String>> {
        let mut length = 0;
        node_api!(napi_get_value_string_utf8(
            self.env,
            self.raw,
            ptr::null_mut(),
            0,
            &raw mut length
        ))?;
        let mut bytes = vec![0_u8; length + 1];
        let start = bytes.as_mut_ptr().cast();
        node_api!(napi_get_value_string_utf8(
            self.env,
            self.raw,
            start,
            bytes.len(),
            &raw mut length
        ))?;
        bytes.truncate(length);
        let Ok(text) = String::from_utf8(bytes) else {
            return Ok(None);
        };
        // Node writes U+FFFD for an unpaired surrogate: only a text that has one needs a second look.
        if text.contains(char::REPLACEMENT_CHARACTER) && String::from_utf16(&self.units()?).is_err() {
            return Ok(None);
        }
        Ok(Some(text))
    }

    fn units(self) -> Outcome<Vec<u16>> {
        let mut length = self.length()?;
        let mut units = vec![0_u16; length + 1];
        let start = units.as_mut_ptr();
        node_api!(napi_get_value_string_utf16(
            self.env,
            self.raw,
            start,
            units.len(),
            &raw mut length
        ))?;
        units.truncate(length);
        Ok(units)
    }

    /// The bytes of a string that is known to be ASCII.
    pub fn ascii(self) -> Outcome<Vec<u8>> {
        // Most fit here, and then one call does; Node ends what it writes with a zero.
        let (mut short, mut length) = ([0_u8; 512], 0);
        let start = short.as_mut_ptr().cast();
        node_api!(napi_get_value_string_latin1(
            self.env,
            self.raw,
            start,
            short.len(),
            &raw mut length
        ))?;
        if length + 1 < short.len() {
            return Ok(short[..length].to_vec());
        }
        length = self.length()?;
        let mut long = vec![0_u8; length + 1];
        let start = long.as_mut_ptr().cast();
        node_api!(napi_get_value_string_latin1(
            self.env,
            self.raw,
            start,
            long.len(),
            &raw mut length
        ))?;
        long.truncate(length);
        Ok(long)
    }

    /// A copy of a `Uint8Array`'s bytes; or nothing if it is something else, lost its bytes to another thread, or shares
    /// them with one.
    pub fn bytes(self) -> Outcome<Option<Vec<u8>>> {
        let mut is_typed_array = false;
        node_api!(napi_is_typedarray(self.env, self.raw, &raw mut is_typed_array))?;
        if !is_typed_array {
            return Ok(None);
        }
        let (mut kind, mut length, mut start, mut offset) = (0, 0, ptr::null_mut(), 0);
        let buffer = self.env.make(|buffer| {
            node_api!(napi_get_typedarray_info(
                self.env,
                self.raw,
                &raw mut kind,
                &raw mut length,
                &raw mut start,
                buffer,
                &raw mut offset
            ))
        })?;
        let (mut is_unshared, mut is_detached) = (false, false);
        node_api!(napi_is_arraybuffer(self.env, buffer.raw, &raw mut is_unshared))?;
        node_api!(napi_is_detached_arraybuffer(self.env, buffer.raw, &raw mut is_detached))?;
        if kind != sys::TypedarrayType::uint8_array || !is_unshared || is_detached {
            return Ok(None);
        }
        if length == 0 {
            return Ok(Some(Vec::new()));
        }
        // SAFETY: Node has just said that so many bytes stand here, the buffer is not shared with another thread, and
        // no JavaScript runs before they are copied.
        Ok(Some(
            unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) }.to_vec(),
        ))
    }

    /// How many integers an `Int32Array` has; 0 if it is something else.
    pub fn integers(self) -> Outcome<usize> {
        Ok(self.integer_array()?.1)
    }

    /// Writes integers to the beginning of an `Int32Array`, as far as it has room.
    pub fn write_integers(self, integers: &[u32]) -> Outcome<()> {
        let (start, room) = self.integer_array()?;
        let count = integers.len().min(room);
        if count > 0 {
            // SAFETY: Node has just said that so many integers stand here, aligned for them, and no JavaScript runs before
            // they are written.
            unsafe { ptr::copy_nonoverlapping(integers.as_ptr(), start, count) };
        }
        Ok(())
    }

    fn integer_array(self) -> Outcome<(*mut u32, usize)> {
        let (mut kind, mut length, mut start) = (0, 0, ptr::null_mut());
        let (buffer, offset) = (ptr::null_mut(), ptr::null_mut());
        node_api!(napi_get_typedarray_info(
            self.env,
            self.raw,
            &raw mut kind,
            &raw mut length,
            &raw mut start,
            buffer,
            offset
        ))?;
        let is_integers = kind == sys::TypedarrayType::int32_array && !start.is_null();
        Ok((start.cast(), if is_integers { length } else { 0 }))
    }

    /// Whether it is an array, of any realm.
    pub fn is_array(self) -> Outcome<bool> {
        let mut is_array = false;
        node_api!(napi_is_array(self.env, self.raw, &raw mut is_array))?;
        Ok(is_array)
    }

    /// An array's length.
    pub fn array_length(self) -> Outcome<u32> {
        let mut length = 0;
        node_api!(napi_get_array_length(self.env, self.raw, &raw mut length))?;
        Ok(length)
    }

    /// An array's element.
    pub fn element(self, index: u32) -> Outcome<Value<'scope>> {
        self.env
            .make(|result| node_api!(napi_get_element(self.env, self.raw, index, result)))
    }

    /// An object's property.
    pub fn property(self, name: Value<'scope>) -> Outcome<Value<'scope>> {
        self.env
            .make(|result| node_api!(napi_get_property(self.env, self.raw, name.raw, result)))
    }

    /// Whether an object has a property of this name, and does not inherit it.
    pub fn has_own(self, name: Value<'scope>) -> Outcome<bool> {
        let mut has = false;
        node_api!(napi_has_own_property(self.env, self.raw, name.raw, &raw mut has))?;
        Ok(has)
    }

    /// An object's property by a name of ours.
    pub fn named(self, name: &CStr) -> Outcome<Value<'scope>> {
        self.env
            .make(|result| node_api!(napi_get_named_property(self.env, self.raw, name.as_ptr(), result)))
    }

    /// Gives an object a property of its own, as in a literal. No setter is called that somebody gave to a prototype.
    pub fn define(self, name: &CStr, value: Value<'scope>) -> Outcome<()> {
        self.define_property(name.as_ptr(), ptr::null_mut(), value)
    }

    /// Gives an array an element of its own. No setter is called that somebody gave to a prototype.
    pub fn define_element(self, index: u32, value: Value<'scope>) -> Outcome<()> {
        let name = self.env.small(index)?.to_name()?;
        self.define_property(ptr::null(), name.raw, value)
    }

    fn define_property(self, name: *const c_char, key: sys::napi_value, value: Value<'scope>) -> Outcome<()> {
        let property = sys::napi_property_descriptor {
            utf8name: name,
            name: key,
            method: None,
            getter: None,
            setter: None,
            value: value.raw,
            attributes: sys::PropertyAttributes::writable
                | sys::PropertyAttributes::enumerable
                | sys::PropertyAttributes::configurable,
            data: ptr::null_mut(),
        };
        node_api!(napi_define_properties(self.env, self.raw, 1, &raw const property))
    }

    /// Replaces an element that the array has already.
    pub fn set_element(self, index: u32, value: Value<'scope>) -> Outcome<()> {
        node_api!(napi_set_element(self.env, self.raw, index, value.raw))
    }

    /// Reads the beginning of a `Uint8Array` where it is. The reader must run no JavaScript.
    pub fn with_bytes<T>(self, length: usize, read: impl FnOnce(&[u8]) -> Outcome<T>) -> Outcome<T> {
        let (mut kind, mut available, mut start) = (0, 0, ptr::null_mut());
        let (buffer, offset) = (ptr::null_mut(), ptr::null_mut());
        node_api!(napi_get_typedarray_info(
            self.env,
            self.raw,
            &raw mut kind,
            &raw mut available,
            &raw mut start,
            buffer,
            offset
        ))?;
        if kind != sys::TypedarrayType::uint8_array || length > available || start.is_null() {
            return Err(internal("not a buffer of that length").into());
        }
        // SAFETY: Node has just said that so many bytes stand here. The value, an argument of the running callback, keeps
        // its buffer alive, and no JavaScript runs that could change or detach it.
        read(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
    }

    /// The names and symbols of an object's own enumerable properties, as an array: indices first, as numbers.
    pub fn own_keys(self) -> Outcome<Value<'scope>> {
        let (mode, filter) = (sys::KeyCollectionMode::own_only, sys::KeyFilter::enumerable);
        let numbers = sys::KeyConversion::keep_numbers;
        self.env.make(|result| {
            node_api!(napi_get_all_property_names(
                self.env, self.raw, mode, filter, numbers, result
            ))
        })
    }

    /// As a property's name: an index as its digits.
    pub fn to_name(self) -> Outcome<Value<'scope>> {
        self.env
            .make(|result| node_api!(napi_coerce_to_string(self.env, self.raw, result)))
    }

    /// An object's prototype, which is wrongly `null` for a proxy.
    pub fn prototype(self) -> Outcome<Value<'scope>> {
        self.env
            .make(|result| node_api!(napi_get_prototype(self.env, self.raw, result)))
    }

    /// `===`
    pub fn is_same(self, other: Value<'scope>) -> Outcome<bool> {
        let mut is_same = false;
        node_api!(napi_strict_equals(self.env, self.raw, other.raw, &raw mut is_same))?;
        Ok(is_same)
    }

    /// Calls a function.
    pub fn call(self, this: Value<'scope>, arguments: &[Value<'scope>]) -> Outcome<Value<'scope>> {
        let arguments: Vec<_> = arguments.iter().map(|argument| argument.raw).collect();
        let (count, start) = (arguments.len(), arguments.as_ptr());
        self.env
            .make(|result| node_api!(napi_call_function(self.env, this.raw, self.raw, count, start, result)))
    }

    /// Keeps an object or a function beyond the callback, until the environment is torn down.
    pub fn keep(self) -> Outcome<Kept> {
        let mut raw = ptr::null_mut();
        node_api!(napi_create_reference(self.env, self.raw, 1, &raw mut raw))?;
        Ok(Kept { raw })
    }
}

/// An object or a function that is kept until its environment is torn down, where Node frees it.
pub struct Kept {
    raw: sys::napi_ref,
}

impl Kept {
    /// The object or function.
    pub fn value<'scope>(&self, env: Env<'scope>) -> Outcome<Value<'scope>> {
        env.make(|result| node_api!(napi_get_reference_value(env, self.raw, result)))
    }
}
