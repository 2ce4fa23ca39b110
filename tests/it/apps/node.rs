//! Applications on Node.js.
