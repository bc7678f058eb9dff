//! Links between the documents: each leads to a file of the repository, and to a heading that is in it.

use std::path::Path;

use super::block::{documents, prose, repository};

#[test]
fn every_relative_link_leads_somewhere() {
    let mut broken = Vec::new();
    for (page, text) in documents() {
        for target in targets(&prose(&text)) {
            if target.contains("://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let folder = repository().join(&page).parent().unwrap().to_owned();
            let path = if file.is_empty() { repository().join(&page) } else { folder.join(file) };
            if !path.exists() || !heading.is_empty() && !headings(&path).iter().any(|known| known == heading)
            {
                broken.push(format!("{page}: {target}"));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// What stands in `](…)`.
fn targets(text: &str) -> Vec<String> {
    let parts = text.split("](").skip(1);
    parts.filter_map(|part| part.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

/// As GitHub names them in addresses.
fn headings(path: &Path) -> Vec<String> {
    let text = prose(&std::fs::read_to_string(path).unwrap());
    let titles =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let slug = |title: &str| {
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    titles.map(slug).collect()
}
