//! Shared by the conditional commands: the parser of their options, the documented arguments, the check of the stored value.
//!
//!   cond := NX | XX | IFEQ v | IFNE v | IFGT n | IFGE n | IFLT n | IFLE n | GT | LT
//!
//! Conditions, an expiry and `GET` come in any order. At least one condition is required. A condition that repeats or
//! contradicts another is a syntax error, and so is `GT` or `LT` in a command without a new value.

use super::spec::Arg;
use crate::error::{Error, Result};
use crate::keyspace::KeyEntry;
use crate::primitives::cas::{Comparison, Outcome};
use crate::primitives::condition::{Condition, Conditions, NotANumber, Order};
use crate::primitives::effect::ExpiryRequest;
use crate::primitives::number::Number;
use crate::server::args::{Args, expiry_option, is, syntax};
use crate::server::reply::Reply;

/// The options that a command accepts besides conditions.
#[derive(Debug, Clone, Copy, Default)]
pub struct Accepts<'a> {
    /// The new value, which `GT` and `LT` compare. A command without one needs an existing value.
    pub new: Option<&'a [u8]>,
    pub expiry: bool,
    pub get: bool,
}

/// The options of one call.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// At least one.
    pub conditions: Conditions<'a>,
    pub expiry: ExpiryRequest,
    /// Whether to return the old value.
    pub get: bool,
}

impl<'a> Options<'a> {
    /// Reads all remaining arguments.
    pub fn parse(mut args: Args<'a>, accepts: Accepts<'a>) -> Result<Self> {
        let mut conditions = if accepts.new.is_some() { Conditions::default() } else { Conditions::on_existing_value() };
        let (mut expiry, mut get) = (None, false);
        while let Some(option) = args.take_if_any() {
            let option = option.bytes();
            if let Some(condition) = condition(option, &mut args, accepts.new)? {
                conditions.add(condition).then_some(()).ok_or_else(|| syntax(option))?;
            } else if accepts.get && !get && is(option, "GET") {
                get = true;
            } else if !(accepts.expiry && expiry_option(option, &mut args, &mut expiry)?) {
                return Err(syntax(option));
            }
        }
        if conditions.is_empty() {
            return Err(Error::Text("ERR at least one condition is required"));
        }
        Ok(Self { conditions, expiry: expiry.unwrap_or(ExpiryRequest::Clear), get })
    }

    /// Whether the conditions hold for a string key, and its value if `GET` asks for it. Reads the value only if it must.
    pub fn look(&self, entry: &mut KeyEntry<'_>) -> Result<(Outcome, Option<Vec<u8>>)> {
        if self.get || self.conditions.compare_numbers() {
            let stored = entry.string()?;
            return Ok((evaluate(&self.conditions, stored)?, stored.filter(|_| self.get).map(<[u8]>::to_vec)));
        }
        let exists = entry.holds_string()?;
        let equals = |expected: &[u8]| matches!(entry.compare(expected), Ok(Comparison::Equal));
        Ok((self.conditions.verdict_by_equality(exists, equals), None))
    }

    /// 1, 0 or -1; with `GET` an array of that and the old value.
    #[must_use]
    pub fn reply(&self, outcome: Outcome, old: Option<Vec<u8>>) -> Reply {
        if self.get { reply_with_old(outcome, old) } else { Reply::Integer(outcome.reply()) }
    }
}

/// `[1 | 0 | -1, old value or nil]`
#[must_use]
pub fn reply_with_old(outcome: Outcome, old: Option<Vec<u8>>) -> Reply {
    Reply::Array(vec![Reply::Integer(outcome.reply()), old.map_or(Reply::Null, Reply::Bulk)])
}

/// Whether the conditions hold for a stored value.
pub fn evaluate(conditions: &Conditions<'_>, stored: Option<&[u8]>) -> Result<Outcome> {
    conditions.verdict(stored).map_err(|NotANumber| Error::Text("ERR stored value is not a number"))
}

/// How an option becomes a condition.
enum Rule {
    Plain(Condition<'static>),
    Value(fn(&[u8]) -> Condition<'_>),
    Stored(Order),
    New(Order),
}

const RULES: &[(&str, Rule)] = &[
    ("NX", Rule::Plain(Condition::Missing)),
    ("XX", Rule::Plain(Condition::Present)),
    ("IFEQ", Rule::Value(|value| Condition::Equal(value))),
    ("IFNE", Rule::Value(|value| Condition::Different(value))),
    ("IFGT", Rule::Stored(Order::Greater)),
    ("IFGE", Rule::Stored(Order::GreaterOrEqual)),
    ("IFLT", Rule::Stored(Order::Less)),
    ("IFLE", Rule::Stored(Order::LessOrEqual)),
    ("GT", Rule::New(Order::Greater)),
    ("LT", Rule::New(Order::Less)),
];

/// The condition that begins with `option`, if this command has it.
fn condition<'a>(option: &[u8], args: &mut Args<'a>, new: Option<&'a [u8]>) -> Result<Option<Condition<'a>>> {
    let Some((name, rule)) = RULES.iter().find(|(name, _)| is(option, name)) else { return Ok(None) };
    Ok(match rule {
        Rule::Plain(condition) => Some(*condition),
        Rule::Value(condition) => Some(condition(args.bytes()?)),
        Rule::Stored(order) => Some(Condition::Stored(*order, number(args.bytes()?, name)?)),
        Rule::New(order) => match new {
            Some(new) => Some(Condition::New(*order, number(new, "value")?)),
            None => None,
        },
    })
}

fn number(bytes: &[u8], argument: &'static str) -> Result<Number> {
    Number::parse(bytes).ok_or(Error::Argument { argument, expected: "must be a number" })
}

/// Conditions about a stored value. At least one.
pub const ON_STORED: Arg = Arg::one_of(c"condition", &[NX, XX, IFEQ, IFNE, IFGT, IFGE, IFLT, IFLE]).multiple();

/// The same, plus those that compare the new value with the stored one.
pub const ON_BOTH: Arg = Arg::one_of(
    c"condition",
    &[NX, XX, IFEQ, IFNE, IFGT, IFGE, IFLT, IFLE, Arg::word(c"greater", c"GT"), Arg::word(c"less", c"LT")],
)
.multiple();

/// `[GET]`
pub const GET: Arg = Arg::word(c"get", c"GET").optional();

const NX: Arg = Arg::word(c"missing", c"NX");
const XX: Arg = Arg::word(c"exists", c"XX");
const IFEQ: Arg = Arg::string(c"equal-value").after(c"IFEQ");
const IFNE: Arg = Arg::string(c"unequal-value").after(c"IFNE");
const IFGT: Arg = Arg::double(c"above").after(c"IFGT");
const IFGE: Arg = Arg::double(c"at-least").after(c"IFGE");
const IFLT: Arg = Arg::double(c"below").after(c"IFLT");
const IFLE: Arg = Arg::double(c"at-most").after(c"IFLE");
