//! Patroni: a REST API over TLS that wants a certificate of everybody.

use crate::House;
use crate::common::net::Net;
use crate::common::patroni::Patroni;
use crate::common::scene::System;

#[tokio::test(flavor = "multi_thread")]
async fn patroni_over_tls() {
    let Some(mut patroni) = Patroni::find(1) else { return };
    let Some(net) = Net::start(2) else { return };
    let house = House::new("patroni-logins");
    patroni.rest = format!(
        ", certfile: {}, keyfile: {}, cafile: {}, verify_client: required",
        house.made.server.0.display(),
        house.made.server.1.display(),
        house.made.ca.display(),
    );
    let _programs = patroni.start(&net, 0, house.scratch.path());
    let members = [format!("https://{}:8008", net.address(0))];
    let door = |options: &str| house.door("patroni", &members, options).from(&net, 1);
    let right = door("tls: {CA, IDENTITY}");
    right.until_well().await;
    right.shown();
    door("tls: {CA}").ask().await.is_unknown("does not accept our certificate");
    door("tls: {STRANGE, IDENTITY}").ask().await.is_unknown("a CA that is not trusted here");
}
