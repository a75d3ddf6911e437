//! Orders to the daemon: regions, dials, automation.

use std::time::Duration;

use super::args::{AutomationCommand, Common, Region, RegionWord, Why};
use super::{Done, client, text};
use crate::base::Timestamp;
use crate::decide::What;
use crate::io::Clock;
use crate::region::OverrideKind;

pub(super) fn region(common: &Common, region: Region) -> Done {
    let (kind, word) = match region {
        Region::Drain(word) => (OverrideKind::Drain, word),
        Region::Force(word) => (OverrideKind::Force, word),
        Region::Hold(word) => (OverrideKind::Hold, word),
        Region::Release { region, why } => return give(common, why, What::Release { region }),
    };
    let RegionWord { region, expires, even_if_empty, why } = word;
    give(common, why, What::Override { region, kind, expires: from_now(expires), even_if_empty })
}

pub(super) fn dial(common: &Common, service: String, shares: Vec<(String, u32)>, why: &Why) -> Done {
    give(common, why.clone(), What::Dial { service, shares: shares.into_iter().collect() })
}

pub(super) fn automation(common: &Common, automation: AutomationCommand) -> Done {
    match automation {
        AutomationCommand::Off { expires, why } => {
            give(common, why, What::AutomationOff { expires: from_now(expires) })
        }
        AutomationCommand::On { why } => give(common, why, What::AutomationOn),
    }
}

pub(super) fn reload(common: &Common, zone: Option<&str>) -> Done {
    let said = client::reload(common, zone)?;
    text::print(&format!("{said}\n"));
    Ok(())
}

pub(super) fn upgrade(common: &Common) -> Done {
    let said = client::upgrade(common)?;
    text::print(&format!("{said}\n"));
    Ok(())
}

pub(super) fn give(common: &Common, why: Why, what: What) -> Done {
    let said = client::order(common, why.owner, why.reason, what)?;
    text::print(&format!("{said}\n"));
    Ok(())
}

fn from_now(span: Duration) -> Timestamp {
    Clock.now().after(span).wall
}
