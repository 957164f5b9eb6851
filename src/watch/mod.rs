//! The watch list, compiled into one immutable matcher. Pure.
