//! Registration of the commands from their specs.
//!
//! The server copies all metadata, so the C structures live in an [`Arena`] only until the call returns.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;

use redis_module::raw;

use super::refusal::refused;
use crate::commands;
use crate::commands::guard::{self, Entry};
use crate::error::Result;
use crate::server::command_filter;
use crate::server::module_api::{Ctx, api};
use crate::server::spec::{Arg, ArgKind, KeyFlags, Keys, SpecOf};

/// Registers every command; the first refusal stops the load.
pub fn commands(ctx: Ctx) -> Result<()> {
    add_category(ctx);
    commands::registered().try_for_each(|Entry { spec, function, .. }| command(ctx, spec, *function))
}

/// Registers a scripted command.
pub fn scripted(ctx: Ctx, spec: &SpecOf<'_>) -> Result<()> {
    command(ctx, spec, guard::named::<commands::scripted::Scripted>())
}

/// Adds the ACL category `@atomic`, if the server accepts categories from modules (Redis 7.4, Valkey 8.0). A category outlives the
/// unload, so "exists" is success. Any other refusal only costs the category.
fn add_category(ctx: Ctx) {
    // SAFETY: the server sets the pointer before the load, which this is part of.
    match unsafe { raw::RedisModule_AddACLCategory } {
        // SAFETY: the context belongs to the running load, and the name is a constant.
        Some(add) => drop(unsafe { add(ctx.raw(), c"atomic".as_ptr()) }),
        None => ctx.log(c"notice", "this server does not accept ACL categories from modules: @atomic does not exist"),
    }
}

fn command(ctx: Ctx, spec: &SpecOf<'_>, function: raw::RedisModuleCmdFunc) -> Result<()> {
    let failed = || refused(&format!("the command {}", spec.name.to_string_lossy()));
    let created = match subcommand(spec) {
        None => create(ctx, spec, function),
        Some((parent, name)) => create_subcommand(ctx, spec, function, &parent, name),
    };
    let command = get(ctx, spec.name);
    if !created || command.is_null() {
        return Err(failed());
    }
    describe(command, spec).then_some(()).ok_or_else(failed)?;
    categorize(command, spec);
    Ok(())
}

/// `CONTAINER|NAME` as its two parts.
fn subcommand<'a>(spec: &SpecOf<'a>) -> Option<(CString, &'a CStr)> {
    let bytes = spec.name.to_bytes_with_nul();
    let at = bytes.iter().position(|&byte| byte == b'|')?;
    let parent = CString::new(bytes.get(..at)?).ok()?;
    let name = CStr::from_bytes_with_nul(bytes.get(at.checked_add(1)?..)?).ok()?;
    Some((parent, name))
}

fn create(ctx: Ctx, spec: &SpecOf<'_>, function: raw::RedisModuleCmdFunc) -> bool {
    // The range of keys for clients that do not read key specs.
    let [first, last, step] = spec.keys.range().unwrap_or_default();
    // In a cluster the server can find such keys only by asking the command.
    let more = if spec.keys.are_reported() { " getkeys-api" } else { "" };
    // For client-side caching Redis 7.0 does not track the reads of a script. For a read-only command it tracks the declared keys, so the
    // command needs the flag. Later servers track both, and apply the flag to the declared keys only.
    let tracked = if matches!(spec.keys, Keys::Counted { flags: KeyFlags::Read, of_script: true, .. })
        && !command_filter::tells_clients()
    {
        " readonly"
    } else {
        ""
    };
    let Ok(flags) = CString::new(format!("{}{more}{tracked}", spec.flags.to_string_lossy())) else { return false };
    // SAFETY: the context belongs to the running load; all strings are C strings, and the server copies them.
    let status = unsafe {
        let (name, flags) = (spec.name.as_ptr(), flags.as_ptr());
        api!(RedisModule_CreateCommand)(ctx.raw(), name, function, flags, first, last, step)
    };
    status == raw::REDISMODULE_OK as c_int
}

fn create_subcommand(ctx: Ctx, spec: &SpecOf<'_>, function: raw::RedisModuleCmdFunc, parent: &CStr, name: &CStr) -> bool {
    let parent = get(ctx, parent);
    if parent.is_null() {
        return false;
    }
    // SAFETY: the parent was created by this load; all strings are C strings, and the server copies them.
    let status = unsafe {
        let flags = spec.flags.as_ptr();
        api!(RedisModule_CreateSubcommand)(parent, name.as_ptr(), function, flags, 0, 0, 0)
    };
    status == raw::REDISMODULE_OK as c_int
}

fn get(ctx: Ctx, name: &CStr) -> *mut raw::RedisModuleCommand {
    // SAFETY: the context belongs to the running load, and the name is a C string.
    unsafe { api!(RedisModule_GetCommand)(ctx.raw(), name.as_ptr()) }
}

fn categorize(command: *mut raw::RedisModuleCommand, spec: &SpecOf<'_>) {
    // SAFETY: the server sets the pointer before the load, which this is part of.
    let Some(set) = (unsafe { raw::RedisModule_SetCommandACLCategories }) else { return };
    // SAFETY: the server sets the pointer before the load, which this is part of.
    let with_ours = unsafe { raw::RedisModule_AddACLCategory }.is_some();
    let ours = if with_ours { " atomic" } else { "" };
    // The server refuses an empty word as an unknown category.
    let categories = format!("{}{ours}{}", spec.categories.to_string_lossy(), implied(spec));
    let Ok(categories) = CString::new(categories.trim_start()) else { return };
    // SAFETY: the command was created by this load; the server reads the C string.
    unsafe { set(command, categories.as_ptr()) };
}

/// The categories that follow from the flags. Redis adds them to its own commands only; Valkey also to those of modules.
fn implied(spec: &SpecOf<'_>) -> String {
    let flags = spec.flags.to_string_lossy();
    let has = |flag: &str| flags.split(' ').any(|word| word == flag);
    let categories = [
        (has("write"), "write"),
        (has("readonly"), "read"),
        (has("admin"), "admin dangerous"),
        (has("blocking"), "blocking"),
        (has("fast"), "fast"),
        (!has("fast"), "slow"),
    ];
    categories.iter().filter(|(applies, _)| *applies).map(|(_, category)| format!(" {category}")).collect()
}

fn describe(command: *mut raw::RedisModuleCommand, spec: &SpecOf<'_>) -> bool {
    let version = raw::RedisModuleCommandInfoVersion {
        version: 1,
        sizeof_historyentry: size_of::<raw::RedisModuleCommandHistoryEntry>(),
        sizeof_keyspec: size_of::<raw::RedisModuleCommandKeySpec>(),
        sizeof_arg: size_of::<raw::RedisModuleCommandArg>(),
    };
    let mut arena = Arena::default();
    let mut key_specs = key_specs(&spec.keys);
    let info = raw::RedisModuleCommandInfo {
        version: &raw const version,
        summary: or_null(spec.summary),
        complexity: or_null(spec.complexity),
        since: or_null(spec.since),
        history: ptr::null_mut(),
        tips: ptr::null(),
        arity: spec.arity,
        key_specs: if key_specs.is_empty() { ptr::null_mut() } else { key_specs.as_mut_ptr() },
        args: arena.args(spec.args),
    };
    // SAFETY: this load created the command. Every pointer refers to a constant, to `version`, to `key_specs` or into the arena, which all
    // outlive the call; the server copies them.
    unsafe { api!(RedisModule_SetCommandInfo)(command, &raw const info) == raw::REDISMODULE_OK as c_int }
}

fn or_null(text: &CStr) -> *const c_char {
    if text.is_empty() { ptr::null() } else { text.as_ptr() }
}

/// The key specs, ended by a zeroed one.
fn key_specs(keys: &Keys) -> Vec<raw::RedisModuleCommandKeySpec> {
    let (spec, of_script) = match *keys {
        Keys::None => return Vec::new(),
        Keys::Range(range, flags) => (key_range(flags, range), None),
        Keys::Counted { at, flags, of_script } => (counted_keys(flags, at), of_script.then_some(flags)),
        Keys::WithInner { flags, .. } => return vec![key_range(flags, [1, 1, 1]), unknown_keys(), no_key_spec()],
    };
    let notes = of_script.map_or(ptr::null(), |flags| match flags {
        KeyFlags::Read => c"We cannot tell how the keys will be used so we assume the worst, RO and ACCESS".as_ptr(),
        _ => c"We cannot tell how the keys will be used so we assume the worst, RW and UPDATE".as_ptr(),
    });
    vec![raw::RedisModuleCommandKeySpec { notes, ..spec }, no_key_spec()]
}

fn no_key_spec() -> raw::RedisModuleCommandKeySpec {
    // SAFETY: the structure is made of integers and pointers, for which zero is a value: "absent".
    unsafe { std::mem::zeroed() }
}

/// The arguments from `first` to `last`, by `step`. The server counts `last` from `first`, unless it counts from the end.
fn key_range(flags: KeyFlags, [first, last, step]: [c_int; 3]) -> raw::RedisModuleCommandKeySpec {
    let lastkey = if last < 0 { last } else { last.saturating_sub(first) };
    let mut spec = key_spec(flags, first);
    spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_RANGE;
    spec.fk.range = raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_1 { lastkey, keystep: step, limit: 0 };
    spec
}

/// `numkeys key [key ...]` from argument `at` on.
fn counted_keys(flags: KeyFlags, at: usize) -> raw::RedisModuleCommandKeySpec {
    let mut spec = key_spec(flags, c_int::try_from(at).unwrap_or(c_int::MAX));
    spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_KEYNUM;
    spec.fk.keynum = raw::RedisModuleCommandKeySpec__bindgen_ty_2__bindgen_ty_2 { keynumidx: 0, firstkey: 1, keystep: 1 };
    spec
}

/// Keys that no spec describes, as those of SORT: the server asks the command.
fn unknown_keys() -> raw::RedisModuleCommandKeySpec {
    let mut spec = no_key_spec();
    spec.notes = c"The keys of the inner command".as_ptr();
    spec.flags = u64::from(KeyFlags::Update.bits() | raw::REDISMODULE_CMD_KEY_INCOMPLETE);
    spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_UNKNOWN;
    spec.find_keys_type = raw::RedisModuleKeySpecFindKeysType_REDISMODULE_KSPEC_FK_UNKNOWN;
    spec
}

fn key_spec(flags: KeyFlags, at: c_int) -> raw::RedisModuleCommandKeySpec {
    let mut spec = no_key_spec();
    spec.flags = u64::from(flags.bits());
    spec.begin_search_type = raw::RedisModuleKeySpecBeginSearchType_REDISMODULE_KSPEC_BS_INDEX;
    spec.bs.index.pos = at;
    spec
}

/// Keeps argument arrays alive until the server has copied them.
#[derive(Default)]
struct Arena(Vec<Vec<raw::RedisModuleCommandArg>>);

impl Arena {
    /// The arguments in the server's form: an array that ends with a zeroed one.
    fn args(&mut self, args: &[Arg]) -> *mut raw::RedisModuleCommandArg {
        if args.is_empty() {
            return ptr::null_mut();
        }
        let mut array: Vec<_> = args.iter().map(|arg| self.arg(arg)).collect();
        // SAFETY: the structure is made of integers and pointers; zero is the documented end of the array.
        array.push(unsafe { std::mem::zeroed() });
        let start = array.as_mut_ptr();
        self.0.push(array);
        start
    }

    fn arg(&mut self, arg: &Arg) -> raw::RedisModuleCommandArg {
        let optional = if arg.optional { raw::REDISMODULE_CMD_ARG_OPTIONAL } else { 0 };
        let multiple = if arg.multiple { raw::REDISMODULE_CMD_ARG_MULTIPLE } else { 0 };
        raw::RedisModuleCommandArg {
            name: arg.name.as_ptr(),
            type_: kind(arg.kind),
            key_spec_index: if arg.kind == ArgKind::Key { 0 } else { -1 },
            token: arg.token.map_or(ptr::null::<c_char>(), CStr::as_ptr),
            summary: ptr::null(),
            since: ptr::null(),
            flags: (optional | multiple) as c_int,
            deprecated_since: ptr::null(),
            subargs: self.args(arg.parts),
            display_text: ptr::null(),
        }
    }
}

fn kind(kind: ArgKind) -> raw::RedisModuleCommandArgType {
    match kind {
        ArgKind::Key => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_KEY,
        ArgKind::String => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_STRING,
        ArgKind::Integer => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_INTEGER,
        ArgKind::Double => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_DOUBLE,
        ArgKind::UnixTime => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_UNIX_TIME,
        ArgKind::Token => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_PURE_TOKEN,
        ArgKind::OneOf => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_ONEOF,
        ArgKind::Block => raw::RedisModuleCommandArgType_REDISMODULE_ARG_TYPE_BLOCK,
    }
}
