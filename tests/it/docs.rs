//! Runs the transcripts of all pages: README.md, docs/, and the reference at the top of each command's file.

use std::fs;
use std::path::PathBuf;

use crate::scripted::examples;
use crate::support::installed::root;
use crate::support::{each_server_with, transcript};

fn pages(folder: &str, extension: &str, found: &mut Vec<PathBuf>) {
    for path in fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            pages(path.to_str().unwrap(), extension, found);
        } else if path.extension().is_some_and(|known| known == extension) {
            found.push(path);
        }
    }
}

#[test]
fn the_transcripts_of_all_pages_match() {
    let mut found = vec![root().join("README.md")];
    pages("docs", "md", &mut found);
    pages("src/commands", "rs", &mut found);
    found.sort();
    // The pages also show the example commands.
    each_server_with(&examples(), |server| {
        for path in &found {
            let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let page = path.strip_prefix(root()).unwrap().display().to_string();
            let steps = transcript::run(server, &page, &text);
            assert!(steps > 0 || page != "README.md", "README.md has no transcript");
        }
    });
}
