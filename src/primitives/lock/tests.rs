//! Lock decisions.
