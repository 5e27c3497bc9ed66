use std::path::Path;

use super::json_schema;

/// Set to write the file instead of comparing it.
const WRITE: &str = "PORTCULLIS_WRITE_SCHEMA";

#[test]
fn schema_json_is_what_the_types_give() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/schema.json");
    let generated = json_schema();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, &generated).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        checked_in == generated,
        "policies/schema.json is not what the types give; repair it with\n    \
         {WRITE}=1 cargo test -p portcullis schema_json"
    );
}
