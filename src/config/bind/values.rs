//! Texts that become values: addresses, URLs, status codes, headers, paths.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use reqwest::Url;

use super::Binder;
use crate::base::{Mistakes, Place, SecretRef};
use crate::config::model::{HeaderValue, HostPort, StatusRange};
use crate::config::read::{Placed, read};
use crate::config::yaml::{Node, Value};

impl Binder<'_> {
    pub(super) fn socket_address(&mut self, text: &Placed<String>) -> Option<SocketAddr> {
        match text.value.parse() {
            Ok(address) => Some(address),
            Err(_) => {
                self.mistakes
                    .error(&text.place, format!("`{}` is not an address and a port", text.value))
                    .help("write it like \"127.0.0.1:53\" or \"[::1]:53\"");
                None
            }
        }
    }

    pub(super) fn host_port(&mut self, text: &Placed<String>) -> Option<HostPort> {
        let parsed = parse_host_port(&text.value);
        self.noted(&text.place, parsed)
    }

    pub(super) fn url(&mut self, text: &Placed<String>) -> Option<Url> {
        let parsed = parse_url(&text.value);
        self.noted(&text.place, parsed)
    }

    pub(super) fn status(&mut self, node: &Node) -> Option<StatusRange> {
        let parsed = parse_status(node);
        self.noted(&node.place, parsed)
    }

    fn noted<T>(&mut self, place: &Place, parsed: Result<T, Unfit>) -> Option<T> {
        parsed.map_err(|unfit| unfit.note(place, self.mistakes)).ok()
    }

    /// A text, or a reference to a secret.
    pub(super) fn header(&mut self, node: &Node) -> Option<HeaderValue> {
        match &node.value {
            Value::Text(text) => Some(HeaderValue::Plain(text.clone())),
            Value::Int(number) => Some(HeaderValue::Plain(number.to_string())),
            _ => {
                read::<SecretRef>(node, self.mistakes).map(|secret| HeaderValue::Secret(self.secret(secret)))
            }
        }
    }

    pub(super) fn secret(&self, secret: SecretRef) -> SecretRef {
        let secret = match secret {
            SecretRef::File(path) => SecretRef::File(self.path(&path)),
            other => other,
        };
        self.secrets.borrow_mut().push(secret.clone());
        secret
    }
}

/// Why a text is not the value it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unfit {
    /// What is wrong.
    pub message: String,
    /// How to mend it, if there is a way to tell.
    pub help: Option<&'static str>,
}

impl Unfit {
    /// Notes it as a mistake.
    pub fn note(self, place: &Place, mistakes: &mut Mistakes) {
        mistakes.error(place, self.message).maybe_help(self.help.map(str::to_owned));
    }
}

/// Reads `host:port`, `192.0.2.1:80` or `[2001:db8::1]:80`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_host_port(text: &str) -> Result<HostPort, Unfit> {
    let parsed = text.rsplit_once(':').and_then(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(bare) => bare.parse::<std::net::Ipv6Addr>().ok().map(|_| bare),
            None => (!host.is_empty() && !host.contains([':', '/', '@', ' '])).then_some(host),
        }?;
        Some(HostPort { host: host.to_owned(), port: port.parse().ok().filter(|port| *port != 0)? })
    });
    parsed.ok_or_else(|| Unfit {
        message: format!("`{text}` is not a host and a port"),
        help: Some("write it like \"db.example.com:5432\", \"192.0.2.1:80\" or \"[2001:db8::1]:80\""),
    })
}

/// Reads a URL of HTTP that carries no credentials.
///
/// # Errors
/// What is wrong with it.
pub fn parse_url(text: &str) -> Result<Url, Unfit> {
    let message = match Url::parse(text) {
        Err(why) => format!("`{text}` is not a URL: {why}"),
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            format!("`{text}` is neither http:// nor https://")
        }
        Ok(url) if url.host_str().is_none_or(str::is_empty) => format!("`{text}` has no host"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            "a URL must not carry credentials".to_owned()
        }
        Ok(url) => return Ok(url),
    };
    Err(Unfit { message, help: None })
}

/// Reads `200` or `200-299`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_status(node: &Node) -> Result<StatusRange, Unfit> {
    let code = |text: &str| text.trim().parse::<u16>().ok().filter(|code| (100..=599).contains(code));
    let range = match &node.value {
        Value::Int(number) => code(&number.to_string()).map(|code| StatusRange { first: code, last: code }),
        Value::Text(text) => text.split_once('-').and_then(|(first, last)| {
            let range = StatusRange { first: code(first)?, last: code(last)? };
            (range.first <= range.last).then_some(range)
        }),
        _ => None,
    };
    range.ok_or_else(|| Unfit {
        message: format!("`{}` is not a status code", node.place.text()),
        help: Some("write 200, or a range such as 200-299"),
    })
}

/// Takes `.` and `..` out of a path by its text alone, so that it reads well in messages.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => match out.components().next_back() {
                Some(Component::Normal(_)) => drop(out.pop()),
                Some(Component::RootDir) => {}
                _ => out.push(".."),
            },
            part => out.push(part),
        }
    }
    if out.as_os_str().is_empty() { PathBuf::from(".") } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_well() {
        assert_eq!(normal(Path::new("config/../zones/./a.zone")), Path::new("zones/a.zone"));
        assert_eq!(normal(Path::new("../a")), Path::new("../a"));
        assert_eq!(normal(Path::new("/../a")), Path::new("/a"));
        assert_eq!(normal(Path::new("a/..")), Path::new("."));
    }
}
