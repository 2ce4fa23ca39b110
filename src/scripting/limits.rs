//! The limits of scripts: this module's settings, and the server settings that they depend on.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::lua::Limits;
use crate::server::module_api::Ctx;
use crate::settings;

/// The limit in bytes that `script-memory-limit auto` resolves to.
static AUTO_MEMORY: AtomicU64 = AtomicU64::new(u64::MAX);

/// Whether scripts get the API that the server calls deprecated, or insecure.
static DEPRECATED_API: AtomicBool = AtomicBool::new(true);

/// Reads the server settings that the limits depend on.
pub fn follow_server(ctx: Ctx) {
    /// More than the scripts of an application need, and acceptable on a server without `maxmemory`.
    const MIN_AUTO_MEMORY: u64 = 512 << 20;
    let settings = ctx.configs(&["maxmemory", "lua-enable-deprecated-api", "lua-enable-insecure-api"]);
    let value = |name| settings.iter().find(|(setting, _)| setting == name).map(|(_, value)| value.as_str());
    let maxmemory = value("maxmemory").and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or_default();
    AUTO_MEMORY.store(MIN_AUTO_MEMORY.max(maxmemory / 4), Ordering::Relaxed);
    // Valkey renamed the setting. A server that has neither gives scripts the whole API.
    let mut api = ["lua-enable-deprecated-api", "lua-enable-insecure-api"].into_iter().filter_map(value).peekable();
    DEPRECATED_API.store(api.peek().is_none() || api.any(|value| value == "yes"), Ordering::Relaxed);
    settings::note_change();
}

/// The current limits.
pub fn limits() -> Limits {
    let bytes = |setting: &settings::Setting| usize::try_from(setting.get()).unwrap_or(usize::MAX);
    let memory = match settings::SCRIPT_MEMORY_LIMIT.get() {
        0 => AUTO_MEMORY.load(Ordering::Relaxed),
        bytes => bytes,
    };
    Limits {
        memory_bytes: usize::try_from(memory).unwrap_or(usize::MAX),
        run_memory_bytes: bytes(&settings::SCRIPT_RUN_MEMORY_LIMIT),
        timeout_ms: settings::SCRIPT_TIMEOUT_MS.get(),
        budget_ms: settings::SCRIPT_BUDGET_MS.get(),
        unreachable_budget_ms: settings::SCRIPT_UNREACHABLE_BUDGET_MS.get(),
        argument_bytes: bytes(&settings::SCRIPT_ARGUMENT_LIMIT),
        reply_bytes: bytes(&settings::SCRIPT_REPLY_LIMIT),
        reply_depth: bytes(&settings::SCRIPT_REPLY_DEPTH),
        native_code: settings::SCRIPT_NATIVE_CODE.get() == 1,
        deprecated_api: DEPRECATED_API.load(Ordering::Relaxed),
    }
}
