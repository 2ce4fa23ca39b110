//! The error for a step of the load that the server refused.

use crate::error::Error;

/// The server gives no reason; `what` names the refused item.
pub(super) fn refused(what: &str) -> Error {
    Error::Internal(format!("the server refused {what}"))
}
