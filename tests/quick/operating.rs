//! The program as it is operated, on standard output: what changes under it, and who does not read.

use crate::program::{self, Certsieve, SOON};

const LIST: &str = "[[asset]]\nid = \"a\"\ndomains = [\"example.com\"]\npolicy = \"observe\"\n";

/// Nobody listens there.
const NOWHERE: &str = "ws://127.0.0.1:1/";

/// Kinds of the health topic so far.
fn health(certsieve: &Certsieve) -> Vec<String> {
    let records = certsieve.records();
    let actions = records.iter().filter_map(|record| record["value"]["event"]["action"].as_str());
    actions.map(str::to_owned).collect()
}

/// Put back as it was, it has the same version: that is no reason to say nothing.
#[test]
fn a_list_that_is_put_back_is_said_to_judge_again() {
    let folder = tempfile::tempdir().unwrap();
    program::write(folder.path(), &program::config("back", NOWHERE, ""), LIST);
    let list = folder.path().join("watchlist.toml");
    let mut certsieve = Certsieve::run(folder.path(), &["--stdout"]);
    let reloads = |c: &Certsieve, result: &str| {
        c.scrape().get(&format!("watchlist_reloads_total{{result=\"{result}\"}}"))
    };
    std::fs::write(&list, "nonsense = 1\n").unwrap();
    certsieve.until("it is refused", SOON, |c| (reloads(c, "refused") == 1).then_some(()));
    assert_eq!(reloads(&certsieve, "ok"), 0);
    std::fs::write(&list, LIST).unwrap();
    certsieve.until("it is loaded", SOON, |c| (reloads(c, "ok") == 1).then_some(()));
    certsieve.until("and said to be", SOON, |c| {
        let said: Vec<_> = health(c).into_iter().filter(|kind| kind.starts_with("watchlist")).collect();
        (said == ["watchlist-refused", "watchlist-loaded"]).then_some(())
    });
    let stopped = certsieve.stop();
    assert!(stopped.log.contains("goes on to judge"), "{}", stopped.log);
}
