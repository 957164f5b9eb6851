//! `certsieve simulate`: the CertStream server of the demo, on its own.
//!
//! For trying a watch list, a dashboard or another consumer without a network. Its logs serve their own API at
//! the same address, and with `--drop` it loses messages on purpose, which can then be read there. Prints where
//! it listens, then serves until Ctrl-C or `--for`, and at the end says what was sent and what was not.

use std::time::Duration;

use crate::demo::Stream;
use crate::demo::simulate::{Server, Settings, SimulateError};

/// Arguments of `certsieve simulate`.
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// Where to listen; port 0 lets the system choose.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// Messages a second, of each stream; 0 is as fast as clients read.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub rate: u32,
    /// Same seed, same names, serials and indexes in the same order.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Messages held for a client that is slow, before the newest are skipped [default: 300 as the real
    /// server, or a second's worth if that is more].
    #[arg(long, value_name = "N")]
    pub buffer: Option<usize>,
    /// Send one message in so many to nobody, though it is in its log, as a server that loses; 0 loses none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub drop: u32,
    /// Stop after so long: 30s, 5m, 1h.
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub run_for: Option<Duration>,
}

/// Serves until Ctrl-C or the end of `--for`.
pub async fn run(args: SimulateArgs) -> Result<(), SimulateError> {
    let settings = Settings {
        seed: args.seed,
        rate: args.rate,
        buffer: args.buffer,
        drop_one_in: Some(args.drop),
        ..Settings::default()
    };
    let server = Server::bind(&args.listen, settings).await?;
    for (stream, what) in
        [(Stream::Lite, "lite"), (Stream::Full, "full, with DER"), (Stream::Domains, "names only")]
    {
        anstream::println!("{:<44} {what}", server.url(stream));
    }
    anstream::println!("{:<44} its logs", server.log_list());
    let meter = server.meter();
    let ended = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            () = last(args.run_for) => {}
        }
    };
    server.serve(ended).await;
    anstream::println!(
        "sent {} messages, skipped {}, dropped {} on purpose",
        meter.sent(),
        meter.skipped(),
        meter.dropped()
    );
    Ok(())
}

/// Waits so long; for ever without a time.
async fn last(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// A length of time as it is typed: a whole number and `ms`, `s`, `m` or `h`; at most a year.
pub fn span(text: &str) -> Result<Duration, SpanError> {
    let refused = || SpanError(text.into());
    let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| refused())?;
    let ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(refused()),
    };
    number.checked_mul(ms).filter(|&ms| ms <= YEAR).map(Duration::from_millis).ok_or_else(refused)
}

/// A year in milliseconds: what timers take without a doubt.
const YEAR: u64 = 365 * 24 * 3_600_000;

/// Not a length of time.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0:?} is no time; write 500ms, 30s, 5m or 1h, up to a year")]
pub struct SpanError(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (text, want) in [
            ("500ms", Some(500)),
            ("30s", Some(30_000)),
            ("5m", Some(300_000)),
            ("1h", Some(3_600_000)),
            ("0s", Some(0)),
            ("30", None),
            ("s", None),
            ("", None),
            ("-1s", None),
            ("1.5s", None),
            ("9000h", None),
            ("99999999999999999999s", None),
            ("1d", None),
        ] {
            assert_eq!(span(text).ok().map(|span| span.as_millis()), want, "{text}");
        }
    }
}
