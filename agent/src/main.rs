//! `portcullis`: arguments, command, exit code.
fn main() {}
