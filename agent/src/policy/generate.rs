//! `policies/schema.json`, generated from the schema's types for editors and other tools.

use schemars::generate::SchemaSettings;

use super::schema::Policy;

/// The JSON Schema (2020-12) of a policy file, as text that ends in a newline.
#[must_use]
pub fn json_schema() -> String {
    let schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<Policy>();
    format!("{:#}\n", schema.to_value())
}

#[cfg(test)]
mod tests;
