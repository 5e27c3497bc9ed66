use super::*;

#[test]
fn shipped_policies_have_no_findings() {
    let (catalogue, findings) = Catalogue::load([]);
    assert!(findings.is_empty(), "{}", findings.render(false));
    assert_eq!(catalogue.iter().count(), EMBEDDED.len());
}

#[test]
fn seal_has_every_printed_line() {
    let (catalogue, _) = Catalogue::load([]);
    let seal = catalogue.get("seal-output-engine").unwrap();
    let count = |table: &str| {
        seal.rows
            .iter()
            .filter(|row| row.id.get_ref().table == table)
            .count()
    };
    assert_eq!((count("single-server"), count("cluster")), (12, 48));
}
