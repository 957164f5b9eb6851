//! What a contributor runs: no JVM, no Go, no network, no root. One file a subject.

mod tidy;
