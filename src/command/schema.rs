//! `certsieve schema`: the JSON Schema of each kind of record.

use std::io::Write;

use super::Exit;
use crate::record::schema;

/// Arguments of `certsieve schema`.
#[derive(Clone, Debug, clap::Args)]
pub struct SchemaArgs {
    /// One kind; without it all four, in one object by kind.
    #[arg(value_parser = schema::KINDS)]
    pub kind: Option<String>,
}

pub fn run(args: &SchemaArgs, out: &mut impl Write) -> Exit {
    let value = match &args.kind {
        Some(kind) => schema::of(kind).map(|schema| schema.to_value()).unwrap_or_default(),
        None => schema::all(),
    };
    // A reader that has seen enough is no failure.
    let _ = writeln!(out, "{value:#}");
    Exit::Done
}
