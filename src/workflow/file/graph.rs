//! Names in `needs` → positions, and no cycles among them.

use std::collections::HashMap;

use super::lint::Hints;
use super::{Draft, Parser};
use crate::base::nearest;
use crate::workflow::Stage;

impl Parser<'_> {
    /// Names in `needs` → positions. `None` if the stages do not make a graph without cycles.
    pub(super) fn graph(&mut self, drafts: Vec<Draft>) -> Option<Vec<(Stage, Hints)>> {
        let mut positions: HashMap<&str, usize> = HashMap::new();
        let mut sound = true;
        for (position, draft) in drafts.iter().enumerate() {
            if positions.insert(&draft.name.value, position).is_some() {
                self.mistakes.error(
                    &draft.name.place,
                    format!("there is already a stage named `{}`", draft.name.value),
                );
                sound = false;
            }
        }
        let mut needs: Vec<Vec<usize>> = Vec::with_capacity(drafts.len());
        for (position, draft) in drafts.iter().enumerate() {
            needs.push(match &draft.needs {
                None => position.checked_sub(1).into_iter().collect(),
                Some(names) => {
                    let mut found: Vec<usize> = Vec::new();
                    for name in names {
                        match positions.get(name.value.as_str()) {
                            Some(at) if found.contains(at) => {
                                self.mistakes.error(&name.place, format!("`{}` is named twice", name.value));
                            }
                            Some(at) => found.push(*at),
                            None => {
                                let near = nearest(&name.value, positions.keys().copied());
                                let help = near.map(|near| format!("did you mean `{near}`?"));
                                self.mistakes
                                    .error(&name.place, format!("there is no stage `{}`", name.value))
                                    .maybe_help(help);
                                sound = false;
                            }
                        }
                    }
                    found
                }
            });
        }
        if let Some(cycle) = cycle(&needs) {
            let names: Vec<_> = cycle.iter().map(|at| drafts[*at].name.value.as_str()).collect();
            let first = &drafts[cycle[0]];
            let place =
                first.needs.as_ref().and_then(|needs| needs.first()).unwrap_or(&first.name).place.clone();
            self.mistakes
                .error(&place, format!("these stages wait for each other: {}", names.join(" → ")))
                .help("each needs the one after it; none could ever start");
            sound = false;
        }
        let mut stages = Vec::with_capacity(drafts.len());
        for (draft, needs) in drafts.into_iter().zip(needs) {
            let hints = Hints { written: draft.written, node: draft.node };
            let Some(spec) = draft.spec else {
                sound = false;
                continue;
            };
            let (name, place) = (draft.name.value, draft.name.place);
            let stage = Stage { name, description: draft.description, needs, care: draft.care, spec, place };
            stages.push((stage, hints));
        }
        sound.then_some(stages)
    }
}

/// Stages that wait for each other, the first one again at the end.
fn cycle(needs: &[Vec<usize>]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    fn visit(
        at: usize,
        needs: &[Vec<usize>],
        marks: &mut [Mark],
        path: &mut Vec<usize>,
    ) -> Option<Vec<usize>> {
        match marks[at] {
            Mark::Done => return None,
            Mark::Open => {
                let start = path.iter().position(|other| *other == at)?;
                return Some(path[start..].iter().copied().chain([at]).collect());
            }
            Mark::New => {}
        }
        marks[at] = Mark::Open;
        path.push(at);
        let found = needs[at].iter().find_map(|need| visit(*need, needs, marks, path));
        path.pop();
        marks[at] = Mark::Done;
        found
    }
    let mut marks = vec![Mark::New; needs.len()];
    (0..needs.len()).find_map(|at| visit(at, needs, &mut marks, &mut Vec::new()))
}
