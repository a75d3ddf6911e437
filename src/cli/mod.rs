//! The command line: subcommands, what they print, and their exit codes.

mod args;
