//! Small servers and certificates, made up on the spot.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A TCP server on loopback that gives every connection to a function. Ends when dropped.
pub struct Server {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Server {
    pub async fn start<F, W>(serve: F) -> Self
    where
        F: Fn(TcpStream) -> W + Send + 'static,
        W: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                serving.spawn(serve(stream));
                while serving.try_join_next().is_some() {}
            }
        });
        Self { address, connections, _task: task }
    }

    /// A server that says one thing to whatever it is told first.
    pub async fn saying(bytes: &'static [u8]) -> Self {
        Self::start(move |mut stream| async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
            // Gone before the client is, it might take back what it said.
            let _ = stream.read(&mut [0; 4096]).await;
        })
        .await
    }

    /// An HTTP server.
    pub async fn http(router: axum::Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, connections: Arc::default(), _task: task }
    }

    /// How many connections it has taken.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Files of a CA, and of a server and a client that it vouches for.
pub struct Certificates {
    pub ca: PathBuf,
    pub server: (PathBuf, PathBuf),
    pub client: (PathBuf, PathBuf),
}

/// A server's certificate for `localhost` and `127.0.0.1`, valid for ten years, and a client's.
pub fn certificates(directory: &Path) -> Certificates {
    certificates_until(directory, (2045, 1, 1))
}

/// The same, with the end of the server's certificate given.
pub fn certificates_until(directory: &Path, (year, month, day): (i32, u8, u8)) -> Certificates {
    certificates_by(directory, (year, month, day), "rcgen self signed cert")
}

/// The same, by a CA of this name.
pub fn certificates_by(directory: &Path, (year, month, day): (i32, u8, u8), by: &str) -> Certificates {
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.distinguished_name.push(DnType::CommonName, by);
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);

    let make = |name: &str, purposes: Vec<ExtendedKeyUsagePurpose>| {
        // On loopback, and on every host of a `Net`.
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        names.extend((1..=8).map(|host| format!("10.77.0.{host}")));
        let mut params = CertificateParams::new(names).unwrap();
        // Not the CA's own: OpenSSL would take it for self-signed.
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.extended_key_usages = purposes;
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_after = rcgen::date_time_ymd(year, month, day);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let paths = (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
        std::fs::write(&paths.0, certificate.pem()).unwrap();
        std::fs::write(&paths.1, key.serialize_pem()).unwrap();
        paths
    };
    let server = make(
        "server",
        // etcd's gateway shows the server's certificate to the server itself.
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
    );
    let client = make("client", vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let ca = directory.join("ca.pem");
    std::fs::write(&ca, ca_pem).unwrap();
    Certificates { ca, server, client }
}

/// A TLS acceptor that shows a certificate.
pub fn acceptor(server: &(PathBuf, PathBuf)) -> tokio_rustls::TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_file(&server.0).unwrap();
    let key = PrivateKeyDer::from_pem_file(&server.1).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(config).into()
}
