//! The section `## If the reply is lost` of each page of `docs/commands`: a table with the forms of the page's commands, and what sending
//! them again does, in the words of the rows.

use std::collections::BTreeSet;
use std::fs;

use super::rows::ROWS;
use crate::readme::FAMILIES;
use crate::support::installed::root;

const HEADING: &str = "## If the reply is lost";

/// Commands of pages that are no commands of their own in the README.
const OTHERS: &[(&str, &str)] = &[("ratelimit", "CL.THROTTLE"), ("scripted", "INVENTORY.RESERVE")];

/// The form and the claim of each row of the table below the heading. Forms in one cell are separated by commas.
fn claims(page: &str, text: &str) -> BTreeSet<(String, String)> {
    let (_, section) =
        text.split_once(&format!("\n{HEADING}\n")).unwrap_or_else(|| panic!("{page}.md has no section {HEADING:?}"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.flat_map(|row| {
        let mut cells = row.split(" | ");
        let (forms, claim) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default().to_owned());
        let forms: Vec<String> = forms.replace('`', "").split(", ").map(str::to_owned).collect();
        forms.into_iter().map(move |form| (form, claim.clone()))
    })
    .collect()
}

/// The page of a row's command.
fn page_of(command: &str) -> &'static str {
    let first = command.split(' ').next().unwrap_or_default();
    let family = FAMILIES.iter().find(|(_, _, names)| names.contains(&first)).map(|(_, page, _)| *page);
    let other = || OTHERS.iter().find(|(_, name)| *name == first).map(|(page, _)| *page);
    family.or_else(other).unwrap_or_else(|| panic!("{command} belongs to no page"))
}

#[test]
fn every_page_says_what_its_commands_do_when_their_reply_is_lost() {
    let pages: Vec<String> = fs::read_dir(root().join("docs/commands"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert!(!pages.is_empty());
    for page in pages {
        let text = fs::read_to_string(root().join(format!("docs/commands/{page}.md"))).unwrap();
        let tested: BTreeSet<(String, String)> = ROWS
            .iter()
            .filter(|row| page_of(row.command()) == page)
            .map(|row| (row.form.to_owned(), row.again.claim().to_owned()))
            .collect();
        let claimed = claims(&page, &text);
        assert!(!tested.is_empty(), "{page}.md has no command");
        let differences: Vec<_> = claimed.symmetric_difference(&tested).collect();
        assert!(differences.is_empty(), "{page}.md and the rows in rows.rs differ: {differences:#?}");
    }
}
