//! Arguments, logging, signals, exit codes; nothing else.

fn main() {}
