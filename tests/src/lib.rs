//! Helpers for tests that need root.
