//! Where to listen, for what, and with which certificate.

use std::net::SocketAddr;

use super::Binder;
use crate::base::{Place, Prefix};
use crate::config::model::{Balanced, Carries, CertificateFiles, Listen};
use crate::config::read::Placed;
use crate::config::spec;

impl Binder<'_> {
    pub(super) fn listen(&mut self, listen: &spec::Listen, certificate: Option<&CertificateFiles>) -> Listen {
        // Addresses in use: two listeners on one port of TCP, or of UDP, cannot both have it.
        let (mut tcp, mut udp) = (Vec::new(), Vec::new());
        let dns = self.claimed(&listen.dns, &mut [&mut tcp, &mut udp]);
        let tls = self.claimed(&listen.tls, &mut [&mut tcp]);
        let https = self.claimed(&listen.https, &mut [&mut tcp]);
        let quic = self.claimed(&listen.quic, &mut [&mut udp]);
        let proxy: Vec<_> =
            listen.proxy.iter().filter_map(|balanced| self.balanced(balanced, &mut tcp)).collect();
        let balanced = listen.proxy.iter().filter(|balanced| balanced.carries != Carries::Dns);
        let secure = [&listen.tls, &listen.https, &listen.quic].into_iter().flatten();
        let mut secure = secure.chain(balanced.map(|balanced| &balanced.address)).peekable();
        match certificate {
            Some(files) if secure.peek().is_none() => {
                self.mistakes
                    .warn(&files.certificate_place, "nobody is shown this certificate")
                    .help("listen for TLS, as in `listen: {tls: [\"0.0.0.0:853\"]}`");
            }
            Some(_) => {}
            None => {
                for address in secure {
                    self.mistakes
                        .error(&address.place, format!("{} needs a certificate", address.value))
                        .help("name one: `tls: {certificate: server.pem, key: server.key}`");
                }
            }
        }
        let http = listen.http.as_ref().and_then(|text| self.socket_address(text));
        let control = self.around.control(listen.control.as_deref());
        Listen { dns, tls, https, quic, proxy, http, control }
    }

    pub(super) fn certificate(&mut self, tls: Placed<spec::Certificate>) -> CertificateFiles {
        let spec::Certificate { certificate, key } = tls.value;
        CertificateFiles {
            certificate: self.path(&certificate.value),
            certificate_place: certificate.place,
            key: self.path(&key.value),
            key_place: key.place,
        }
    }

    fn claimed(&mut self, texts: &[Placed<String>], taken: &mut [&mut Vec<SocketAddr>]) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        for text in texts {
            let Some(address) = self.socket_address(text) else { continue };
            for taken in &mut *taken {
                if !self.claim(address, &text.place, taken) {
                    break;
                }
            }
            addresses.push(address);
        }
        addresses
    }

    /// Notes an address as taken; tells whether it was free. Port 0 is never taken: the system
    /// picks another one each time.
    fn claim(&mut self, address: SocketAddr, place: &Place, taken: &mut Vec<SocketAddr>) -> bool {
        let free = address.port() == 0 || !taken.contains(&address);
        if !free {
            self.mistakes.error(place, format!("{address} is listed twice"));
        }
        taken.push(address);
        free
    }

    fn balanced(&mut self, balanced: &spec::Balanced, taken: &mut Vec<SocketAddr>) -> Option<Balanced> {
        let mut from = Vec::new();
        for text in &balanced.from.value {
            match text.value.parse::<Prefix>() {
                Ok(prefix) => from.push(prefix),
                Err(why) => drop(self.mistakes.error(&text.place, why.to_string())),
            }
        }
        if balanced.from.value.is_empty() {
            self.mistakes
                .error(&balanced.from.place, "nobody may connect")
                .help("list the networks of the balancers, as in `from: [\"10.0.0.0/24\"]`");
        }
        for (prefix, text) in from.iter().zip(&balanced.from.value) {
            if prefix.len() == 0 {
                self.mistakes
                    .warn(&text.place, "everybody may connect here, and claim to be anybody")
                    .help("list the balancers alone");
            }
        }
        let address = self.socket_address(&balanced.address)?;
        self.claim(address, &balanced.address.place, taken);
        Some(Balanced { address, from, carries: balanced.carries })
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::base::Source;
    use crate::config::{Carries, Config, Surroundings, parse};

    /// A file with these lines in it: the configuration, and everything that is said about it.
    fn read(lines: &str) -> (Option<Config>, String) {
        let text = format!("version: 1\nmode: answer\nsite: {{name: here}}\n{lines}\n");
        let around =
            Surroundings { directory: PathBuf::from("/etc/p"), state: None, runtime: None, processors: 1 };
        match parse(&Source::new("p.yaml", text), &around) {
            Ok((config, warnings)) => (Some(config), warnings.render(false)),
            Err(mistakes) => (None, mistakes.render(false)),
        }
    }

    const TLS: &str = "tls: {certificate: server.pem, key: server.key}";

    #[test]
    fn takes_every_transport() {
        let (config, said) = read(&format!(
            "{TLS}\nlisten: {{dns: [\"[::]:53\"], tls: [\"[::]:853\"], quic: [\"[::]:853\"], https: [\"[::]:443\"], \
             proxy: [{{address: \"[::]:5300\", from: [10.0.0.0/24, \"2001:db8::/64\"], carries: tls}}]}}"
        ));
        let config = config.unwrap_or_else(|| panic!("{said}"));
        assert_eq!(said, "");
        assert_eq!(config.tls.unwrap().key, PathBuf::from("/etc/p/server.key"));
        assert_eq!((config.listen.tls.len(), config.listen.quic.len(), config.listen.https.len()), (1, 1, 1));
        let balanced = &config.listen.proxy[0];
        assert_eq!((balanced.from.len(), balanced.carries), (2, Carries::Tls));
    }

    #[test]
    fn says_what_is_wrong_with_a_listener() {
        for (lines, wanted) in [
            ("listen: {dns: [], tls: [\"[::]:853\"]}", "[::]:853 needs a certificate"),
            ("listen: {dns: [], quic: [\"[::]:853\"]}", "[::]:853 needs a certificate"),
            (
                "listen: {dns: [], proxy: [{address: \"[::]:53\", from: [\"::1/128\"], carries: https}]}",
                "[::]:53 needs a certificate",
            ),
            ("listen: {dns: [\"[::]:53\", \"[::]:53\"]}", "[::]:53 is listed twice"),
            (
                "listen: {dns: [\"[::]:53\"], proxy: [{address: \"[::]:53\", from: [\"::1/128\"]}]}",
                "[::]:53 is listed twice",
            ),
            (
                "tls: {certificate: a, key: b}\nlisten: {dns: [\"[::]:53\"], quic: [\"[::]:53\"]}",
                "[::]:53 is listed twice",
            ),
            ("listen: {dns: [], proxy: [{address: \"[::]:53\", from: []}]}", "nobody may connect"),
            ("listen: {dns: [], proxy: [{address: \"[::]:53\", from: [nobody]}]}", "`nobody` is not an IP"),
            ("listen: {dns: [], tls: [nowhere]}", "`nowhere` is not an address and a port"),
        ] {
            let (config, said) = read(lines);
            assert!(config.is_none() && said.contains(wanted) && said.contains("p.yaml:"), "{lines}: {said}");
        }
    }

    #[test]
    fn warns_of_what_makes_little_sense() {
        let (config, said) = read(&format!("{TLS}\nlisten: {{dns: []}}"));
        assert!(config.is_some() && said.contains("nobody is shown this certificate"), "{said}");
        let (config, said) = read("listen: {dns: [], proxy: [{address: \"[::]:53\", from: [\"::/0\"]}]}");
        assert!(config.is_some() && said.contains("everybody may connect here"), "{said}");
        // The system picks a port, each time another one.
        let (config, said) = read("listen: {dns: [\"[::]:0\", \"[::]:0\"]}");
        assert!(config.is_some(), "{said}");
    }
}
