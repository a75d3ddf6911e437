//! Cassandra: `PasswordAuthenticator` and `CassandraAuthorizer` over TLS with client certificates.

use pointsman::config::Level;
use pointsman::io::TrustFiles;

use crate::common::cassandra::{Cassandra, PORT};
use crate::common::net::Net;
use crate::{House, WRONG};

const MASTER: (&str, &str) = ("cassandra", "cassandra");

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: part of `make test-long`"]
async fn cassandra_by_roles_over_tls() {
    let Some(net) = Net::start(2) else { return };
    let house = House::new("cassandra-logins");
    let more = format!(
        "client_encryption_options:\n  enabled: true\n  optional: false\n  require_client_auth: true\n  \
         keystore: {}\n  truststore: {}\n  ssl_context_factory:\n    \
         class_name: org.apache.cassandra.security.PEMBasedSslContextFactory\n",
        house.pem(&house.made.server, "cassandra.pem"),
        house.made.ca.display(),
    );
    let trust = TrustFiles { ca: Some(house.made.ca.clone()), identity: Some(house.made.client.clone()) };
    let Some(cassandra) = Cassandra::start_with(&net, &[0], &more, Some(trust)) else { return };
    for statement in [
        "ALTER ROLE pointsman WITH PASSWORD = 's3cr3t-of-pointsman'",
        "CREATE ROLE blind WITH PASSWORD = 's3cr3t-of-pointsman' AND LOGIN = true",
        "CREATE ROLE barred WITH PASSWORD = 's3cr3t-of-pointsman' AND LOGIN = false",
    ] {
        assert!(cassandra.ask(&net, 0, MASTER, statement, Level::One).is_some(), "{statement}");
    }
    let address = net.address(0);
    let at = |host: &str, options: &str| {
        house.door("cassandra", &[format!("{host}:{PORT}")], options).from(&net, 0)
    };
    let login = |user: &str| {
        format!(
            "user: {user}\npassword: {{file: SECRETS/password}}\ntls: {{CA, IDENTITY}}\n\
             keyspaces: {{orders: {{level: quorum}}}}\ncanary: {{table: pointsman.canary, level: quorum}}"
        )
    };
    let right = at(&address, &login("pointsman"));
    right.until_well().await;
    house.write("password", WRONG);
    right
        .ask()
        .await
        .is_unknown("does not let `pointsman` in: Provided username pointsman and/or password are incorrect");
    right.shown();
    house.write("password", crate::RIGHT);
    right.well(&right.ask().await);
    assert!(right.shown().contains("a request that takes a quorum passes"));

    // A role that may log in and no more: it sees the ring, and does not read.
    let asked = at(&address, &login("blind")).ask().await;
    asked.is_unproven("has no SELECT permission");
    assert!(format!("{:?}", asked.views).contains("gossip_info"), "the word of beats is missed: {asked:#?}");
    at(&address, &login("barred")).ask().await.is_unknown("barred is not permitted to log in");
    at(&address, &login("nobody")).ask().await.is_unknown("does not let `nobody` in");
    let without = login("x").replace("user: x\npassword: {file: SECRETS/password}\n", "");
    at(&address, &without).ask().await.is_unknown("wants a user and a password");

    at(&address, &login("pointsman").replace(", IDENTITY", ""))
        .ask()
        .await
        .is_unknown("does not accept our certificate");
    let strange = login("pointsman").replace("{CA", "{STRANGE");
    at(&address, &strange).ask().await.is_unknown("a CA that is not trusted here");
}
