//! Kafka: SASL by every mechanism over TLS, client certificates, ACLs.

use std::process::Command;

use crate::common::{Program, find, maven, ports, until};
use crate::{House, RIGHT, START, WRONG};

/// A broker that is its own controller: as an operator without a login on `inside`, everybody else over TLS.
struct Broker {
    program: Program,
    sasl: u16,
    mutual: u16,
    scram_only: u16,
}

fn start(house: &House) -> Option<Broker> {
    let java = find("java", "default-jre-headless", &[])?;
    let jars = format!("{}/*", maven::jars("kafka/pom.xml", "kafka-3.9.1")?.display());
    let [inside, controller, sasl, mutual, scram_only] = [(); 5].map(|()| ports::free());
    let text = format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=INSIDE://127.0.0.1:{inside},CONTROLLER://127.0.0.1:{controller},SASL://0.0.0.0:{sasl},MUTUAL://0.0.0.0:{mutual},SCRAM://0.0.0.0:{scram_only}
advertised.listeners=INSIDE://127.0.0.1:{inside},SASL://127.0.0.1:{sasl},MUTUAL://127.0.0.1:{mutual},SCRAM://127.0.0.1:{scram_only}
inter.broker.listener.name=INSIDE
controller.listener.names=CONTROLLER
listener.security.protocol.map=INSIDE:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_SSL,MUTUAL:SSL,SCRAM:SASL_SSL
ssl.keystore.type=PEM
ssl.keystore.location={keys}
ssl.truststore.type=PEM
ssl.truststore.location={ca}
listener.name.mutual.ssl.client.auth=required
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-256
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_pointsman=\"{RIGHT}\";
listener.name.sasl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.scram.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
log.dirs={data}
offsets.topic.replication.factor=1
auto.create.topics.enable=false
",
        keys = house.pem(&house.made.server, "kafka.pem"),
        ca = house.made.ca.display(),
        data = house.path("data").display(),
    );
    let file = house.write("server.properties", &text);
    let tool = |class: &str, arguments: &[&str]| {
        let mut command = Command::new(&java);
        command.args(["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &jars, class]);
        let output = command.args(arguments).output().unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    };
    let mut format = vec!["format".to_owned(), "-t".to_owned(), "cG9pbnRzbWFudGVzdHMwMA".to_owned()];
    format.extend(["-c".to_owned(), file.display().to_string()]);
    for (user, hash) in [("pointsman", 256), ("pointsman", 512), ("newcomer", 512), ("half", 512)] {
        format.extend(["-S".to_owned(), format!("SCRAM-SHA-{hash}=[name={user},password={RIGHT}]")]);
    }
    let format: Vec<&str> = format.iter().map(String::as_str).collect();
    let (formatted, said) = tool("kafka.tools.StorageTool", &format);
    assert!(formatted, "{said}");
    let mut command = Command::new(&java);
    command.args(["-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &jars]);
    command.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn").arg("kafka.Kafka").arg(&file);
    let program = Program::start(&mut command, "kafka", &house.path("kafka.log"));
    let at = format!("127.0.0.1:{inside}");
    let until_done = |class: &str, arguments: &[&str]| {
        until("Kafka to do as it is told", START, || {
            tool(class, &[&["--bootstrap-server", &at], arguments].concat()).0
        });
    };
    let topic = ["--create", "--if-not-exists", "--topic", "orders", "--partitions", "2"];
    until_done("org.apache.kafka.tools.TopicCommand", &topic);
    // What docs/systems.md names, and no more.
    let mut rights = vec!["--add", "--force", "--allow-principal", "User:pointsman"];
    rights.extend(["--allow-principal", "User:CN=client", "--operation", "Describe"]);
    until_done("kafka.admin.AclCommand", &[&rights[..], &["--cluster"]].concat());
    rights.extend(["--operation", "DescribeConfigs", "--topic", "*"]);
    until_done("kafka.admin.AclCommand", &rights);
    let half = ["--add", "--force", "--allow-principal", "User:half", "--operation", "Describe", "--cluster"];
    until_done("kafka.admin.AclCommand", &half);
    Some(Broker { program, sasl, mutual, scram_only })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: part of `make test-long`"]
async fn kafka_by_every_login() {
    let house = House::new("kafka-logins");
    let Some(broker) = start(&house) else { return };
    assert!(broker.program.pid() > 0);
    let at = |port: u16, options: &str| house.door("kafka", &[format!("127.0.0.1:{port}")], options);
    let login = |user: &str, mechanism: &str| {
        format!(
            "user: {user}\npassword: {{file: SECRETS/password}}\nmechanism: {mechanism}\ntls: {{CA}}\ntopics: [\"orders*\"]"
        )
    };
    for mechanism in ["scram_sha_512", "scram_sha_256", "plain"] {
        let door = at(broker.sasl, &login("pointsman", mechanism));
        door.until_well().await;
        // The password is rotated: first in Kafka, then in our file.
        house.write("password", WRONG);
        let asked = door.ask().await;
        asked.is_unknown("does not let `pointsman` in: Authentication failed");
        assert!(door.shown().contains("Authentication failed"));
        house.write("password", RIGHT);
        door.well(&door.ask().await);
    }
    let door = at(broker.sasl, &login("pointsman", "scram_sha_512"));
    let parts = door.ask().await.judgement.evidence;
    assert_eq!((parts.parts_total, parts.parts_lost), (Some(3), Some(0)), "{parts:?}");
    assert!(door.shown().contains("quorum") || door.shown().contains("degraded"));

    // By a certificate, without a name.
    let door = at(broker.mutual, "tls: {CA, IDENTITY}\ntopics: [orders]");
    door.well(&door.ask().await);
    at(broker.mutual, "tls: {CA}").ask().await.is_unknown("does not accept our certificate");
    let door = at(broker.mutual, &login("pointsman", "plain").replace("{CA}", "{CA, IDENTITY}"));
    door.ask().await.is_unknown("wants no login on this port");
    // By no name at all, where one is wanted; by a mechanism that is not offered.
    at(broker.sasl, "tls: {CA}").ask().await.is_unknown("give `user` and `password`");
    let door = at(broker.scram_only, &login("pointsman", "plain"));
    door.ask().await.is_unknown("does not offer PLAIN, but SCRAM-SHA-256");
    at(broker.scram_only, &login("pointsman", "scram_sha_256")).until_well().await;

    // Rights that are missing: all of them; those on the topics, which are then not shown.
    at(broker.sasl, &login("newcomer", "scram_sha_512")).ask().await.is_unknown("denies us DescribeQuorum");
    at(broker.sasl, &login("half", "scram_sha_512")).ask().await.is_unknown("we may not `Describe` it");
    at(broker.sasl, &login("stranger", "scram_sha_512")).ask().await.is_unknown("does not let `stranger` in");

    // Whom we do not trust gets no password.
    let strange = login("pointsman", "plain").replace("{CA}", "{STRANGE}");
    at(broker.sasl, &strange).ask().await.is_unknown("a CA that is not trusted here");
    let elsewhere = [format!("127.0.0.2:{}", broker.sasl)];
    let door = house.door("kafka", &elsewhere, &login("pointsman", "plain"));
    door.ask().await.is_unknown("not valid for name \"127.0.0.2\"");
    let door = at(broker.sasl, &login("pointsman", "plain").replace("password}", "nowhere}"));
    door.ask().await.is_unknown("cannot read the secret in");
    // Clear text where TLS is spoken.
    let clear = login("pointsman", "plain").replace("tls: {CA}\n", "");
    at(broker.sasl, &clear).ask().await.is_unknown("speaks TLS: add `tls`");
}
