//! `geo`: what the databases say of an address.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::args::{Common, Output};
use super::text::{colour, complain, print, print_json};
use super::{Done, Exit};
use crate::geo::{Facts, Known, World};
use crate::sys;

pub(super) fn run(common: &Common, addresses: &[IpAddr]) -> Done {
    let no = |mistakes: crate::base::Mistakes| Exit::No(mistakes.render(colour(true)));
    let (config, _) = sys::load_config(&common.config).map_err(no)?;
    let (world, warnings) = sys::load_world(&config.geo).map_err(no)?;
    complain(&warnings.render(colour(true)));
    if world.databases().is_empty() {
        return Err(Exit::No(format!(
            "{} names no databases: add `geo: {{databases: [GeoLite2-City.mmdb]}}`",
            common.config.display()
        )));
    }
    match common.output {
        Output::Json => {
            let each: Vec<Value> = addresses.iter().map(|address| object(*address, &world)).collect();
            print_json(&json!({"databases": world.databases(), "addresses": each}));
        }
        Output::Text => {
            let each: Vec<String> = addresses.iter().map(|address| text(*address, &world)).collect();
            print(&format!("{}\n{}", each.join("\n"), databases(&world)));
        }
    }
    Ok(())
}

/// What is known, by the words of the configuration.
fn rows(facts: &Facts) -> Vec<(&'static str, String)> {
    let code = |code: [u8; 2]| code.map(char::from).iter().collect::<String>();
    let country = facts.country.map(code);
    let rows = [
        ("continent", facts.continent.map(code)),
        ("country", country.clone()),
        (
            "subdivision",
            facts.subdivision.map(|part| format!("{}-{part}", country.as_deref().unwrap_or("?"))),
        ),
        ("asn", facts.asn.map(|asn| asn.to_string())),
        ("location", facts.location.map(|at| format!("{}, {}", at.latitude, at.longitude))),
        ("networks", Some(facts.networks.join(", ")).filter(|labels| !labels.is_empty())),
    ];
    rows.into_iter().filter_map(|(what, value)| Some((what, value?))).collect()
}

fn text(address: IpAddr, world: &World) -> String {
    let Known { facts, network, embedded } = world.know(address);
    let mut out = format!("{address}\n");
    let mut row = |what: &str, value: &str| out.push_str(&format!("  {what:<12} {value}\n"));
    if let Some(embedded) = embedded {
        row("stands for", &embedded.to_string());
    }
    row("network", &network.to_string());
    let rows = rows(facts);
    if rows.is_empty() {
        row("known", "nothing");
    }
    rows.iter().for_each(|(what, value)| row(what, value));
    out
}

fn databases(world: &World) -> String {
    let each = world.databases().iter().map(|database| {
        let built = database.built.map_or(String::new(), |at| format!(", built {}", at.strftime("%Y-%m-%d")));
        format!("by {} ({}{built})\n", database.file, database.kind)
    });
    each.collect()
}

fn object(address: IpAddr, world: &World) -> Value {
    let Known { facts, network, embedded } = world.know(address);
    let mut object = json!({"address": address, "network": network});
    if let Some(embedded) = embedded {
        object["stands_for"] = json!(embedded);
    }
    for (what, value) in rows(facts) {
        object[what] = match what {
            "asn" => json!(facts.asn),
            "location" => json!(facts.location),
            "networks" => json!(facts.networks),
            _ => json!(value),
        };
    }
    object
}
