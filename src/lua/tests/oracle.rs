//! `cjson` and `cmsgpack` against other implementations of both formats: serde_json and rmpv, on random values.
//!
//! The limits of the originals are in what is expected: JSON has 14 digits of a number, and an empty table is `{}` in JSON and an array in
//! MessagePack. Sparse arrays, keys that are not strings and deep tables have rows of their own in `cjson` and `cmsgpack`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rmpv::Value as Packed;
use serde_json::Value as Json;

use super::*;

#[derive(Debug, Clone)]
enum Value {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

fn texts() -> impl Strategy<Value = String> {
    let chars = prop_oneof![any::<char>(), prop::char::range('\0', '\x7f')];
    prop::collection::vec(chars, 0..12).prop_map(|chars| chars.into_iter().collect())
}

/// Finite ones: neither format's readers agree on others.
fn numbers() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<i16>().prop_map(f64::from),
        // Where the formats change their lengths.
        (0..53_u32, -2..=2_i64, any::<bool>()).prop_map(|(bit, near, negative)| {
            let number = ((1_i64 << bit) + near) as f64;
            if negative { -number } else { number }
        }),
        (-MAX_INTEGER..=MAX_INTEGER).prop_map(|integer| integer as f64),
        (any::<i32>(), 0..6).prop_map(|(digits, places)| f64::from(digits) / 10_f64.powi(places)),
        any::<f32>().prop_map(f64::from),
        any::<f64>(),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        numbers().prop_map(Value::Number),
        texts().prop_map(Value::Text),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::List),
            prop::collection::btree_map(texts(), inner, 0..8).prop_map(Value::Map),
        ]
    })
}

/// Integers of a double are exact up to this one.
const MAX_INTEGER: i64 = 1 << 53;

impl Value {
    /// The value in Lua, where `null` stands for the null of the format.
    fn lua(&self, null: &str) -> String {
        let quoted = |text: &str| text.bytes().fold("\"".to_owned(), |text, byte| format!("{text}\\{byte:03}")) + "\"";
        match self {
            Self::Null => null.to_owned(),
            Self::Bool(truth) => truth.to_string(),
            Self::Number(number) => format!("{number:?}"),
            Self::Text(text) => quoted(text),
            Self::List(items) => items.iter().fold("{".to_owned(), |text, item| text + &item.lua(null) + ",") + "}",
            Self::Map(pairs) => {
                let pair = |text: String, (key, item): (&String, &Self)| format!("{text}[{}]={},", quoted(key), item.lua(null));
                pairs.iter().fold("{".to_owned(), pair) + "}"
            }
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(truth) => Json::Bool(*truth),
            Self::Number(number) => Json::from(*number),
            Self::Text(text) => Json::from(text.as_str()),
            Self::List(items) => items.iter().map(Self::json).collect(),
            Self::Map(pairs) => pairs.iter().map(|(key, item)| (key.clone(), item.json())).collect(),
        }
    }

    fn packed(&self) -> Packed {
        match self {
            Self::Null => Packed::Nil,
            Self::Bool(truth) => Packed::from(*truth),
            #[allow(clippy::cast_possible_truncation)]
            Self::Number(number) if number.fract() == 0.0 && number.abs() <= MAX_INTEGER as f64 => Packed::from(*number as i64),
            Self::Number(number) => Packed::from(*number),
            Self::Text(text) => Packed::from(text.as_str()),
            Self::List(items) => Packed::Array(items.iter().map(Self::packed).collect()),
            Self::Map(pairs) => {
                Packed::Map(pairs.iter().map(|(key, item)| (Packed::from(key.as_str()), item.packed())).collect())
            }
        }
    }

    /// Whether what `cjson.encode` wrote is this value.
    fn is_json(&self, json: &Json) -> bool {
        match (self, json) {
            (Self::Null, Json::Null) => true,
            (Self::Bool(truth), Json::Bool(read)) => truth == read,
            (Self::Number(number), Json::Number(read)) => {
                let with_14_digits: f64 = format!("{number:.13e}").parse().unwrap();
                read.as_f64() == Some(with_14_digits)
            }
            (Self::Text(text), Json::String(read)) => text == read,
            (Self::List(items), Json::Object(read)) if read.is_empty() => items.is_empty(),
            (Self::List(items), Json::Array(read)) => {
                !items.is_empty() && items.len() == read.len() && items.iter().zip(read).all(|(item, read)| item.is_json(read))
            }
            (Self::Map(pairs), Json::Object(read)) => {
                let is_read = |(key, item): (&String, &Self)| read.get(key).is_some_and(|read| item.is_json(read));
                pairs.len() == read.len() && pairs.iter().all(is_read)
            }
            _ => false,
        }
    }

    /// Whether what `cmsgpack.pack` wrote is this value.
    fn is_packed(&self, packed: &Packed) -> bool {
        match (self, packed) {
            (Self::Null, Packed::Nil) => true,
            (Self::Bool(truth), Packed::Boolean(read)) => truth == read,
            (Self::Number(number), Packed::Integer(_) | Packed::F32(_) | Packed::F64(_)) => packed.as_f64() == Some(*number),
            (Self::Text(text), Packed::String(read)) => text.as_bytes() == read.as_bytes(),
            (Self::Map(pairs), Packed::Array(read)) => pairs.is_empty() && read.is_empty(),
            (Self::List(items), Packed::Array(read)) => {
                items.len() == read.len() && items.iter().zip(read).all(|(item, read)| item.is_packed(read))
            }
            (Self::Map(pairs), Packed::Map(read)) => {
                // The fields of a table have no order.
                let read: BTreeMap<&[u8], &Packed> =
                    read.iter().filter_map(|(key, item)| Some((key.as_slice()?, item))).collect();
                let is_read = |(key, item): (&String, &Self)| read.get(key.as_bytes()).is_some_and(|read| item.is_packed(read));
                !pairs.is_empty() && pairs.len() == read.len() && pairs.iter().all(is_read)
            }
            _ => false,
        }
    }
}

/// Runs `check` on random values, with one engine for all.
fn on_random_values(check: impl Fn(&mut Rig, &Value)) {
    let rig = RefCell::new(Rig::new());
    let mut runner = TestRunner::default();
    let tested = runner.run(&values(), |value| {
        check(&mut rig.borrow_mut(), &value);
        Ok(())
    });
    tested.unwrap();
}

/// The bytes that a Lua expression results in.
#[track_caller]
fn bytes_of(rig: &mut Rig, expression: &str) -> Vec<u8> {
    let source = format!("return ({expression}:gsub('.', function(c) return ('%02x'):format(c:byte()) end))");
    let reply = rig.eval(&source).unwrap_or_else(|error| panic!("{error}\n{source}"));
    let hex = reply.strip_prefix('$').unwrap();
    hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Checks that a Lua expression over the argument `ARGV[1]` is the value.
#[track_caller]
fn check_is(rig: &mut Rig, expression: &str, argument: &[u8], value: &Value, null: &str) {
    let mut source = "local function same(a, b)
        if type(a) ~= 'table' or type(b) ~= 'table' then return a == b end
        for key, item in pairs(a) do if not same(item, b[key]) then return false end end
        for key in pairs(b) do if a[key] == nil then return false end end
        return true
    end "
        .to_owned();
    write!(source, "return tostring(same({expression}, {}))", value.lua(null)).unwrap();
    let same = rig.eval_bytes(source.as_bytes(), &[], &[argument]).map_err(|error| error.wire());
    assert_eq!(same.as_deref(), Ok("$true"), "{expression} of {}", argument.escape_ascii());
}

#[test]
fn serde_json_reads_what_cjson_writes() {
    on_random_values(|rig, value| {
        let bytes = bytes_of(rig, &format!("cjson.encode({})", value.lua("cjson.null")));
        let json: Json = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
        assert!(value.is_json(&json), "{json}");
    });
}

#[test]
fn cjson_reads_what_serde_json_writes() {
    on_random_values(|rig, value| {
        let json = value.json();
        for text in [json.to_string(), serde_json::to_string_pretty(&json).unwrap()] {
            check_is(rig, "cjson.decode(ARGV[1])", text.as_bytes(), value, "cjson.null");
        }
    });
}

#[test]
fn rmpv_reads_what_cmsgpack_writes() {
    on_random_values(|rig, value| {
        let bytes = bytes_of(rig, &format!("cmsgpack.pack({})", value.lua("cjson.null")));
        let mut rest = bytes.as_slice();
        let packed = rmpv::decode::read_value(&mut rest).unwrap_or_else(|error| panic!("{error}: {}", bytes.escape_ascii()));
        assert!(rest.is_empty() && value.is_packed(&packed), "{packed}");
    });
}

/// MessagePack's null is Lua's nil, which a table does not hold.
#[test]
fn cmsgpack_reads_what_rmpv_writes() {
    on_random_values(|rig, value| {
        let mut bytes = Vec::new();
        rmpv::encode::write_value(&mut bytes, &value.packed()).unwrap();
        check_is(rig, "(cmsgpack.unpack(ARGV[1]))", &bytes, value, "nil");
    });
}
