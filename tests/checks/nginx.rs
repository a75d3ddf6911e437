//! A real nginx: HTTP/1.1, HTTP/2 in the clear and over TLS, redirects, packed and odd answers.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::servers::{Certificates, certificates};
use crate::common::{Program, Scratch, find, ports, until};

pub struct Nginx {
    /// HTTP/1.1 in the clear.
    pub plain: u16,
    /// HTTP/2 in the clear, and nothing else.
    pub h2c: u16,
    /// Both over TLS 1.2 and 1.3.
    pub tls: u16,
    /// HTTP/1.1 over TLS 1.2, and nothing else.
    pub old: u16,
    /// TLS that asks for a client's certificate, and tells at `/who` whether it got a good one.
    pub asking: u16,
    pub certificates: Certificates,
    _program: Program,
    _scratch: Scratch,
}

impl Nginx {
    /// Starts it, if it is there.
    pub fn start() -> Option<Self> {
        let binary = find("nginx", "nginx", &["/usr/sbin"])?;
        let scratch = Scratch::new("nginx");
        let certificates = certificates(scratch.path());
        let [plain, h2c, tls, old, asking] = std::array::from_fn(|_| ports::free());
        let file = scratch.path().join("nginx.conf");
        std::fs::write(&file, configuration(scratch.path(), &certificates, [plain, h2c, tls, old, asking]))
            .unwrap();
        let log = scratch.path().join("output");
        let mut command = Command::new(binary);
        command.arg("-c").arg(&file).arg("-p").arg(scratch.path());
        let program = Program::start(&mut command, "nginx", &log);
        until("nginx", Duration::from_secs(20), || {
            [plain, h2c, tls, old, asking]
                .iter()
                .all(|port| std::net::TcpStream::connect(("127.0.0.1", *port)).is_ok())
        });
        Some(Self { plain, h2c, tls, old, asking, certificates, _program: program, _scratch: scratch })
    }
}

fn configuration(directory: &Path, certificates: &Certificates, ports: [u16; 5]) -> String {
    let (at, [plain, h2c, tls, old, asking]) = (directory.display(), ports);
    let (certificate, key) = (certificates.server.0.display(), certificates.server.1.display());
    let ca = certificates.ca.display();
    let locations = format!(
        r#"
        location = /healthz {{ default_type application/json; return 200 '{{"status":"green","shards":{{"lost":0}},"nodes":[{{"role":"leader"}}]}}'; }}
        location = /maintenance {{ return 200 'We are sorry: maintenance'; }}
        location = /packed {{ gzip on; gzip_min_length 1; gzip_types *; gzip_http_version 1.0; gzip_proxied any; default_type text/plain; return 200 'plain'; }}
        location = /away {{ return 302 http://127.0.0.1:{plain}/healthz; }}
        location = /twice {{ return 301 /away; }}
        location = /circle {{ return 302 /circle-2; }}
        location = /circle-2 {{ return 302 /circle; }}
        location = /nowhere {{ return 302 http://127.0.0.1:1/; }}
        location = /odd {{ return 302 ftp://127.0.0.1/; }}
        location = /down {{ return 302 http://127.0.0.1:{plain}/healthz; }}
        location = /protocol {{ return 200 $server_protocol; }}
        location = /method {{ return 200 "$request_method $http_content_type $content_length"; }}
        location = /see-other {{ return 303 /method; }}
        location = /kept {{ return 308 /method; }}
        location = /host {{ return 200 "$host $http_x_token"; }}
        location = /who {{ return 200 "$ssl_client_verify"; }}
        location = /ask {{ return 302 https://127.0.0.1:{asking}/who; }}
        location = /stranger {{ return 302 http://localhost:{plain}/host; }}
        "#
    );
    format!(
        r#"
daemon off;
master_process off;
worker_processes 1;
pid {at}/pid;
error_log {at}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {at}/t1; proxy_temp_path {at}/t2; fastcgi_temp_path {at}/t3;
    uwsgi_temp_path {at}/t4; scgi_temp_path {at}/t5;
    server {{ listen 127.0.0.1:{plain}; {locations} }}
    server {{ listen 127.0.0.1:{h2c} http2; {locations} }}
    server {{
        listen 127.0.0.1:{tls} ssl http2;
        ssl_certificate {certificate}; ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        {locations}
    }}
    server {{
        listen 127.0.0.1:{old} ssl;
        ssl_certificate {certificate}; ssl_certificate_key {key};
        ssl_protocols TLSv1.2;
        {locations}
    }}
    server {{
        listen 127.0.0.1:{asking} ssl;
        ssl_certificate {certificate}; ssl_certificate_key {key};
        ssl_verify_client optional; ssl_client_certificate {ca};
        {locations}
    }}
}}
"#
    )
}
