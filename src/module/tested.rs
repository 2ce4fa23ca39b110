//! The servers that every release is tested on, and the warning on any other.
//!
//! At load the server checks only the names of API functions. A function can behave differently in the next version, so an untested
//! version may break a promise, or crash. The module still loads, because most versions work, and logs one line.

use crate::server::module_api::Ctx;

/// Product and version prefix: `valkey-9` is every 9.x. The tests run on exactly these.
pub const SERVERS: [&str; 7] = ["redis-7.0", "redis-8.0", "redis-8.2", "redis-8.6", "valkey-8.0", "valkey-8.1", "valkey-9"];

/// Answers whether this server is one of them. Logs a warning if it is not.
pub(super) fn check(ctx: Ctx) -> bool {
    let version = |field| ctx.info_field(c"server", field);
    let (product, version) = match version(c"valkey_version") {
        Some(valkey) => ("valkey", valkey),
        None => ("redis", version(c"redis_version").unwrap_or_default()),
    };
    let warning = warning(product, &version);
    if let Some(warning) = &warning {
        ctx.log(c"warning", warning);
    }
    warning.is_none()
}

/// The warning about a version, if it is not tested.
fn warning(product: &str, version: &str) -> Option<String> {
    let server = format!("{product}-{version}");
    let is_tested = |tested: &&str| server.strip_prefix(*tested).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    if SERVERS.iter().any(is_tested) {
        return None;
    }
    Some(format!("not tested on {server}, only on {}: try it before you rely on it", SERVERS.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::warning;

    #[test]
    fn only_untested_versions_get_a_warning() {
        for (product, version) in [
            ("redis", "7.0.15"),
            ("redis", "8.2.3"),
            ("redis", "8.6"),
            ("valkey", "8.1.1"),
            ("valkey", "9.0.0"),
            ("valkey", "9.1.2"),
        ] {
            assert_eq!(warning(product, version), None, "{product} {version}");
        }
        for (product, version) in [
            ("redis", "7.2.4"),
            ("redis", "8.4.0"),
            ("redis", "8.20.1"),
            ("redis", "9.0.0"),
            ("redis", "255.255.255"),
            ("redis", ""),
            ("valkey", "7.2.8"),
            ("valkey", "90.0"),
        ] {
            let said = warning(product, version).unwrap_or_default();
            let begins = format!("not tested on {product}-{version}, only on redis-7.0, redis-8.0");
            assert!(said.starts_with(&begins), "{product} {version}: {said}");
        }
    }
}
