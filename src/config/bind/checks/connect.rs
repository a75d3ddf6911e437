//! Checks of connections: TCP, and TLS over it.

use std::time::Duration;

use crate::config::bind::Binder;
use crate::config::model::{Match, TcpCheck, TcpTls, TlsCheck, TlsVersion};
use crate::config::spec;
use crate::config::yaml::{Node, Value};

impl Binder<'_> {
    pub(super) fn tcp(&mut self, tcp: spec::TcpCheck) -> Option<TcpCheck> {
        let address = self.host_port(&tcp.address);
        if let (Some(send), None) = (&tcp.send, &tcp.expect) {
            self.mistakes
                .error(&send.place, "`send` without `expect`: that something was sent proves nothing")
                .help("say what must come back, such as `expect: \"+PONG\"`, or leave both out");
        }
        let send = match &tcp.send {
            Some(node) => self.octets(node)?,
            None => Vec::new(),
        };
        let expect = match &tcp.expect {
            Some(node) => Some(self.matching(node)?),
            None => None,
        };
        if let (Some(Match::Equals(_)), Some(node)) = (&expect, &tcp.expect) {
            self.mistakes
                .error(&node.place, "a connection goes on: what it says has no end to compare with")
                .help("write the text alone (it must be in what is said), or `{matches: \"^…\"}`");
        }
        let address = address?;
        let tls = tcp.tls.map(|tls| {
            let server_name = tls.server_name.unwrap_or_else(|| address.host.clone());
            let ca = tls.ca.map(|path| self.path(&path));
            Box::new(TcpTls { server_name, ca, identity: self.client_certificate(tls.cert, tls.key) })
        });
        Some(TcpCheck { address, send, expect, tls })
    }

    pub(super) fn tls(&mut self, tls: spec::TlsCheck) -> Option<TlsCheck> {
        let address = self.host_port(&tls.address)?;
        let server_name = tls.server_name.unwrap_or_else(|| address.host.clone());
        let min_validity = tls.min_validity.map_or(Duration::ZERO, |span| span.0);
        let ca = tls.ca.map(|path| self.path(&path));
        let identity = self.client_certificate(tls.cert, tls.key);
        let min_version = tls.min_version.map_or(TlsVersion::default(), |node| self.tls_version(&node));
        Some(TlsCheck { address, server_name, ca, identity, min_validity, min_version })
    }

    /// `1.2` reads as a number, `"1.2"` as a text.
    fn tls_version(&mut self, node: &Node) -> TlsVersion {
        match &node.value {
            Value::Text(text) if text == "1.2" => TlsVersion::V1_2,
            Value::Text(text) if text == "1.3" => TlsVersion::V1_3,
            Value::Float(_) if node.place.text() == "1.2" => TlsVersion::V1_2,
            Value::Float(_) if node.place.text() == "1.3" => TlsVersion::V1_3,
            _ => {
                self.mistakes
                    .error(&node.place, format!("`{}` is not a version of TLS to ask for", node.place.text()))
                    .help("1.2 or 1.3; older ones are never spoken");
                TlsVersion::default()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::base::Source;
    use crate::config::{CheckKind, Surroundings, parse};

    fn said(check: &str) -> Result<CheckKind, String> {
        let around = Surroundings { directory: "/etc/x".into(), state: None, runtime: None, processors: 1 };
        let text = format!(
            "version: 1\nmode: observe\nsite: {{name: x}}\nlisten: {{dns: [\"127.0.0.1:53\"]}}\nregions:\n  \
             west: {{layers: {{service: [{check}]}}}}\n"
        );
        let (config, _) =
            parse(&Source::new("c.yaml", text), &around).map_err(|mistakes| mistakes.render(false))?;
        Ok(config.checks[crate::base::CheckId(0)].kind.clone())
    }

    #[test]
    fn a_client_certificate_has_a_key_and_somebody_to_see_it() {
        let own = Some(("/etc/x/c.pem".into(), "/etc/x/k.pem".into()));
        let both = "cert: c.pem, key: k.pem";
        match said(&format!("{{tcp: {{address: \"db.example:5432\", tls: {{{both}}}}}}}")) {
            Ok(CheckKind::Tcp(check)) => {
                let tls = check.tls.unwrap();
                assert_eq!((tls.server_name.as_str(), tls.identity), ("db.example", own.clone()));
            }
            other => panic!("{other:?}"),
        }
        match said(&format!("{{http: {{url: \"https://a.example/\", {both}}}}}")) {
            Ok(CheckKind::Http(check)) => assert_eq!(check.identity, own),
            other => panic!("{other:?}"),
        }
        for (check, words) in [
            ("{tls: {address: \"a.example:443\", cert: c.pem}}", "needs both `cert` and `key`"),
            ("{http: {url: \"https://a.example/\", key: k.pem}}", "needs both `cert` and `key`"),
            ("{http: {url: \"http://a.example/\", cert: c.pem, key: k.pem}}", "this URL is in the clear"),
            ("{grpc: {url: \"http://a.example\", cert: c.pem, key: k.pem}}", "this URL is in the clear"),
            ("{tcp: {address: \"a.example:1\", tls: true}}", "error"),
        ] {
            let why = said(check).map(|kind| format!("{kind:?}")).unwrap_err();
            assert!(why.contains(words), "{check}: {why}");
        }
    }
}
