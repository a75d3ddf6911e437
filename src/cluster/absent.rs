//! Members that brought no facts: how many, and why.

use super::{NodeView, Standing};

/// Counts of how members failed to answer, and words about them.
#[derive(Default, Debug)]
pub(super) struct Absent {
    pub(super) refused: usize,
    pub(super) silent: usize,
    pub(super) denied: usize,
    pub(super) rubbish: usize,
    pub(super) unmeasured: usize,
}

impl Absent {
    pub(super) fn count<'a>(views: impl IntoIterator<Item = &'a NodeView>) -> Self {
        let mut absent = Self::default();
        for view in views {
            match view {
                NodeView::Answered(_) => {}
                NodeView::Refused(_) => absent.refused += 1,
                NodeView::Silent(_) => absent.silent += 1,
                NodeView::Denied(_) => absent.denied += 1,
                NodeView::Rubbish(_) => absent.rubbish += 1,
                NodeView::Unmeasured(_) => absent.unmeasured += 1,
            }
        }
        absent
    }

    /// "2 silent, 1 refused", or an empty text.
    pub(super) fn words(&self) -> String {
        let counts = [
            (self.refused, "refused"),
            (self.silent, "silent"),
            (self.denied, "denied us"),
            (self.rubbish, "answered rubbish"),
            (self.unmeasured, "could not be asked"),
        ];
        let parts: Vec<_> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        parts.join(", ")
    }
}

/// How a region stands whose members bring no facts, in a group that goes on. Dead processes are no
/// partition: clients there still reach the others.
pub(super) fn out_of_sight<'a>(local: impl IntoIterator<Item = &'a NodeView>) -> (Standing, String) {
    let local: Vec<_> = local.into_iter().collect();
    let absent = Absent::count(local.iter().copied());
    match absent.refused == local.len() {
        true => (Standing::Degraded, "its members refuse connections; the group goes on".to_owned()),
        false => (Standing::Unknown, format!("its members: {}; the group goes on", absent.words())),
    }
}

/// The first words of a view that tells why it brought no facts.
pub(super) fn first_complaint(views: &[NodeView]) -> Option<&str> {
    views.iter().find_map(|view| match view {
        NodeView::Answered(_) => None,
        NodeView::Refused(why)
        | NodeView::Silent(why)
        | NodeView::Denied(why)
        | NodeView::Rubbish(why)
        | NodeView::Unmeasured(why) => Some(why.as_str()),
    })
}
