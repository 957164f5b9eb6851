//! JSON Schema (2020-12) of each kind of record, from the types that are serialised.
//!
//! Open: a later version adds fields and enumeration values, so a consumer must let unknown ones pass.

use schemars::{Schema, SchemaGenerator, generate::SchemaSettings};

use super::value;

/// The kinds with a schema of their own, as in `ce_dataschema`.
pub const KINDS: [&str; 4] = ["alert", "match", "malformed", "health"];

/// The schema of one kind; `None` for a kind that there is not.
pub fn of(kind: &str) -> Option<Schema> {
    // Of what is written, not of what would be read: a field that is left out when empty is not required.
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12().for_serialize());
    let mut schema = match kind {
        "alert" | "match" => generator.into_root_schema_for::<value::Certificate>(),
        "malformed" => generator.into_root_schema_for::<value::Malformed>(),
        "health" => generator.into_root_schema_for::<value::Health>(),
        _ => return None,
    };
    schema.insert("$id".to_owned(), format!("urn:certsieve:schema:{kind}:1").into());
    schema.insert("title".to_owned(), format!("certsieve {kind} record, version 1").into());
    if kind == "alert" {
        let required = schema.get_mut("required").and_then(|r| r.as_array_mut());
        if let Some(required) = required {
            required.push("rule".into());
        }
    }
    Some(schema)
}

/// All of them in one document, by kind.
pub fn all() -> serde_json::Value {
    KINDS.iter().filter_map(|kind| Some(((*kind).to_owned(), of(kind)?.to_value()))).collect()
}
