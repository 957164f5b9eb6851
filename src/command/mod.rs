//! One file a command. Each takes its parsed arguments and gives an exit code; what is common to all
//! of them stands in `main.rs`.

pub mod check;
pub mod completions;
#[cfg(feature = "kafka")]
pub mod demo;
pub mod explain;
pub mod hunt;
pub mod ledger;
pub mod run;
pub mod schema;
pub mod simulate;

/// How a command ends. The numbers are part of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Done, or matched.
    Done = 0,
    /// Failed, or nothing matched.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
}

/// The environment, as `main` read it.
pub type Environment = Vec<(String, String)>;
