//! Which proxy a feed goes through: the one that its `proxy` names, or what the environment says.
//!
//! As curl has it: `https_proxy` for `wss://` and `https://`, `http_proxy` for `ws://` and `http://`,
//! `all_proxy` for either where that is missing, unless `no_proxy` names the host; of each the name in lower
//! case wins over the one in upper case, and an empty one is missing. Otherwise than in curl, `HTTP_PROXY`
//! counts in upper case too: nobody runs this program as a CGI script, where a stranger could set it. Loopback
//! is not special.
//!
//! A proxy's URL may hold a password: no message repeats any part of it. A mistake in a variable is only
//! told where a feed would go through it, and once.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::problem::{Problems, Report};

use super::environment::Environment;
use super::{Proxy, Secret, check_host_port};

/// curl's, where the URL of a proxy has none.
const DEFAULT_PORT: u16 = 1080;

/// In the order in which they are asked.
const FOR_WS: [&str; 4] = ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"];
const FOR_WSS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// What the environment names for feeds that do not say it themselves.
pub struct Surroundings<'e> {
    pub environment: &'e Environment,
    /// Variables whose mistake was told.
    told: Vec<&'static str>,
}

impl<'e> Surroundings<'e> {
    pub fn new(environment: &'e Environment) -> Surroundings<'e> {
        Surroundings { environment, told: Vec::new() }
    }

    pub fn proxy(&mut self, to: &Target<'_>, report: &mut Report<'_>) -> Option<Proxy> {
        if self.exceptions().is_some_and(|list| is_named(list, to)) {
            return None;
        }
        self.any(to.secure, report)
    }

    /// For hosts that are only known later.
    pub fn proxies(&mut self, report: &mut Report<'_>) -> Proxies {
        Proxies {
            secure: self.any(true, report),
            plain: self.any(false, report),
            exceptions: self.exceptions().map(str::to_owned),
        }
    }

    fn exceptions(&self) -> Option<&'e str> {
        self.first(&["no_proxy", "NO_PROXY"]).map(|(_, list)| list)
    }

    /// Whatever the host.
    fn any(&mut self, secure: bool, report: &mut Report<'_>) -> Option<Proxy> {
        let (name, url) = self.first(if secure { &FOR_WSS } else { &FOR_WS })?;
        match parse(url, name) {
            Ok(proxy) => Some(proxy),
            Err(error) => {
                if !self.told.contains(&name) {
                    self.told.push(name);
                    let place = report.variable(name);
                    report.add(place, error.to_string(), error.hint());
                }
                None
            }
        }
    }

    /// The first of these variables that is not empty.
    fn first(&self, names: &[&'static str]) -> Option<(&'static str, &'e str)> {
        let environment = self.environment;
        names.iter().find_map(|name| Some((*name, environment.get(name).filter(|value| !value.is_empty())?)))
    }
}

/// What the environment says of proxies, for hosts that no configuration names: those of a log list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Proxies {
    secure: Option<Proxy>,
    plain: Option<Proxy>,
    exceptions: Option<String>,
}

impl Proxies {
    /// Where there is no configuration file: of the environment alone, with what is wrong about it.
    pub fn read(env: impl Iterator<Item = (String, String)>) -> Result<Proxies, Problems> {
        let environment = Environment::new(env);
        let mut report = Report::private("environment", "");
        let proxies = Surroundings::new(&environment).proxies(&mut report);
        let mut problems = Problems::default();
        report.finish(&mut problems);
        if problems.is_empty() { Ok(proxies) } else { Err(problems) }
    }

    /// The proxy for a URL.
    pub fn of(&self, url: &str) -> Option<&Proxy> {
        let to = Target::of(url)?;
        let proxy = if to.secure { &self.secure } else { &self.plain };
        proxy.as_ref().filter(|_| !self.exceptions.as_ref().is_some_and(|list| is_named(list, &to)))
    }
}

/// Where a feed or another URL leads.
pub struct Target<'u> {
    secure: bool,
    /// Without brackets.
    host: &'u str,
    port: u16,
}

impl<'u> Target<'u> {
    /// `None` where the URL has a mistake, which is told elsewhere.
    pub fn of(url: &'u str) -> Option<Target<'u>> {
        let (scheme, rest) = url.split_once("://")?;
        let secure = match scheme {
            "wss" | "https" => true,
            "ws" | "http" => false,
            _ => return None,
        };
        let (host, port) = host_and_port(rest.split(['/', '?', '#']).next()?)?;
        Some(Target { secure, host, port: port.unwrap_or(if secure { 443 } else { 80 }) })
    }
}

/// `http://[user[:password]@]host[:port][/]`; without a scheme it is http too. `named_by` is what said so.
pub fn parse(url: &str, named_by: &'static str) -> Result<Proxy, UrlError> {
    let rest = match url.split_once("://") {
        None => url,
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some((scheme, _)) => {
            let kinds = ["https", "socks4", "socks4a", "socks5", "socks5h"];
            let kind = kinds.into_iter().find(|kind| scheme.eq_ignore_ascii_case(kind));
            return Err(kind.map_or(UrlError::Scheme, UrlError::Kind));
        }
    };
    // A password may hold the signs that end it, though it should not.
    let (login, rest) = match rest.rsplit_once('@') {
        Some((login, rest)) => (Some(login), rest),
        None => (None, rest),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#']) {
        return Err(UrlError::Path);
    }
    let (host, port) = host_and_port(authority).ok_or(UrlError::Host)?;
    let login = login.map(|login| {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        Secret::new(format!("{}:{}", decoded(user), decoded(password)))
    });
    Ok(Proxy { host: host.to_owned(), port: port.unwrap_or(DEFAULT_PORT), login, named_by })
}

/// A URL that no proxy can be reached by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    #[error("the proxy is of kind {0}://")]
    Kind(&'static str),
    #[error("the proxy's url does not begin with http://")]
    Scheme,
    #[error("the proxy's url has more behind its host and port")]
    Path,
    #[error("the proxy's url has no host, or a port that is not from 1 to 65535")]
    Host,
}

impl UrlError {
    pub fn hint(self) -> &'static str {
        match self {
            UrlError::Kind(_) => {
                "write http://host:port: a feed goes through HTTP proxies only, by CONNECT, wss:// as well as ws://"
            }
            _ => "write http://host:port, as in http://proxy.example.net:3128",
        }
    }
}

/// The host without brackets, and the port where there is one.
fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    check_host_port(&format!("{host}:{}", port.unwrap_or("0"))).ok()?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match port.map(str::parse) {
        None => Some((host, None)),
        Some(Ok(port)) if port > 0 => Some((host, Some(port))),
        Some(_) => None,
    }
}

/// With `%40` for `@`. What is no such escape stands for itself.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let escape = after.first_chunk().filter(|_| *first == b'%').and_then(|[high, low]| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
        });
        bytes.push(escape.unwrap_or(*first));
        rest = if escape.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a list such as `NO_PROXY` names the host.
fn is_named(list: &str, to: &Target<'_>) -> bool {
    let host = to.host.trim_end_matches('.').to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    list.split([',', ' ', '\t']).filter(|entry| !entry.is_empty()).any(|entry| {
        let (pattern, port) = entry_and_port(entry);
        if port.is_some_and(|port| port != to.port) {
            return false;
        }
        match address {
            _ if pattern == "*" => true,
            Some(address) => network(pattern).is_some_and(|network| network.contains(&address)),
            None => {
                let pattern = pattern.strip_prefix('*').unwrap_or(pattern);
                let pattern = pattern.strip_prefix('.').unwrap_or(pattern).trim_end_matches('.');
                let rest = host.strip_suffix(&pattern.to_ascii_lowercase());
                !pattern.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
        }
    })
}

/// An entry of the list without brackets, and its port where it has one.
fn entry_and_port(entry: &str) -> (&str, Option<u16>) {
    if network(entry).is_some() {
        return (entry, None);
    }
    let (pattern, port) = match entry.rsplit_once(':') {
        Some((pattern, port)) if port.parse::<u16>().is_ok() => (pattern, port.parse().ok()),
        _ => (entry, None),
    };
    (pattern.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(pattern), port)
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(url: &str, env: &[(&str, &str)]) -> (Option<Proxy>, Problems) {
        let environment = Environment::new(env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        let mut surroundings = Surroundings::new(&environment);
        let mut report = Report::private("file", "");
        let to = Target::of(url).unwrap();
        let proxy = surroundings.proxy(&to, &mut report);
        assert_eq!(surroundings.proxy(&to, &mut report), proxy, "and so for the next feed");
        let mut problems = Problems::default();
        report.finish(&mut problems);
        (proxy, problems)
    }

    #[test]
    fn urls_of_proxies_are_read() {
        for (url, want, login) in [
            ("http://proxy:3128", "proxy:3128", None),
            ("HTTP://proxy:3128/", "proxy:3128", None),
            ("proxy.example.net:3128", "proxy.example.net:3128", None),
            ("proxy", "proxy:1080", None),
            ("http://[2001:db8::1]:3128", "[2001:db8::1]:3128", None),
            ("http://[::1]", "[::1]:1080", None),
            ("http://u@proxy:1", "proxy:1", Some("u:")),
            ("http://u:hunter2@proxy:1", "proxy:1", Some("u:hunter2")),
            ("u:hunter2@proxy:1", "proxy:1", Some("u:hunter2")),
            ("http://u:p%40%3a%2F%zz%@proxy:1", "proxy:1", Some("u:p@:/%zz%")),
            ("http://u:a@b/c:d@proxy:1", "proxy:1", Some("u:a@b/c:d")),
        ] {
            let proxy = parse(url, "proxy").unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(proxy.to_string(), want, "{url}");
            assert_eq!(proxy.login.as_ref().map(Secret::expose), login, "{url}");
            assert!(!format!("{proxy:?} {proxy}").contains("hunter2"));
        }
    }

    #[test]
    fn urls_that_lead_to_no_http_proxy_are_refused_without_being_repeated() {
        for (url, want) in [
            ("https://u:hunter2@proxy:3128", UrlError::Kind("https")),
            ("socks5://u:hunter2@proxy:1080", UrlError::Kind("socks5")),
            ("SOCKS5H://proxy", UrlError::Kind("socks5h")),
            ("hunter2://proxy", UrlError::Scheme),
            ("ftp://proxy", UrlError::Scheme),
            ("http://proxy:3128/hunter2", UrlError::Path),
            ("http://proxy?hunter2", UrlError::Path),
            ("http://", UrlError::Host),
            ("http://proxy:hunter2", UrlError::Host),
            ("http://proxy:0", UrlError::Host),
            ("http://proxy:", UrlError::Host),
            ("http://::1:3128", UrlError::Host),
            ("http://a b:3128", UrlError::Host),
            ("http://a\r\nX: hunter2:3128", UrlError::Host),
        ] {
            let error = parse(url, "proxy").unwrap_err();
            assert_eq!(error, want, "{url}");
            assert!(!format!("{error} {}", error.hint()).contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn the_environment_is_asked_as_curl_asks_it() {
        const WS: &str = "ws://feed.example.net/";
        const WSS: &str = "wss://feed.example.net/";
        for (url, env, want) in [
            (WS, &[][..], None),
            (WS, &[("HTTP_PROXY", "http://a:1")], Some("a:1 HTTP_PROXY")),
            (WS, &[("HTTPS_PROXY", "http://a:1")], None),
            (WSS, &[("HTTPS_PROXY", "http://a:1")], Some("a:1 HTTPS_PROXY")),
            (WSS, &[("HTTP_PROXY", "http://a:1")], None),
            (WSS, &[("HTTPS_PROXY", "http://a:1"), ("https_proxy", "http://b:1")], Some("b:1 https_proxy")),
            (WSS, &[("HTTPS_PROXY", "http://a:1"), ("https_proxy", "")], Some("a:1 HTTPS_PROXY")),
            (WS, &[("ALL_PROXY", "http://a:1")], Some("a:1 ALL_PROXY")),
            (WSS, &[("all_proxy", "a:1"), ("HTTPS_PROXY", "b:1")], Some("b:1 HTTPS_PROXY")),
            (WSS, &[("all_proxy", "a:1"), ("ALL_PROXY", "b:1"), ("HTTPS_PROXY", "")], Some("a:1 all_proxy")),
            (WSS, &[("ALL_PROXY", "a:1"), ("NO_PROXY", "example.net")], None),
            (WSS, &[("ALL_PROXY", "a:1"), ("no_proxy", "x"), ("NO_PROXY", "*")], Some("a:1 ALL_PROXY")),
            (WSS, &[("ALL_PROXY", "a:1"), ("no_proxy", ""), ("NO_PROXY", "*")], None),
            ("ws://127.0.0.1:1/", &[("ALL_PROXY", "a:1")], Some("a:1 ALL_PROXY")),
            ("ws://localhost/", &[("ALL_PROXY", "a:1")], Some("a:1 ALL_PROXY")),
        ] {
            let (proxy, problems) = resolve(url, env);
            assert!(problems.is_empty(), "{env:?}: {problems}");
            let got = proxy.map(|proxy| format!("{proxy} {}", proxy.named_by));
            assert_eq!(got.as_deref(), want, "{url} {env:?}");
        }
    }

    #[test]
    fn a_mistake_of_the_environment_is_told_once_and_only_where_it_matters() {
        let socks = ("ALL_PROXY", "socks5://u:hunter2@proxy:1080");
        let (proxy, problems) = resolve("wss://feed.example.net/", &[socks]);
        let found: Vec<_> = problems.iter().map(|p| (p.file.as_str(), p.message.as_str())).collect();
        assert_eq!(found, [("environment variable ALL_PROXY", "the proxy is of kind socks5://")]);
        assert!(proxy.is_none() && !problems.to_string().contains("hunter2"), "{problems}");
        assert!(problems.to_string().contains("HTTP proxies only"), "{problems}");
        for other in [("NO_PROXY", "*"), ("HTTPS_PROXY", "http://a:1")] {
            let (_, problems) = resolve("wss://feed.example.net/", &[socks, other]);
            assert!(problems.is_empty(), "{other:?}: {problems}");
        }
    }

    #[test]
    fn what_is_kept_for_later_hosts_says_the_same() {
        let read =
            |env: &[(&str, &str)]| Proxies::read(env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        for (env, url, want) in [
            (&[][..], "https://ct.example.net/log", None),
            (&[("HTTPS_PROXY", "http://a:1")], "https://ct.example.net/log", Some("a:1")),
            (&[("HTTPS_PROXY", "http://a:1")], "http://ct.example.net/log", None),
            (&[("HTTPS_PROXY", "a:1"), ("HTTP_PROXY", "b:1")], "http://ct.example.net:8080/log", Some("b:1")),
            (&[("ALL_PROXY", "a:1"), ("NO_PROXY", "example.net")], "https://ct.example.net/log", None),
            (&[("ALL_PROXY", "a:1"), ("NO_PROXY", "example.net")], "https://ct.example.com/log", Some("a:1")),
            (&[("ALL_PROXY", "a:1")], "ftp://ct.example.com/", None),
        ] {
            let proxies = read(env).unwrap();
            assert_eq!(proxies.of(url).map(|proxy| proxy.to_string()).as_deref(), want, "{url} {env:?}");
        }
        let problems = read(&[("ALL_PROXY", "socks5://u:hunter2@proxy:1080")]).unwrap_err();
        assert_eq!(problems.iter().count(), 1, "{problems}");
        assert!(!problems.to_string().contains("hunter2"), "{problems}");
    }

    #[test]
    fn no_proxy_names_hosts() {
        let named = |list: &str, url: &str| is_named(list, &Target::of(url).unwrap());
        const FEED: &str = "wss://feed.example.net/full-stream";
        for (list, url, want) in [
            ("*", FEED, true),
            ("*", "ws://1.1.1.1/", true),
            ("feed.example.net", FEED, true),
            ("FEED.Example.NET.", FEED, true),
            ("feed.example.net", "wss://Feed.example.net./", true),
            ("example.net", FEED, true),
            (".example.net", FEED, true),
            ("*.example.net", FEED, true),
            (".example.net", "ws://example.net/", true),
            ("ample.net", FEED, false),
            ("d.example.net", FEED, false),
            ("x.feed.example.net", FEED, false),
            ("example.com", FEED, false),
            ("net", FEED, true),
            ("", FEED, false),
            (" , ,.,", FEED, false),
            ("a, b example.net", FEED, true),
            ("feed.example.net:443", FEED, true),
            ("feed.example.net:8443", FEED, false),
            ("example.net:8443", "wss://feed.example.net:8443/", true),
            ("example.net:80", "ws://feed.example.net/", true),
            ("*:80", FEED, false),
            ("example.net:x", FEED, false),
            ("127.0.0.1", "ws://127.0.0.1:8080/", true),
            ("127.0.0.1:8080", "ws://127.0.0.1:8080/", true),
            ("127.0.0.1:80", "ws://127.0.0.1:8080/", false),
            ("127.0.0.0/8", "ws://127.9.9.9/", true),
            ("127.0.0.1/8", "ws://127.9.9.9/", true),
            ("127.0.0.0/8:80", "ws://127.9.9.9/", true),
            ("128.0.0.0/8", "ws://127.9.9.9/", false),
            ("127.0.0.0/33", "ws://127.0.0.1/", false),
            ("0.0.1", "ws://127.0.0.1/", false),
            ("10.0.0.0/8", "ws://10.example.net/", false),
            ("127.0.0.0/8", "ws://localhost/", false),
            ("localhost", "ws://localhost/", true),
            ("::1", "ws://[::1]/", true),
            ("[::1]", "ws://[::1]/", true),
            ("[::1]:80", "ws://[::1]/", true),
            ("[::1]:81", "ws://[::1]/", false),
            ("2001:db8::/32", "ws://[2001:db8:1::1]/", true),
            ("0:0:0:0:0:0:0:1", "ws://[::1]/", true),
            ("127.0.0.1", "ws://[::ffff:127.0.0.1]/", true),
        ] {
            assert_eq!(named(list, url), want, "{list} {url}");
        }
    }
}
