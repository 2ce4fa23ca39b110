//! The rows of `settings`, as module arguments and as `CONFIG SET atomic.<name>`.
//!
//! A module argument sets the default of its setting; a line in the server's configuration or a CONFIG SET overrides it. A wrong value is
//! refused with the valid range, at load and at run time.

use std::ffi::{CString, c_char, c_int, c_longlong, c_uint, c_void};

use redis_module::{RedisString, raw};

use super::refusal::refused;
use crate::dropin;
use crate::error::{Error, Result, guarded, quoted};
use crate::server::module_api::{Ctx, OwnedStr, Str, api};
use crate::server::thread::ServerThread;
use crate::settings::{ALL, AUTO, COMMANDS_DIR, Kind, Setting};

/// Reads the module arguments, `name value` pairs, into the default of each setting.
fn arguments(args: &[RedisString]) -> Result<Vec<i64>> {
    let mut values: Vec<Option<i64>> = vec![None; ALL.len()];
    COMMANDS_DIR.set(b"");
    for pair in args.chunks(2) {
        let name = pair.first().map(RedisString::as_slice).unwrap_or_default();
        if COMMANDS_DIR.name.to_bytes().eq_ignore_ascii_case(name) {
            set_directory(pair.get(1).map(RedisString::as_slice).unwrap_or_default())?;
            continue;
        }
        let found = ALL.iter().zip(&mut values).find(|(setting, _)| setting.name.to_bytes().eq_ignore_ascii_case(name));
        let Some((setting, slot)) = found else {
            return Err(Error::Script(format!("ERR unknown module argument '{}'", quoted(name)).into_bytes()));
        };
        let value = pair.get(1).map(RedisString::as_slice).unwrap_or_default();
        if slot.replace(value_of(setting, value)?).is_some() {
            return Err(Error::Script(format!("ERR module argument '{}' is given twice", quoted(name)).into_bytes()));
        }
    }
    Ok(values.into_iter().zip(ALL).map(|(value, setting)| value.unwrap_or(setting.default)).collect())
}

fn set_directory(path: &[u8]) -> Result<()> {
    if path.is_empty() {
        return Err(Error::Argument { argument: "commands-dir", expected: "must be the path of a directory" });
    }
    if !COMMANDS_DIR.get().is_empty() {
        return Err(Error::Text("ERR module argument 'commands-dir' is given twice"));
    }
    COMMANDS_DIR.set(path);
    Ok(())
}

fn value_of(setting: &Setting, text: &[u8]) -> Result<i64> {
    let value = match setting.kind {
        Kind::Number => plain(text),
        Kind::Bytes => bytes(text),
        Kind::AutoBytes if text.eq_ignore_ascii_case(b"auto") => return Ok(AUTO),
        Kind::AutoBytes => bytes(text),
        Kind::Switch | Kind::Toggle => switch(text),
        Kind::Word(words) => word(words, text),
    };
    let argument = setting.name.to_str().unwrap_or("setting");
    value.filter(|value| (setting.min..=setting.max).contains(value)).ok_or(match setting.kind {
        Kind::Switch | Kind::Toggle => Error::Argument { argument, expected: "must be yes or no" },
        Kind::Number | Kind::Bytes => Error::Range { argument, min: setting.min, max: setting.max },
        Kind::Word(words) => Error::Script(format!("ERR {argument} must be one of {}", words.join(", ")).into_bytes()),
        Kind::AutoBytes => Error::Script(
            format!("ERR {argument} must be auto or a number of bytes between {} and {}", setting.min, setting.max).into_bytes(),
        ),
    })
}

/// `yes` and `no`, as the server's configuration writes them.
fn switch(text: &[u8]) -> Option<i64> {
    match text.to_ascii_lowercase().as_slice() {
        b"yes" => Some(1),
        b"no" => Some(0),
        _ => None,
    }
}

fn word(words: &[&str], text: &[u8]) -> Option<i64> {
    let at = words.iter().position(|word| word.as_bytes().eq_ignore_ascii_case(text))?;
    i64::try_from(at).ok()
}

fn plain(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A size as the server's configuration writes it: `1k` is 1000, `1kb` is 1024, and so on.
fn bytes(text: &[u8]) -> Option<i64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let factor = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1_000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    plain(number)?.checked_mul(factor)
}

/// Reads the module arguments and registers every setting with its default.
pub fn start(ctx: Ctx, args: &[RedisString]) -> Result<()> {
    register(ctx, &arguments(args)?)
}

/// Registers every setting and loads its value from the server's configuration.
fn register(ctx: Ctx, defaults: &[i64]) -> Result<()> {
    for (setting, default) in ALL.iter().zip(defaults) {
        let registered = match setting.kind {
            Kind::Switch | Kind::Toggle => register_switch(ctx, setting, *default),
            Kind::Number | Kind::Bytes => register_number(ctx, setting, *default),
            Kind::AutoBytes | Kind::Word(_) => register_text(ctx, setting, *default),
        };
        if registered != raw::REDISMODULE_OK as c_int {
            return Err(refused("a setting"));
        }
    }
    if register_directory(ctx) != raw::REDISMODULE_OK as c_int {
        return Err(refused("a setting"));
    }
    // SAFETY: the context belongs to the running load.
    let status = unsafe { api!(RedisModule_LoadConfigs)(ctx.raw()) };
    if status == raw::REDISMODULE_OK as c_int { Ok(()) } else { Err(refused("the settings of its configuration file")) }
}

fn register_number(ctx: Ctx, setting: &'static Setting, default: i64) -> c_int {
    let flags = if setting.kind == Kind::Bytes { raw::REDISMODULE_CONFIG_MEMORY } else { raw::REDISMODULE_CONFIG_DEFAULT };
    let row = std::ptr::from_ref(setting).cast_mut().cast();
    let (name, min, max) = (setting.name.as_ptr(), setting.min, setting.max);
    // SAFETY: the context belongs to the running load. The server copies the name and passes the row, a constant, to the callbacks.
    unsafe {
        let register = api!(RedisModule_RegisterNumericConfig);
        register(ctx.raw(), name, default, flags as c_uint, min, max, Some(read), Some(write), None, row)
    }
}

fn register_switch(ctx: Ctx, setting: &'static Setting, default: i64) -> c_int {
    let row = std::ptr::from_ref(setting).cast_mut().cast();
    let default = c_int::from(default == 1);
    // SAFETY: the context belongs to the running load. The server copies the name and passes the row, a constant, to the callbacks.
    unsafe {
        let register = api!(RedisModule_RegisterBoolConfig);
        let (flags, apply): (_, raw::RedisModuleConfigApplyFunc) = match setting.kind {
            Kind::Toggle => (raw::REDISMODULE_CONFIG_DEFAULT, Some(apply)),
            _ => (raw::REDISMODULE_CONFIG_IMMUTABLE, None),
        };
        register(ctx.raw(), setting.name.as_ptr(), default, flags as c_uint, Some(read_switch), Some(write_switch), apply, row)
    }
}

/// The server has no type for "a number or a word", and its enumerations cost more code, so the setting is text to it.
fn register_text(ctx: Ctx, setting: &'static Setting, default: i64) -> c_int {
    let row = std::ptr::from_ref(setting).cast_mut().cast();
    let Ok(default) = CString::new(text_of(setting, default)) else { return raw::REDISMODULE_ERR as c_int };
    let (name, flags) = (setting.name.as_ptr(), raw::REDISMODULE_CONFIG_DEFAULT as c_uint);
    // SAFETY: the context belongs to the running load. The server copies the name and the default, and passes the row, a constant, to the
    // callbacks.
    unsafe {
        let register = api!(RedisModule_RegisterStringConfig);
        register(ctx.raw(), name, default.as_ptr(), flags, Some(read_text), Some(write_text), None, row)
    }
}

/// A value of a setting that is text to the server.
fn text_of(setting: &Setting, value: i64) -> String {
    match setting.kind {
        Kind::Word(words) => usize::try_from(value).ok().and_then(|at| words.get(at)).copied().unwrap_or_default().to_owned(),
        _ if value == AUTO => "auto".to_owned(),
        _ => value.to_string(),
    }
}

fn register_directory(ctx: Ctx) -> c_int {
    let Ok(default) = CString::new(COMMANDS_DIR.get()) else { return raw::REDISMODULE_ERR as c_int };
    let (name, flags) = (COMMANDS_DIR.name.as_ptr(), raw::REDISMODULE_CONFIG_IMMUTABLE as c_uint);
    let nobody = std::ptr::null_mut();
    // SAFETY: the context belongs to the running load. The server copies the name and the default; the callbacks use no row.
    unsafe {
        let register = api!(RedisModule_RegisterStringConfig);
        register(ctx.raw(), name, default.as_ptr(), flags, Some(read_directory), Some(write_directory), None, nobody)
    }
}

/// The string last returned for a text setting. The server copies it after the callback has returned, so it must stay alive.
static SHOWN: ServerThread<Option<OwnedStr>> = ServerThread::new(None);

/// Frees the kept string when the module unloads.
pub fn stop() {
    if let Some(mut shown) = SHOWN.try_borrow_mut() {
        *shown = None;
    }
}

/// The server asks for a value. None of the callbacks can panic.
unsafe extern "C" fn read(_name: *const c_char, setting: *mut c_void) -> c_longlong {
    // SAFETY: `register` passed this pointer, a constant row.
    let setting = unsafe { &*setting.cast::<Setting>() };
    i64::try_from(setting.get()).unwrap_or(i64::MAX)
}

/// The server sets a value whose range it has checked.
unsafe extern "C" fn write(
    _name: *const c_char,
    value: c_longlong,
    setting: *mut c_void,
    _error: *mut *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: `register` passed this pointer, a constant row.
    unsafe { &*setting.cast::<Setting>() }.set(value);
    raw::REDISMODULE_OK as c_int
}

unsafe extern "C" fn read_switch(_name: *const c_char, setting: *mut c_void) -> c_int {
    // SAFETY: `register` passed this pointer, a constant row.
    c_int::from(unsafe { &*setting.cast::<Setting>() }.get() == 1)
}

unsafe extern "C" fn write_switch(
    _name: *const c_char,
    value: c_int,
    setting: *mut c_void,
    _error: *mut *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: `register` passed this pointer, a constant row.
    unsafe { &*setting.cast::<Setting>() }.set(value.into());
    raw::REDISMODULE_OK as c_int
}

/// A toggle was switched.
unsafe extern "C" fn apply(
    ctx: *mut raw::RedisModuleCtx,
    _setting: *mut c_void,
    _error: *mut *mut raw::RedisModuleString,
) -> c_int {
    // SAFETY: the server passes a context that is valid until this callback returns.
    let ctx = unsafe { Ctx::new(ctx) };
    match guarded(|| dropin::follow_setting(ctx)) {
        Ok(()) => raw::REDISMODULE_OK as c_int,
        Err(_) => raw::REDISMODULE_ERR as c_int,
    }
}

unsafe extern "C" fn read_text(_name: *const c_char, setting: *mut c_void) -> *mut raw::RedisModuleString {
    let Some(mut shown) = SHOWN.try_borrow_mut() else { return std::ptr::null_mut() };
    // SAFETY: `register` passed this pointer, a constant row.
    let setting = unsafe { &*setting.cast::<Setting>() };
    let value = i64::try_from(setting.get()).unwrap_or(i64::MAX);
    shown.insert(OwnedStr::new(text_of(setting, value).as_bytes())).as_str().raw()
}

unsafe extern "C" fn write_text(
    _name: *const c_char,
    value: *mut raw::RedisModuleString,
    setting: *mut c_void,
    error: *mut *mut raw::RedisModuleString,
) -> c_int {
    let mut value = value;
    // SAFETY: `register` passed this pointer, a constant row. The server passes one string, which lives until this callback returns.
    let (setting, value) = unsafe { (&*setting.cast::<Setting>(), Str::slice(&raw mut value, 1)) };
    match value_of(setting, value.first().map(|value| value.bytes()).unwrap_or_default()) {
        Ok(value) => {
            setting.set(value);
            raw::REDISMODULE_OK as c_int
        }
        Err(refusal) => {
            // SAFETY: the server passes a place for an error, takes ownership of the string and frees it.
            unsafe { *error = OwnedStr::new(refusal.wire().trim_start_matches("ERR ").as_bytes()).into_raw() };
            raw::REDISMODULE_ERR as c_int
        }
    }
}

unsafe extern "C" fn read_directory(_name: *const c_char, _: *mut c_void) -> *mut raw::RedisModuleString {
    let Some(mut shown) = SHOWN.try_borrow_mut() else { return std::ptr::null_mut() };
    shown.insert(OwnedStr::new(&COMMANDS_DIR.get())).as_str().raw()
}

unsafe extern "C" fn write_directory(
    _name: *const c_char,
    value: *mut raw::RedisModuleString,
    _: *mut c_void,
    _error: *mut *mut raw::RedisModuleString,
) -> c_int {
    let mut value = value;
    // SAFETY: the server passes one string, which lives until this callback returns.
    let value = unsafe { Str::slice(&raw mut value, 1) };
    value.iter().for_each(|value| COMMANDS_DIR.set(value.bytes()));
    raw::REDISMODULE_OK as c_int
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_the_server_reads_them() {
        for (text, expected) in
            [("64mb", Some(64 << 20)), ("1k", Some(1000)), ("5", Some(5)), ("mb", None), ("1tb", None), ("-1", None), ("", None)]
        {
            assert_eq!(bytes(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_its_range() {
        let refusal = value_of(&crate::settings::SCRIPT_BUDGET_MS, b"-1").map_err(|error| error.wire());
        assert_eq!(refusal, Err("ERR script-budget-ms must be an integer between 0 and 86400000".to_owned()));
        let limit = &crate::settings::SCRIPT_MEMORY_LIMIT;
        assert_eq!(["64mb", "auto", "AUTO"].map(|text| value_of(limit, text.as_bytes())), [Ok(64 << 20), Ok(AUTO), Ok(AUTO)]);
        for wrong in ["0", "4194303", "automatic", ""] {
            let refusal = value_of(limit, wrong.as_bytes()).map_err(|error| error.wire());
            let expected = "ERR script-memory-limit must be auto or a number of bytes between 4194304 and 1099511627776";
            assert_eq!(refusal, Err(expected.to_owned()), "{wrong}");
        }
    }
}
