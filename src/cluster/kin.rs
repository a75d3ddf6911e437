//! Answers that belong together.

use std::collections::BTreeMap;

/// Those of the cluster that most of these answers come from. One that tells of none may belong to
/// any.
pub(super) fn of_one_cluster<T>(answers: &mut Vec<T>, cluster: impl Fn(&T) -> &str) {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for name in answers.iter().map(&cluster).filter(|name| !name.is_empty()) {
        *sizes.entry(name).or_default() += 1;
    }
    if let Some((biggest, _)) = sizes.into_iter().max_by_key(|(_, size)| *size) {
        let biggest = biggest.to_owned();
        answers.retain(|answer| cluster(answer).is_empty() || cluster(answer) == biggest);
    }
}
