//! The commands, one file each. A file has the command's reference page (`//!`), its metadata, its arguments and its code.
//!
//! This file lists them. [`spec`] defines the parts of a command, [`guard`] its entry from the server.

mod admin;
mod cad;
mod cas;
mod conditions;
mod counter;
#[cfg(feature = "fault-injection")]
mod debug;
mod del;
mod drain;
mod due;
mod eval;
mod fcall;
mod fence;
pub mod function;
mod getorset;
#[expect(unsafe_code, reason = "the server enters every command here")]
pub mod guard;
mod hcas;
mod help;
mod hincrby;
mod hmgetor;
mod hset;
mod idem;
mod idemabort;
mod idembegin;
mod idemend;
mod incrby;
mod inspect;
mod lock;
mod lockinfo;
mod lockrenew;
mod mcas;
mod mlock;
mod mratelimit;
pub mod natives;
mod once;
mod pexpire;
mod pop;
mod push;
mod ratelimit;
mod ratelimit_ro;
pub mod script;
pub mod scripted;
mod semacquire;
mod seminfo;
mod semrelease;
mod semrenew;
mod set;
pub mod spec;
mod terms;
mod throttle;
mod transfer;
mod unlock;
mod waiters;
mod zdone;
mod zmovedue;
mod zpopdue;

use self::guard::{Entry, entry};
use crate::settings;

/// Every command, in the order of registration. A container stands before its subcommands.
pub const ALL: &[Entry] = &[
    entry::<cas::Cas>(),
    entry::<cad::Cad>(),
    entry::<mcas::MCas>(),
    entry::<set::Set>(),
    entry::<del::Del>(),
    entry::<pexpire::PExpire>(),
    entry::<hcas::HCas>(),
    entry::<hset::HSet>(),
    entry::<ratelimit::RateLimit>(),
    entry::<ratelimit_ro::RateLimitRo>(),
    entry::<mratelimit::MRateLimit>(),
    entry::<lock::Lock>(),
    entry::<mlock::MLock>(),
    entry::<unlock::Unlock>(),
    entry::<lockrenew::LockRenew>(),
    entry::<fence::Fence>(),
    entry::<lockinfo::LockInfo>(),
    entry::<waiters::Waiters>(),
    entry::<drain::Drain>(),
    entry::<semacquire::SemAcquire>(),
    entry::<semrelease::SemRelease>(),
    entry::<semrenew::SemRenew>(),
    entry::<seminfo::SemInfo>(),
    entry::<incrby::IncrBy>(),
    entry::<hincrby::HIncrBy>(),
    entry::<transfer::Transfer>(),
    entry::<getorset::GetOrSet>(),
    entry::<hmgetor::HMGetOr>(),
    entry::<push::Push>(),
    entry::<pop::Pop>(),
    entry::<zpopdue::ZPopDue>(),
    entry::<zmovedue::ZMoveDue>(),
    entry::<zdone::ZDone>(),
    entry::<once::Once>(),
    entry::<idembegin::IdemBegin>(),
    entry::<idemend::IdemEnd>(),
    entry::<idemabort::IdemAbort>(),
    entry::<idem::Idem>(),
    entry::<eval::EvalCommand<eval::BySource>>(),
    entry::<eval::EvalCommand<eval::BySha>>(),
    entry::<eval::EvalCommand<eval::BySourceReadOnly>>(),
    entry::<eval::EvalCommand<eval::ByShaReadOnly>>(),
    entry::<fcall::FcallCommand<fcall::Any>>(),
    entry::<fcall::FcallCommand<fcall::ReadOnly>>(),
    entry::<inspect::InspectCommand<inspect::EvalTrace>>(),
    entry::<inspect::InspectCommand<inspect::FcallTrace>>(),
    entry::<inspect::InspectCommand<inspect::EvalDryRun>>(),
    entry::<inspect::InspectCommand<inspect::FcallDryRun>>(),
    Entry::container(&function::CONTAINER),
    entry::<function::load::Load>(),
    entry::<function::delete::Delete>(),
    entry::<function::list::List>(),
    entry::<function::flush::Flush>(),
    entry::<function::dump::Dump>(),
    entry::<function::restore::Restore>(),
    entry::<function::stats::Stats>(),
    entry::<function::kill::Kill>(),
    entry::<help::HelpOf<function::Function>>(),
    Entry::container(&script::CONTAINER),
    entry::<script::load::Load>(),
    entry::<script::exists::Exists>(),
    entry::<script::flush::Flush>(),
    entry::<script::kill::Kill>(),
    entry::<script::list::List>(),
    entry::<script::show::Show>(),
    entry::<script::stats::Stats>(),
    entry::<script::resetstat::ResetStat>(),
    entry::<script::check::Check>(),
    entry::<help::HelpOf<script::Script>>(),
    Entry::container(&scripted::CONTAINER),
    entry::<scripted::list::List>(),
    entry::<scripted::reload::Reload>(),
    entry::<help::HelpOf<scripted::Commands>>(),
    #[cfg(feature = "fault-injection")]
    entry::<debug::Debug>(),
];

/// The names that other modules use for these commands, with the module argument `compat yes`.
pub const COMPAT: &[Entry] = &[
    entry::<cas::Cas>().under(&const { spec::Spec { name: c"cas", ..<cas::Cas as spec::Command>::SPEC } }),
    entry::<cad::Cad>().under(&const { spec::Spec { name: c"cad", ..<cad::Cad as spec::Command>::SPEC } }),
    entry::<throttle::Throttle>(),
];

/// The commands that this load registers.
pub fn registered() -> impl Iterator<Item = &'static Entry> {
    let compat = if settings::COMPAT.get() == 1 { COMPAT } else { &[] };
    ALL.iter().chain(compat)
}
