//! ATOMIC.EVAL, ATOMIC.EVALSHA and ATOMIC.SCRIPT on real servers.

mod conformance;

use crate::support::Value;

/// A reply without the place that an error names, and with Redis' words for what Valkey calls by its own name.
pub fn in_common_words(reply: &Value) -> Value {
    match reply {
        Value::Error(text) => {
            let text = text.rfind(" script: ").map_or(text.as_str(), |at| &text[..at]);
            Value::Error(text.replace("Valkey command", "Redis command"))
        }
        Value::Array(items) => Value::Array(items.iter().map(in_common_words).collect()),
        Value::Map(pairs) => Value::Map(pairs.iter().map(|(name, value)| (name.clone(), in_common_words(value))).collect()),
        _ => reply.clone(),
    }
}
