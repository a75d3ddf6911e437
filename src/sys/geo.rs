//! Files that tell where clients are → [`World`].

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use crate::base::{Mistakes, Source};
use crate::config::{Geo, GeoFile};
use crate::geo::{Layer, Stamp, World, parse_networks, read_mmdb};

/// Bytes of a file: the format of databases counts in 32 bits.
const SIZE_MAX: u64 = 1 << 31;

/// What the files look like now, in their order; none where there is no file.
pub fn geo_stamps(geo: &Geo) -> Vec<Option<Stamp>> {
    geo.files().map(|file| stamp(&file.path).ok()).collect()
}

/// Reads all files.
///
/// # Errors
/// Every file that cannot be read, at its place in the configuration, and every mistake in lists.
pub fn load_world(geo: &Geo) -> Result<(Arc<World>, Mistakes), Mistakes> {
    let mut mistakes = Mistakes::default();
    let mut layers = Vec::new();
    for file in &geo.databases {
        let read = |bytes: Vec<u8>| {
            read_mmdb(&file.path.display().to_string(), &bytes).map_err(|why| mistake(file, &why.to_string()))
        };
        match bytes(file).and_then(|(bytes, stamp)| Ok(read(bytes)?.stamped(stamp))) {
            Ok(layer) => layers.push(layer),
            Err(more) => mistakes.extend(more),
        }
    }
    for file in &geo.networks {
        match bytes(file).and_then(|(bytes, stamp)| list(file, bytes, stamp)) {
            Ok((layer, warnings)) => {
                mistakes.extend(warnings);
                layers.push(layer);
            }
            Err(more) => mistakes.extend(more),
        }
    }
    if mistakes.fatal() {
        return Err(mistakes.sorted());
    }
    match World::build(layers) {
        Ok(world) => Ok((Arc::new(world), mistakes.sorted())),
        Err(why) => Err(geo.files().next().map_or_else(Mistakes::default, |file| {
            let mut mistakes = Mistakes::default();
            mistakes.error(&file.place, why.to_string());
            mistakes
        })),
    }
}

fn list(file: &GeoFile, bytes: Vec<u8>, stamp: Stamp) -> Result<(Layer, Mistakes), Mistakes> {
    let text = String::from_utf8(bytes).map_err(|_| mistake(file, "it is not text in UTF-8"))?;
    let (layer, warnings) = parse_networks(&Source::new(file.path.display().to_string(), text))?;
    Ok((layer.stamped(stamp), warnings))
}

/// A file's bytes, if it was the same before and after they were read.
fn bytes(file: &GeoFile) -> Result<(Vec<u8>, Stamp), Mistakes> {
    let unreadable = |why: io::Error| {
        let mut mistakes = Mistakes::default();
        mistakes
            .error(&file.place, format!("cannot read {}: {why}", file.path.display()))
            .help("a relative path starts at the directory of the configuration file");
        mistakes
    };
    let before = stamp(&file.path).map_err(unreadable)?;
    if before.size > SIZE_MAX {
        return Err(mistake(file, &format!("{} bytes are more than {SIZE_MAX}", before.size)));
    }
    let bytes = std::fs::read(&file.path).map_err(unreadable)?;
    let after = stamp(&file.path).map_err(unreadable)?;
    if before != after || after.size != bytes.len() as u64 {
        return Err(mistake(
            file,
            "it was written to while it was read: rename a finished file into its place",
        ));
    }
    Ok((bytes, after))
}

fn stamp(path: &Path) -> io::Result<Stamp> {
    let about = std::fs::metadata(path)?;
    let modified = i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec());
    Ok(Stamp { modified, size: about.len(), inode: about.ino() })
}

fn mistake(file: &GeoFile, what: &str) -> Mistakes {
    let mut mistakes = Mistakes::default();
    mistakes.error(&file.place, format!("{}: {what}", file.path.display()));
    mistakes
}
