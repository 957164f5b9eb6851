//! Logs with the API of c2sp.org/static-ct-api: a checkpoint, data tiles and issuers, all of them files.
//!
//! A data tile holds 256 entries; it is asked for whole, and its leaves must be as many as its place says, each
//! with the `leaf_index` of its place: a tile that is half written, or another one's, is bad data. Only where the
//! tree ends inside a tile, a partial one is asked for, of exactly the width that the tree size gives; it may be
//! gone once the whole one is there, which is then taken in its place.
//!
//! Which tree size there is must be known from a checkpoint of the same log: other partial tiles must not be
//! asked for, and do not exist.

use super::checkpoint::{self, TreeHead};
use super::entries::{Fetch, Kind, Span};
use super::key::PublicKey;
use super::server::{LogError, Server};
use crate::entry::leaf::{Fetched, Form, Leaf, MAX_TILE_LEAVES, Tile};

/// Entries of a whole tile.
pub(super) const WIDTH: u64 = MAX_TILE_LEAVES as u64;

/// A tile of usual entries has 0.4 to 2 MiB; 64 KiB for each of its 256.
const MAX_BYTES: usize = 16 * 1024 * 1024;

pub(super) async fn tree_head(
    server: &Server,
    origin: Option<&str>,
    key: Option<&PublicKey>,
    expected: &[u16],
) -> Result<TreeHead, LogError> {
    let read = |body: Vec<u8>| TreeHead::of_checkpoint(&body, origin, key).map_err(|e| e.to_string());
    // One byte more than what is taken, so that the reader says what is wrong.
    server.ask("checkpoint", checkpoint::MAX_BYTES + 1, expected, read).await
}

/// Those entries from `first` to `last` that lie in the tile of `first`; both are below `size`.
pub(super) async fn entries(server: &Server, first: u64, last: u64, size: u64) -> Result<Fetch, LogError> {
    let number = first / WIDTH;
    let start = number * WIDTH;
    let wanted = |body, leaves| read(body, start, leaves, first, last);
    let whole = format!("tile/data/{}", path(number));
    let width = size.saturating_sub(start);
    if width < WIDTH {
        let partial = format!("{whole}.p/{width}");
        match server.ask(&partial, MAX_BYTES, &[404, 410], |body| wanted(body, width)).await {
            Err(error) if matches!(error.fault, super::Fault::NotFound(_)) => {}
            answered => return answered,
        }
    }
    server.ask(&whole, MAX_BYTES, &[], |body| wanted(body, WIDTH)).await
}

/// Path of an index: three digits an element, all but the last behind an `x`.
fn path(index: u64) -> String {
    let mut path = format!("{:03}", index % 1_000);
    let mut rest = index / 1_000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1_000);
        rest /= 1_000;
    }
    path
}

/// The leaves from `first` to `last` of a tile that begins at `start` and holds so many.
fn read(bytes: Vec<u8>, start: u64, leaves: u64, first: u64, last: u64) -> Result<Fetch, String> {
    let mut spans = Vec::with_capacity(leaves as usize);
    let mut index = start;
    let mut at = 0;
    for leaf in Tile::new(&bytes) {
        let broken = |error: String| {
            let begins = super::said(&bytes);
            format!("no data tile: leaf {} of {leaves}: {error}; it begins: {begins}", index - start)
        };
        let leaf = leaf.map_err(|error| broken(error.to_string()))?;
        let form = Form::Tile { leaf, issuers: &[] };
        match Leaf::read(Fetched { log: "", log_name: None, index, form }).own_index {
            Some(own) if own == index => {}
            Some(own) => return Err(broken(format!("its leaf_index is {own} at the place of {index}"))),
            None => return Err(broken("it has no leaf_index".to_owned())),
        }
        let end = at + leaf.len() as u32;
        if (first..=last).contains(&index) {
            spans.push(Span { start: at, middle: end, end });
        }
        at = end;
        index += 1;
    }
    if index - start != leaves {
        return Err(format!("a data tile of {} leaves where {leaves} must be", index - start));
    }
    Ok(Fetch::new(first, Kind::Tile, bytes, spans))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::entries::Issuers;
    use super::*;

    /// A TileLeaf of an x509_entry, field by field after the specification.
    pub fn leaf(index: u64, certificate: &[u8], chain: &[[u8; 32]]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 1, 0x9a, 0, 0, 0, 0, 0, 0];
        bytes.extend(&(certificate.len() as u32).to_be_bytes()[1..]);
        bytes.extend(certificate);
        bytes.extend([0, 8, 0, 0, 5]);
        bytes.extend(&index.to_be_bytes()[3..]);
        bytes.extend(((chain.len() * 32) as u16).to_be_bytes());
        bytes.extend(chain.concat());
        bytes
    }

    pub fn tile(indexes: std::ops::Range<u64>) -> Vec<u8> {
        indexes.flat_map(|index| leaf(index, format!("certificate {index}").as_bytes(), &[])).collect()
    }

    #[test]
    fn paths_have_three_digits_an_element() {
        for (index, want) in [
            (0, "000"),
            (67, "067"),
            (999, "999"),
            (1_000, "x001/000"),
            (1_234_067, "x001/x234/067"),
            (u64::MAX / 256, "x072/x057/x594/x037/x927/935"),
        ] {
            assert_eq!(path(index), want);
        }
    }

    #[test]
    fn a_tile_is_cut_to_what_was_asked_for() {
        let start = 3 * WIDTH;
        for (leaves, first, last, want) in [
            (256, start, start + 255, start..start + 256),
            (256, start + 7, start + 9, start + 7..start + 10),
            (256, start + 255, start + 900, start + 255..start + 256),
            (5, start + 1, start + 900, start + 1..start + 5),
        ] {
            let fetch = read(tile(start..start + leaves), start, leaves, first, last).unwrap();
            assert_eq!((fetch.first(), fetch.end()), (want.start, want.end));
            let issuers = Issuers::default();
            let leaves = fetch.leaves(&issuers);
            let mut expected = want;
            for (index, form) in leaves.iter() {
                assert_eq!(Some(index), expected.next());
                assert_eq!(form.bytes(), leaf(index, format!("certificate {index}").as_bytes(), &[]));
            }
        }
    }

    #[test]
    fn tiles_that_are_half_written_or_another_s_are_bad_data() {
        let good = tile(0..256);
        let mut doubled = tile(0..255);
        doubled.extend(tile(254..255));
        let mut swapped = tile(0..254);
        swapped.extend(tile(255..256));
        swapped.extend(tile(254..255));
        let no_index: Vec<u8> = leaf(0, b"x", &[])[..14].iter().copied().chain([0, 0, 0, 0]).collect();
        for (bytes, leaves, want) in [
            (good[..good.len() - 1].to_vec(), 256, "leaf 255 of 256: certificate_chain"),
            (tile(0..255), 256, "a data tile of 255 leaves where 256 must be"),
            (tile(0..256), 5, "a data tile of 256 leaves where 5 must be"),
            (tile(0..257), 256, "more than 256 leaves"),
            (tile(256..512), 256, "its leaf_index is 256 at the place of 0"),
            (doubled, 256, "its leaf_index is 254 at the place of 255"),
            (swapped, 256, "its leaf_index is 255 at the place of 254"),
            (no_index, 1, "it has no leaf_index"),
            (Vec::new(), 5, "a data tile of 0 leaves where 5 must be"),
            (b"<html><body>not here</body></html>".to_vec(), 5, "it begins: <html>"),
            (b"{\"entries\":[]}".to_vec(), 5, "no data tile"),
        ] {
            let error = read(bytes, 0, leaves, 0, 255).unwrap_err();
            assert!(error.contains(want), "{want}: {error}");
        }
    }

    #[test]
    fn a_changed_byte_moves_no_leaf() {
        let good = tile(0..3);
        for at in 0..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                let Ok(fetch) = read(bytes, 0, 3, 0, 2) else { continue };
                let issuers = Issuers::default();
                let leaves = fetch.leaves(&issuers);
                let indexes = leaves.iter().map(|(index, form)| {
                    let leaf = Leaf::read(Fetched { log: "", log_name: None, index, form });
                    assert_eq!(leaf.own_index, Some(index), "{at} {flip}");
                    index
                });
                assert!(indexes.eq(0..3), "{at} {flip}");
            }
        }
    }
}
