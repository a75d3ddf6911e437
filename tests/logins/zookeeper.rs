//! ZooKeeper: a port that speaks TLS only, and wants a certificate of everybody.

use std::path::Path;
use std::process::Command;

use crate::House;
use crate::common::{Program, find, lacks, ports};

#[tokio::test(flavor = "multi_thread")]
async fn zookeeper_over_tls() {
    let Some(java) = find("java", "default-jre-headless", &[]) else { return };
    let jars = "/usr/share/java";
    if !Path::new(jars).join("zookeeper.jar").is_file() || !Path::new(jars).join("netty-all.jar").is_file() {
        return lacks("zookeeper");
    }
    let house = House::new("zookeeper-logins");
    let port = ports::free();
    let text = format!(
        "tickTime=500\ndataDir={data}\nsecureClientPort={port}\nadmin.enableServer=false\n\
         serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory\n\
         ssl.keyStore.location={keys}\nssl.keyStore.type=PEM\nssl.trustStore.location={ca}\n\
         ssl.trustStore.type=PEM\nssl.clientAuth=need\n",
        data = house.path("data").display(),
        keys = house.pem(&house.made.server, "zookeeper.pem"),
        ca = house.made.ca.display(),
    );
    let mut command = Command::new(java);
    command.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]);
    command.arg(format!("-Dzookeeper.log.dir={}", house.path("log").display()));
    let path = ["zookeeper", "slf4j-simple", "netty-buffer", "netty-codec", "netty-common", "netty-handler"]
        .iter()
        .chain(&["netty-resolver", "netty-transport", "netty-transport-native-unix-common"])
        .map(|jar| format!("{jars}/{jar}.jar"))
        .collect::<Vec<_>>();
    command.args(["-cp", &path.join(":"), "org.apache.zookeeper.server.quorum.QuorumPeerMain"]);
    command.arg(house.write("zoo.cfg", &text));
    let _program = Program::start(&mut command, "zookeeper", &house.path("zookeeper.log"));

    let members = [format!("127.0.0.1:{port}")];
    let door = |options: &str| house.door("zookeeper", &members, options);
    let right = door("tls: {CA, IDENTITY}");
    right.until_well().await;
    right.shown();
    door("tls: {CA}").ask().await.is_unknown("does not accept our certificate");
    door("tls: {STRANGE, IDENTITY}").ask().await.is_unknown("a CA that is not trusted here");
    let elsewhere = [format!("127.0.0.2:{port}")];
    let asked = house.door("zookeeper", &elsewhere, "tls: {CA, IDENTITY}").ask().await;
    asked.is_unknown("not valid for name \"127.0.0.2\"");
}
