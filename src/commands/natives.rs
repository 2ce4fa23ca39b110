//! The commands that scripts can call as functions of `atomic`: all except admin commands, those that the server denies to scripts, and
//! those that run another command, which need a client of their own. Scripts call the latter with `redis.call`.

use super::guard::Entry;
use super::spec::{Arg, ArgKind, Keys};
use crate::lua::port::NativeCommand;
use crate::scripting::calls::Native;

/// The commands, as the engine sees them and as they run.
pub fn all() -> impl Iterator<Item = (NativeCommand, Native)> {
    super::ALL.iter().filter_map(both)
}

fn both(entry: &Entry) -> Option<(NativeCommand, Native)> {
    let spec = entry.spec;
    let has = |flag: &str| spec.flags.to_bytes().split(|&byte| byte == b' ').any(|word| word == flag.as_bytes());
    if has("deny-script") || has("admin") || matches!(spec.keys, Keys::WithInner { .. }) {
        return None;
    }
    let mut words = Vec::new();
    spec.args.iter().for_each(|arg| options(arg, &mut words));
    Some((
        NativeCommand { name: spec.name, options: words },
        Native { name: spec.name, write: has("write"), deny_oom: has("deny-oom"), keys: spec.keys.range(), run: entry.run? },
    ))
}

/// The first words of the options, in the order of the documented syntax.
fn options(arg: &Arg, words: &mut Vec<&'static [u8]>) {
    words.extend(arg.token.map(|token| token.to_bytes()));
    match arg.kind {
        ArgKind::OneOf => arg.parts.iter().for_each(|part| options(part, words)),
        ArgKind::Block => arg.parts.first().into_iter().for_each(|part| options(part, words)),
        _ => {}
    }
}
