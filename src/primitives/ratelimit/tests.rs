//! Rate limit decisions.
