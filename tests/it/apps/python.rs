//! Applications on Python.
