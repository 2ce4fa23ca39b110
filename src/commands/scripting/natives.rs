//! Which commands scripts can call as functions of `atomic`: all that the server lets scripts run and that are for everybody.

use super::super::guard::Entry;
use super::super::spec::{Arg, ArgKind};
use crate::commands;
use crate::keyspace::module_api::Ctx;
use crate::keyspace::script_calls::{Native, Natives};
use crate::script::port::NativeCommand;

/// The commands, for the engine and for the port, in the same order.
pub fn all(ctx: Ctx) -> (Vec<NativeCommand>, Natives) {
    let (seen, run) = commands::ALL.iter().filter_map(both).unzip();
    (seen, Natives::new(ctx, run))
}

fn both(entry: &Entry) -> Option<(NativeCommand, Native)> {
    let spec = entry.spec;
    let has = |flag: &str| spec.flags.to_bytes().split(|&byte| byte == b' ').any(|word| word == flag.as_bytes());
    if has("deny-script") || has("admin") {
        return None;
    }
    let mut words = Vec::new();
    spec.args.iter().for_each(|arg| options(arg, &mut words));
    Some((
        NativeCommand { name: spec.name, options: words },
        Native { name: spec.name, write: has("write"), keys: spec.keys.range().map(|(range, _)| range), run: entry.run? },
    ))
}

/// The words by which options begin, in the order of the documented syntax.
fn options(arg: &Arg, words: &mut Vec<&'static [u8]>) {
    words.extend(arg.token.map(|token| token.to_bytes()));
    match arg.kind {
        ArgKind::OneOf => arg.parts.iter().for_each(|part| options(part, words)),
        ArgKind::Block => arg.parts.first().into_iter().for_each(|part| options(part, words)),
        _ => {}
    }
}
