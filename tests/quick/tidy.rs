//! The walls of the house, as tests: which module may know what, and what no file may hold.
//!
//! Each rule is read off the text of the sources, comments and test modules left out where a rule is about
//! code. That is cruder than a compiler and catches what one cannot: a pure module that starts to read the
//! clock, a second file that knows the Kafka client. A rule about a file that does not exist yet holds.

use std::path::{Path, PathBuf};

/// Longer than this, without its tests, a file has become two.
const MAX_LINES: usize = 800;

/// What is decided without I/O, clock or threads: the middle of the data path.
const PURE: [&str; 9] = [
    "src/ccadb/",
    "src/entry/",
    "src/watch/",
    "src/account/",
    "src/record/",
    "src/sieve.rs",
    "src/screen.rs",
    "src/judge.rs",
    "src/judge/",
];

/// What makes a pure module impure. `x::` is a module of the standard library, the rest are words.
const IMPURE: [&str; 19] = [
    "tokio",
    "rdkafka",
    "tungstenite",
    "tokio_tungstenite",
    "rustls",
    "hyper",
    "redb",
    "fs::",
    "env::",
    "thread::",
    "process::",
    "SystemTime",
    "Instant",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
];

/// Each library, or way out, and the only places that know it: a file `x.rs`, or a module `x` in whatever
/// files it has.
const SINGLE_KNOWERS: [(&str, &[&str]); 7] = [
    ("tungstenite", &["src/feed/certstream", "src/demo"]),
    ("tokio_tungstenite", &["src/feed/certstream", "src/demo"]),
    ("rdkafka", &["src/publish", "src/demo/broker"]),
    ("redb", &["src/store"]),
    ("hyper", &["src/http", "src/fetch"]),
    // The type alone is a file's time too.
    ("SystemTime::now", &["src/clock"]),
    ("env::", &["src/config", "src/main"]),
];

/// Names that say nothing: a function lives with the noun that it serves.
const NO_NOUNS: [&str; 7] = ["util", "utils", "common", "types", "helper", "helpers", "manager"];

/// What is not left behind. Each is put together here, or this file would hold it.
const LEFT_BEHIND: [&str; 7] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X:"),
    concat!("dbg", "!("),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("<<<<<", "<<"),
];

/// Folders of one machine, and hosts of package registries: which mirror a build goes through is a matter
/// of the machine that it runs on.
const OF_ONE_MACHINE: [&str; 10] = [
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("repo.maven.apache", ".org"),
];

#[test]
fn the_middle_is_pure() {
    check(|file, wrong| {
        if !PURE.iter().any(|pure| file.path.starts_with(pure)) {
            return;
        }
        for (line, code) in file.code() {
            for what in IMPURE.into_iter().filter(|what| knows(code, what)) {
                wrong(line, format!("`{what}` in a pure module"));
            }
        }
    });
}

#[test]
fn each_library_has_one_knower() {
    check(|file, wrong| {
        if !file.is_source() {
            return;
        }
        for (what, knowers) in SINGLE_KNOWERS {
            if knowers.iter().any(|knower| is_module(&file.path, knower)) {
                continue;
            }
            for (line, code) in file.code() {
                if knows(code, what) {
                    wrong(line, format!("`{what}` is known to {} only", knowers.join(", ")));
                }
            }
        }
    });
}

#[test]
fn the_log_client_knows_only_entries() {
    // It waits by tokio's clock, and reaches nothing but through its `Transport`.
    let known = ["tokio"];
    check(|file, wrong| {
        if !file.path.starts_with("src/ctlog/") {
            return;
        }
        for (line, code) in file.code() {
            for (at, _) in code.match_indices("crate::") {
                let module = &code[at + "crate::".len()..];
                if !["entry", "ctlog"].iter().any(|known| words(module).next() == Some(known)) {
                    wrong(line, "ctlog names another module than entry".to_owned());
                }
            }
            let impure = IMPURE.into_iter().filter(|what| !known.contains(what) && *what != "Instant");
            for what in impure.chain(["tokio::net", "tokio::fs", "tokio::spawn", "std::time::Instant"]) {
                if knows(code, what) {
                    wrong(line, format!("`{what}` in the log client"));
                }
            }
        }
    });
}

#[test]
fn every_source_file_says_what_it_is() {
    check(|file, wrong| {
        let rust_test = file.path.starts_with("tests/") && file.path.ends_with(".rs");
        if (file.is_source() || rust_test) && !file.text.starts_with("//! ") {
            wrong(1, "no module doc on the first line".to_owned());
        }
    });
}

#[test]
fn names_are_nouns_of_the_field() {
    check(|file, wrong| {
        let names = Path::new(&file.path).iter().filter_map(|part| Path::new(part).file_stem()?.to_str());
        for name in names.filter(|name| NO_NOUNS.contains(name)) {
            wrong(1, format!("a file or folder is named {name}"));
        }
    });
}

#[test]
fn files_are_of_a_comfortable_size() {
    check(|file, wrong| {
        let is_test = file.path.starts_with("tests/");
        let lines = file.text.lines().take_while(|line| is_test || *line != "#[cfg(test)]").count();
        if file.is_code() && !is_test && lines > MAX_LINES {
            wrong(MAX_LINES, format!("{lines} lines, the limit is {MAX_LINES}"));
        }
    });
}

#[test]
fn nothing_is_left_behind() {
    check(|file, wrong| {
        for (line, text) in file.lines() {
            for left in LEFT_BEHIND.iter().filter(|left| text.contains(**left)) {
                wrong(line, format!("{left} is left behind"));
            }
        }
    });
}

#[test]
fn nothing_belongs_to_one_machine() {
    check(|file, wrong| {
        // Cargo itself names the registry there, and go.sum is checksums.
        if file.path.ends_with("Cargo.lock") || file.path.ends_with("go.sum") {
            return;
        }
        for (line, text) in file.lines() {
            for own in OF_ONE_MACHINE.iter().filter(|own| text.contains(**own)) {
                wrong(line, format!("{own} belongs to one machine"));
            }
        }
    });
}

#[test]
fn every_dependency_has_a_reason() {
    check(|file, wrong| {
        if !file.path.ends_with("Cargo.toml") {
            return;
        }
        let mut dependencies = false;
        // The comment above the run of lines that one stands in.
        let mut reason = String::new();
        let mut after_comment = false;
        for (line, text) in file.lines() {
            if text.starts_with('[') {
                dependencies = text.trim_end_matches(']').ends_with("dependencies");
                reason.clear();
            } else if let Some(comment) = text.strip_prefix('#') {
                if !after_comment {
                    reason.clear();
                }
                reason += comment;
            } else if let (true, Some((name, _))) = (dependencies, text.split_once('=')) {
                let name = name.trim();
                if !reason.split([' ', ',', ':']).any(|word| word == name) {
                    wrong(line, format!("no comment above says why {name} is there"));
                }
            }
            after_comment = text.starts_with('#');
        }
    });
}

/// One text file of the project.
struct File {
    /// From the top of the project, with `/`.
    path: String,
    text: String,
}

impl File {
    fn is_source(&self) -> bool {
        self.path.starts_with("src/") && self.path.ends_with(".rs")
    }

    fn is_code(&self) -> bool {
        let extension = Path::new(&self.path).extension().and_then(|e| e.to_str());
        matches!(extension, Some("rs" | "go" | "py" | "sh" | "ts")) || self.text.starts_with("#!")
    }

    /// Lines with their numbers, from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// The lines of a Rust file without comments, up to its test module, which stands last.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = |line: &str| line.trim_end() == "#[cfg(test)]";
        self.lines().take_while(move |(_, line)| !tests(line)).map(|(number, line)| {
            let starts_comment = |at: usize| at == 0 || !line[..at].ends_with(':');
            let end = line.match_indices("//").map(|(at, _)| at).find(|&at| starts_comment(at));
            (number, &line[..end.unwrap_or(line.len())])
        })
    }
}

/// Applies a rule to every file, and fails with all that is wrong at once.
fn check(rule: impl Fn(&File, &mut dyn FnMut(usize, String))) {
    let files = files();
    assert!(files.iter().any(|file| file.path == "src/lib.rs"), "the project was not found");
    let mut wrongs = Vec::new();
    for file in &files {
        rule(file, &mut |line, what| wrongs.push(format!("{}:{line}: {what}", file.path)));
    }
    assert!(wrongs.is_empty(), "\n{}\n", wrongs.join("\n"));
}

/// Every text file of the project, but for what is made or fetched.
fn files() -> Vec<File> {
    const NOT_OURS: [&str; 4] = ["target", "node_modules", ".git", ".parts"];
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(top.join(&folder)).expect("a folder of the project");
        for entry in entries {
            let entry = entry.expect("an entry of a folder of the project");
            let path = folder.join(entry.file_name());
            let kind = entry.file_type().expect("an entry has a type");
            if kind.is_dir() && !NOT_OURS.iter().any(|not| entry.file_name() == *not) {
                folders.push(path);
            } else if kind.is_file()
                // A work tree's .git is a file.
                && entry.file_name() != ".git"
                // A recording or another binary is no text, and no rule is about it.
                && let Ok(text) = std::fs::read_to_string(top.join(&path))
                && let Some(path) = path.to_str()
            {
                files.push(File { path: path.to_owned(), text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Whether a path is the module's file, or one below it.
fn is_module(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

/// Whether a line of code names a word, or (`fs::`) a module of the standard library: as the head of a
/// path, by its full path, or in a list that is imported. A path (`a::b`) is looked for as it stands.
fn knows(code: &str, what: &str) -> bool {
    if what.contains("::") && !what.ends_with("::") {
        return code.contains(what);
    }
    let Some(module) = what.strip_suffix("::") else {
        return words(code).any(|word| word == what);
    };
    let head = code.match_indices(what).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    });
    head || (code.contains("std::") && words(code).any(|word| word == module))
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[test]
fn what_a_line_knows() {
    for (code, what, known) in [
        ("use std::fs;", "fs::", true),
        ("use std::{collections::BTreeMap, fs};", "fs::", true),
        ("let text = fs::read(path);", "fs::", true),
        ("let text = std::fs::read(path);", "fs::", true),
        ("let fs = 3;", "fs::", false),
        ("ufs::read()", "fs::", false),
        ("env!(\"CARGO_PKG_VERSION\")", "env::", false),
        ("std::env::var(\"HOME\")", "env::", true),
        ("let now = SystemTime::now();", "SystemTime::now", true),
        ("modified: SystemTime,", "SystemTime::now", false),
        ("use std::net::IpAddr;", "TcpStream", false),
        ("use std::net::{IpAddr, TcpStream};", "TcpStream", true),
        ("use tokio_tungstenite::connect_async;", "tungstenite", false),
        ("use tokio_tungstenite::tungstenite;", "tungstenite", true),
    ] {
        assert_eq!(knows(code, what), known, "{code} {what}");
    }
}
