//! What `deploy/siem/` says of the records agrees with the records: the published schemas, and the types that
//! the index template gives each field.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use certsieve::record::schema;
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/siem");

fn read(name: &str) -> String {
    let path = Path::new(FOLDER).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json(name: &str) -> Value {
    serde_json::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_published_schemas_are_those_that_it_prints() {
    for kind in schema::KINDS {
        let printed = format!("{:#}\n", schema::of(kind).expect("each kind has a schema").to_value());
        let file = format!("schema/{kind}.json");
        // Not the two texts: a whole schema on the terminal helps nobody.
        assert!(
            read(&file) == printed,
            "deploy/siem/{file} is another; after a look at the difference:\n  \
             cargo run -- schema {kind} > deploy/siem/{file}"
        );
    }
}

/// Each code that a record may hold stands in the README's table, and no other.
#[test]
fn every_code_is_explained() {
    let readme = read("README.md");
    let codes = |heading: &str| -> BTreeSet<String> {
        let rows = readme.lines().skip_while(|line| !line.starts_with(heading)).skip(2);
        let rows = rows.take_while(|line| line.starts_with("| `"));
        rows.filter_map(|row| row.split('`').nth(1)).map(str::to_owned).collect()
    };
    let all = |codes: &[&str]| -> BTreeSet<String> { codes.iter().map(|code| (*code).to_owned()).collect() };
    assert_eq!(codes("| reason code |"), all(&certsieve::judge::REASON_CODES));
    assert_eq!(
        codes("| anomaly |"),
        all(&certsieve::entry::Anomaly::ALL.map(certsieve::entry::Anomaly::label))
    );
    assert_eq!(codes("| malformed |"), all(&certsieve::sieve::MALFORMED_REASONS));
}

/// Each field of a schema with its JSON type, arrays by what is in them, objects whose keys nobody knows as `object`.
fn fields(schema: &Value, at: &Value, path: &str, found: &mut BTreeMap<String, String>) {
    if let Some(reference) = at["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').expect("a reference into the same document");
        return fields(schema, schema.pointer(pointer).expect("it leads somewhere"), path, found);
    }
    // An optional field is its type or null.
    if let Some(one) = at["anyOf"].as_array().and_then(|all| all.iter().find(|one| one["type"] != "null")) {
        return fields(schema, one, path, found);
    }
    let kind = at["type"].as_str().or_else(|| at["type"][0].as_str()).unwrap_or_default();
    match kind {
        "object" if at["properties"].is_object() => {
            for (name, field) in at["properties"].as_object().into_iter().flatten() {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                fields(schema, field, &path, found);
            }
        }
        "array" => fields(schema, &at["items"], path, found),
        kind => drop(found.insert(path.to_owned(), kind.to_owned())),
    }
}

/// Each field of an index template's mapping.
fn mapped(properties: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    for (name, field) in properties.as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match &field["properties"] {
            Value::Null => drop(found.insert(path, field.clone())),
            properties => mapped(properties, &path, found),
        }
    }
}

/// Later fields are kept and not indexed (`dynamic: false`); those of this version are all there.
#[test]
fn the_index_template_maps_every_field_as_what_it_is() {
    let template = json("index-template.json");
    let mappings = &template["template"]["mappings"];
    assert_eq!(mappings["dynamic"], false);
    let mut types = BTreeMap::new();
    mapped(&mappings["properties"], "", &mut types);
    let mut known = BTreeMap::new();
    for kind in schema::KINDS {
        let schema = schema::of(kind).expect("each kind has a schema").to_value();
        fields(&schema, &schema, "", &mut known);
    }
    assert!(known.len() > 60, "the schemas are read: {known:?}");
    let mut wrong = Vec::new();
    for (field, kind) in &known {
        let mapped = types.get(field).map(|mapping| mapping["type"].as_str().unwrap_or_default());
        let fits: &[&str] = match kind.as_str() {
            "string" => &["keyword", "date", "ip", "match_only_text"],
            "integer" => &["long"],
            "number" => &["float"],
            "boolean" => &["boolean"],
            _ => &["object"],
        };
        if !mapped.is_some_and(|mapped| fits.contains(&mapped)) {
            wrong.push(format!(
                "{field}: {kind} in the schema, {mapped:?} in deploy/siem/index-template.json"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Fields of ECS have the types of ECS; but for the certificate, which is longer than a keyword is indexed.
#[test]
fn the_index_template_has_the_types_of_ecs() {
    let ecs = json("ecs/fields-9.4.0.json");
    let mut types = BTreeMap::new();
    mapped(&json("index-template.json")["template"]["mappings"]["properties"], "", &mut types);
    for (field, mapping) in &types {
        if let Some(own) = field.strip_prefix("certsieve.") {
            let keyword = mapping["type"] == "keyword";
            assert!(["keyword", "long", "date", "boolean"].iter().any(|t| mapping["type"] == *t), "{own}");
            assert_eq!(mapping["ignore_above"].as_u64(), keyword.then_some(8191), "{own}");
            continue;
        }
        let known = &ecs[field];
        assert!(known.is_object(), "{field} is no field of ECS");
        assert_eq!(mapping["type"], known["type"], "{field}");
        if field == "tls.server.certificate" {
            assert_eq!((&mapping["index"], &mapping["doc_values"]), (&false.into(), &false.into()));
            continue;
        }
        for setting in ["ignore_above", "index", "doc_values"] {
            assert_eq!(mapping[setting], known[setting], "{field}: {setting}");
        }
    }
}

/// A rule names no field that is not there, and a connector no topic.
#[test]
fn what_stands_beside_names_topics_and_fields_that_there_are() {
    let mut types = BTreeMap::new();
    mapped(&json("index-template.json")["template"]["mappings"]["properties"], "", &mut types);
    let rules = std::fs::read_dir(Path::new(FOLDER).join("sigma/rules")).expect("the rules");
    let mut named = BTreeSet::new();
    for rule in rules {
        let text = std::fs::read_to_string(rule.expect("an entry").path()).expect("a rule is text");
        let lines = text.lines().map(|line| line.split(" #").next().unwrap_or_default().trim());
        // `- field` under fields, `field: value` under a selection.
        let words = lines.map(|line| line.trim_start_matches("- ").trim_end_matches(':'));
        let words = words.map(|line| line.split(": ").next().unwrap_or_default().to_owned());
        named.extend(words.filter(|word| word.contains('.') && !word.contains([' ', '/'])));
    }
    named.retain(|word| word.split('.').next().is_some_and(|set| types.keys().any(|t| t.starts_with(set))));
    assert!(named.len() > 20, "{named:?}");
    for field in named {
        assert!(types.contains_key(&field), "{field} is in a Sigma rule, and in no record");
    }
    let topics = "certsieve.alert.v1,certsieve.match.v1,certsieve.malformed.v1,certsieve.health.v1";
    for file in ["connect/opensearch.json", "connect/elasticsearch.json"] {
        assert_eq!(json(file)["config"]["topics"], topics, "{file}");
    }
    for topic in topics.split(',') {
        for file in ["rsyslog/certsieve.conf", "logstash/certsieve.conf"] {
            assert!(read(file).contains(&format!("\"{topic}\"")), "{file} does not read {topic}");
        }
    }
}
