//! `certsieve completions SHELL`: what a shell needs to complete the command line.

use std::io::Write;

use clap_complete::Shell;

use super::Exit;

/// Arguments of `certsieve completions`.
#[derive(Clone, Debug, clap::Args)]
pub struct CompletionsArgs {
    #[arg(value_enum)]
    pub shell: Shell,
}

pub fn run(args: &CompletionsArgs, mut command: clap::Command, out: &mut impl Write) -> Exit {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "certsieve", &mut text);
    // A reader that has seen enough is no failure.
    let _ = out.write_all(&text);
    Exit::Done
}
