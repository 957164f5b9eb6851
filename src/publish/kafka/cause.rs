//! Pure: from what librdkafka says to what an operator can act on.
//!
//! A failed login or handshake reaches the producer as a mere time-out; its cause is only in the
//! client's error callback, in the words of OpenSSL or of the broker. Those words are kept, shortened,
//! and followed by what to do.

/// Characters of a message, hint apart.
const LONGEST: usize = 300;

/// Words that librdkafka, OpenSSL or the broker uses, and what to do about it. The first that fits.
const HINTS: [(&str, &str); 17] = [
    (
        "certificate verify failed",
        "the broker's certificate is signed by a CA unknown here: set \"ssl.ca.location\" in [kafka.properties] to that CA's PEM file",
    ),
    (
        "certificate required",
        "the broker wants a client certificate: set \"ssl.certificate.location\" and \"ssl.key.location\" in [kafka.properties]",
    ),
    ("unknown ca", "the broker does not trust the CA of the client certificate given here"),
    (
        "bad certificate",
        "the broker refuses the client certificate, or wants one and got none: see \"ssl.certificate.location\" and \"ssl.key.location\" in [kafka.properties]",
    ),
    ("certificate expired", "the client certificate is past its validity"),
    ("hostname mismatch", "the broker's certificate names another host than [kafka] brokers"),
    ("IP address mismatch", "the broker's certificate names another address than [kafka] brokers"),
    ("SASL authentication error", "check username, password_file and \"sasl.mechanism\""),
    ("invalid credentials", "check username, password_file and \"sasl.mechanism\""),
    ("mechanism", "the broker does not offer this \"sasl.mechanism\""),
    (
        "incorrect security.protocol",
        "check \"security.protocol\": the listener speaks another one, or the broker closes before login",
    ),
    ("wrong version number", "this listener does not speak TLS: check \"security.protocol\" and the port"),
    ("Failed to resolve", "check the host names in [kafka] brokers and the resolver"),
    ("Connection refused", "nothing listens there: is the broker up, is the port right"),
    (
        "state APIVERSION_QUERY",
        "the listener closes before a word is said: it may want TLS or SASL, see \"security.protocol\"",
    ),
    (
        "brokers are down",
        "none answers as Kafka does: check hosts and ports, and \"security.protocol\" where a listener wants TLS or SASL",
    ),
    (
        "Cluster authorization failed",
        "give the user the right to write: kafka-acls.sh --add --operation Write --topic",
    ),
];

/// One line: the words, bounded, and a hint where there is one.
pub fn explain(words: &str) -> String {
    let lower = words.to_ascii_lowercase();
    let words = trim(words);
    match HINTS.iter().find(|(part, _)| lower.contains(&part.to_ascii_lowercase())) {
        Some((_, hint)) => format!("{words} ({hint})"),
        None => words,
    }
}

/// The words without librdkafka's timing, on one line, at most [`LONGEST`] characters.
fn trim(words: &str) -> String {
    // "… (after 3ms in state CONNECT, 5 identical error(s) suppressed)"
    let end = words.rfind(" (after ").unwrap_or(words.len());
    let mut out = String::new();
    for (n, c) in words[..end].trim().chars().enumerate() {
        if n == LONGEST {
            out.push('…');
            break;
        }
        out.push(if c.is_control() { ' ' } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_kept_and_followed_by_what_to_do() {
        for (words, want) in [
            (
                "sasl_ssl://localhost:9093/bootstrap: SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512 (after 312ms in state AUTH_REQ, 4 identical error(s) suppressed)",
                "sasl_ssl://localhost:9093/bootstrap: SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512 (check username, password_file and \"sasl.mechanism\")",
            ),
            (
                "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state CONNECT)",
                "127.0.0.1:1/bootstrap: Connect to ipv4#127.0.0.1:1 failed: Connection refused (nothing listens there: is the broker up, is the port right)",
            ),
            (
                "sasl_ssl://k1:9093/bootstrap: Failed to resolve 'k1:9093': Name or service not known (after 2ms in state CONNECT)",
                "sasl_ssl://k1:9093/bootstrap: Failed to resolve 'k1:9093': Name or service not known (check the host names in [kafka] brokers and the resolver)",
            ),
            ("a\nb\u{0}c", "a b c"),
        ] {
            assert_eq!(explain(words), want);
        }
        let long = explain(&"x".repeat(100_000));
        assert_eq!(long.chars().count(), LONGEST + 1);
    }
}
