//! Holds every answer of the tests against `openapi.yaml`: status, content type, headers and body as documented.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

use super::Answer;

/// The document as it is served.
pub(crate) static CONTRACT: LazyLock<Contract> = LazyLock::new(Contract::read);

/// The documented operations, ready to judge answers.
pub(crate) struct Contract {
    /// The whole document.
    pub(crate) document: Value,
    responses: BTreeMap<String, BTreeMap<u16, Documented>>,
    problem: Validator,
}

struct Documented {
    /// By media type; no schema where the body is text.
    bodies: BTreeMap<String, Option<Validator>>,
    headers: BTreeMap<String, Validator>,
}

impl Contract {
    fn read() -> Self {
        let document: Value =
            serde_saphyr::from_str(embed_broker::http::OPENAPI).expect("openapi.yaml is YAML");
        let mut responses = BTreeMap::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            let documented: &mut BTreeMap<u16, Documented> =
                responses.entry(path.clone()).or_default();
            let operations = operations.as_object().unwrap();
            for operation in operations.values() {
                for (status, response) in operation["responses"].as_object().unwrap() {
                    let response = resolved(&document, response);
                    documented.insert(
                        status.parse().unwrap(),
                        Documented::new(&document, response),
                    );
                }
            }
        }
        let problem = validator(
            &document,
            &json!({ "$ref": "#/components/schemas/Problem" }),
        );
        Self {
            document,
            responses,
            problem,
        }
    }

    /// The documented paths with their methods, in upper case.
    pub(crate) fn operations(&self) -> BTreeMap<String, Vec<String>> {
        let paths = self.document["paths"].as_object().unwrap();
        let methods = |operations: &Value| {
            let operations = operations.as_object().unwrap();
            operations.keys().map(|name| name.to_uppercase()).collect()
        };
        paths
            .iter()
            .map(|(path, operations)| (path.clone(), methods(operations)))
            .collect()
    }

    /// A schema of the document's components.
    pub(crate) fn schema(&self, name: &str) -> Validator {
        let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
        validator(&self.document, &reference)
    }

    /// Panics when `answer`, of `path`, is not as documented.
    #[track_caller]
    pub(crate) fn check(&self, path: &str, answer: &Answer) {
        let id = answer.header("x-request-id");
        assert!(
            id.is_some_and(|id| !id.is_empty()),
            "no X-Request-Id: {path}: {answer:?}"
        );
        let documented = self
            .responses
            .iter()
            .find(|(template, _)| fits(template, path))
            .map(|(_, responses)| responses);
        match documented.and_then(|responses| responses.get(&answer.status)) {
            Some(documented) => documented.check(path, answer),
            // What is true of every path is said once, in the description.
            None if answer.status == 405 || (answer.status == 404 && documented.is_none()) => {
                assert_eq!(
                    answer.header("content-type"),
                    Some("application/problem+json"),
                    "{answer:?}"
                );
                judge(&self.problem, &answer.json(), path);
            }
            None => panic!("{path} answers {} undocumented: {answer:?}", answer.status),
        }
    }
}

impl Documented {
    fn new(document: &Value, response: &Value) -> Self {
        let empty = Map::new();
        let members = |name: &str| response[name].as_object().unwrap_or(&empty).iter();
        let bodies = members("content").map(|(media_type, content)| {
            let json = media_type.ends_with("json");
            let schema = json.then(|| validator(document, &content["schema"]));
            (media_type.clone(), schema)
        });
        let headers = members("headers").map(|(name, header)| {
            let header = resolved(document, header);
            (name.to_lowercase(), validator(document, &header["schema"]))
        });
        Self {
            bodies: bodies.collect(),
            headers: headers.collect(),
        }
    }

    #[track_caller]
    fn check(&self, path: &str, answer: &Answer) {
        for (name, schema) in &self.headers {
            let text = answer
                .header(name)
                .unwrap_or_else(|| panic!("{path}: no header {name}: {answer:?}"));
            let number = text.parse::<i64>().map(Value::from);
            let value = number.unwrap_or_else(|_| text.into());
            // A header has no type of its own: one that looks like a number may be meant as text.
            assert!(
                schema.is_valid(&value) || schema.is_valid(&text.into()),
                "{path}: {name}: {text}"
            );
        }
        let media_type = answer.header("content-type").unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default();
        match self.bodies.get(essence) {
            Some(Some(schema)) => judge(schema, &answer.json(), path),
            Some(None) => {}
            None => panic!("{path}: undocumented content type `{media_type}`: {answer:?}"),
        }
    }
}

#[track_caller]
fn judge(schema: &Validator, body: &Value, path: &str) {
    let faults: Vec<String> = schema
        .iter_errors(body)
        .map(|fault| format!("{}: {fault}", fault.instance_path()))
        .collect();
    assert!(faults.is_empty(), "{path}: {faults:#?}: {body}");
}

/// The thing itself, where a reference stands for it.
fn resolved<'a>(document: &'a Value, thing: &'a Value) -> &'a Value {
    match thing["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.trim_start_matches('#');
            document.pointer(pointer).expect("a reference that exists")
        }
        None => thing,
    }
}

fn validator(document: &Value, schema: &Value) -> Validator {
    let mut schema = schema.clone();
    schema["components"] = document["components"].clone();
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .build(&schema)
        .expect("a schema")
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template
            .zip(path)
            .all(|(wanted, given)| wanted == given || wanted.starts_with('{'))
}
