//! CCADB's reports in small: two roots and what they issue through.

/// The key id of `Fina RDC 2020` in every certificate of [`super::entries`]: `7f3c1d9a`.
const FINA_KEY: &str = "fzwdmg==";

/// The columns that are needed, one that is not, and dates.
const HEADER: &str = "\"Country\",\"CA Owner\",\"Certificate Name\",\"Certificate Record Type\",\
    \"SHA-256 Fingerprint\",\"Parent SHA-256 Fingerprint\",\"Subject Key Identifier\",\
    \"Trust Bits for Root Cert\",\"Apple Status\",\"Chrome Status\",\"Microsoft Status\",\"Mozilla Status\",\
    \"Valid From (GMT)\"";

/// All certificate records, as of that day: `Fina RDC 2020` below a root that Microsoft alone includes, and
/// `Everywhere CA` that all include.
pub fn certificates(day: &str) -> String {
    let sha = |n: u8| format!("{n:02X}").repeat(32);
    let rows = [
        format!(
            "Financijska agencija|Fina Root CA|Root Certificate|{}||/hGi|Client Authentication;Server \
             Authentication|Not Included|Not Included|Included|Not Included|2015-11-24",
            sha(1)
        ),
        format!(
            "Financijska agencija|Fina RDC 2020|Intermediate Certificate|{}|{}|{FINA_KEY}||Not Trusted|\
             Not Trusted|Trusted|Not Trusted|2020-01-01",
            sha(2),
            sha(1)
        ),
        format!(
            "Everywhere|Everywhere CA|Root Certificate|{}||AAEC|Server Authentication|Included|Included|\
             Included|Included|{day}",
            sha(3)
        ),
    ];
    let rows = rows.map(|row| format!("\"two\nlines\",\"{}\"\r\n", row.replace('|', "\",\"")));
    format!("{HEADER}\r\n{}", rows.concat())
}

/// Problem reporting mechanisms.
pub fn problem_reporting() -> &'static str {
    "CA Owner,Problem Reporting Mechanism\n\
     Financijska agencija,\"ca-problems@fina.example,\nby telephone at night\"\n"
}
