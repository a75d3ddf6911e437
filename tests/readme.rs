//! What the README shows must work.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use pointsman::sys;

#[test]
fn its_configuration_loads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let (_, rest) = readme.split_once("```yaml\n").unwrap();
    let (yaml, _) = rest.split_once("```").unwrap();
    let directory = std::env::temp_dir().join(format!("pointsman-readme-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let zone = "gtm.example.com.zone";
    std::fs::copy(root.join("zones").join(zone), directory.join(zone)).unwrap();
    let config = directory.join("pointsman.yaml");
    std::fs::write(&config, yaml).unwrap();
    let loaded = sys::load(&config);
    std::fs::remove_dir_all(&directory).unwrap();
    let (setup, warnings) = loaded.unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)));
    assert!(warnings.is_empty(), "{}", warnings.render(false));
    assert_eq!(setup.config.services.len(), 1);
}

#[test]
fn the_files_it_names_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.contains("://")) {
            assert!(root.join(link).exists(), "{document} links to {link}, which is not there");
        }
    }
}
