//! `cargo xtask docs`: the provider's pages in the registry's layout, from its schema. The guides are
//! written by hand, but for the one of what changes do; the tests that they promise are there.

mod cases;
mod effects;
mod example;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use berth_acceptance_tests::{Terraform, command};
use serde_json::Value;

use self::example::Examples;
use crate::Outcome;
use crate::step::{StepError, file, programs, root, target};

/// A kind of pages: the schema's key, the directory, the title, and the block that an example is.
const KINDS: [(&str, &str, &str, &str); 5] = [
    ("resource_schemas", "resources", "Resource", "resource"),
    ("data_source_schemas", "data-sources", "Data Source", "data"),
    ("ephemeral_resource_schemas", "ephemeral-resources", "Ephemeral Resource", "ephemeral"),
    ("action_schemas", "actions", "Action", "action"),
    ("list_resource_schemas", "list-resources", "List Resource", "list"),
];

/// Writes docs/, or says what would change.
pub fn run(check: bool) -> Outcome {
    cases::check()?;
    let schema = schema()?;
    let mut wrong = Vec::new();
    for (path, text) in pages(&schema)? {
        let path = root().join("docs").join(path);
        let there = fs::read_to_string(&path).unwrap_or_default();
        if there != text && check {
            wrong.push(format!("{} is not what the schema says: run `cargo xtask docs`", path.display()));
        } else if there != text {
            let directory = path.parent().unwrap_or(&path);
            fs::create_dir_all(directory).map_err(file("make", directory))?;
            fs::write(&path, text).map_err(file("write", &path))?;
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(StepError::Rule(wrong.join("\n"))) }
}

/// As the newer Terraform tells it: the older one knows no actions and no lists.
fn schema() -> Result<Value, StepError> {
    let place = target().join("docs-schema");
    fs::create_dir_all(&place).map_err(file("make", &place))?;
    let main = place.join("main.tf");
    fs::write(
        &main,
        "terraform {\n  required_providers {\n    berth = { source = \"berth-run/berth\" }\n  }\n}\n",
    )
    .map_err(file("write", &main))?;
    let cli = place.join("cli.tfrc");
    let overrides = format!(
        "provider_installation {{\n  dev_overrides {{\n    \"berth-run/berth\" = \"{}\"\n  }}\n  direct {{}}\n}}\n",
        programs().display()
    );
    fs::write(&cli, overrides).map_err(file("write", &cli))?;
    let failed = |error: berth_acceptance_tests::Error| StepError::Rule(error.to_string());
    let terraform = Terraform::from_library().map_err(failed)?;
    let all = command::json(&mut terraform.command(&place, &cli, &["providers", "schema", "-json"]))
        .map_err(failed)?;
    Ok(all["provider_schemas"]["registry.terraform.io/berth-run/berth"].clone())
}

fn pages(schema: &Value) -> Result<BTreeMap<PathBuf, String>, StepError> {
    let examples = Examples::read()?;
    let mut pages = BTreeMap::new();
    pages.insert(
        "index.md".into(),
        page("Provider: berth", &schema["provider"]["block"], None, &Value::Null)?,
    );
    for (kind, directory, title, block) in KINDS {
        for (name, found) in schema[kind].as_object().into_iter().flatten() {
            let short = name.strip_prefix("berth_").unwrap_or(name);
            let path = Path::new(directory).join(format!("{short}.md"));
            let example = examples.block(block, name);
            let identity = match block {
                "resource" => &schema["resource_identity_schemas"][name]["attributes"],
                _ => &Value::Null,
            };
            pages.insert(path, page(&format!("{title}: {name}"), &found["block"], example, identity)?);
        }
    }
    let instance = &schema["resource_schemas"]["berth_instance"]["block"]["attributes"];
    pages.insert("guides/changes.md".into(), effects::page(instance)?);
    for (name, found) in schema["functions"].as_object().into_iter().flatten() {
        let example = examples.with(&format!("provider::berth::{name}("));
        pages.insert(Path::new("functions").join(format!("{name}.md")), function(name, found, example));
    }
    Ok(pages)
}

fn head(text: &mut String, title: &str, description: &str, example: Option<&str>) {
    let _ = write!(text, "---\npage_title: \"{title}\"\n---\n\n# {title}\n\n");
    if !description.is_empty() {
        let _ = writeln!(text, "{description}\n");
    }
    if let Some(example) = example {
        let _ = writeln!(text, "## Example\n\n```terraform\n{example}```\n");
    }
}

fn page(title: &str, block: &Value, example: Option<&str>, identity: &Value) -> Result<String, StepError> {
    let mut text = String::new();
    head(&mut text, title, block["description"].as_str().unwrap_or_default(), example);
    text.push_str("## Arguments and attributes\n\n");
    attributes(&mut text, &block["attributes"], title, 0)?;
    if identity.is_object() {
        let imported = block["description"].as_str().is_some_and(|text| text.contains("Import with"));
        let purpose = match imported {
            true => "For an `import` block with `identity` (Terraform 1.12).",
            false => "What tells one from another. It is not imported.",
        };
        let _ = write!(text, "\n## Identity\n\n{purpose}\n\n");
        for (name, attribute) in identity.as_object().into_iter().flatten() {
            let word = if attribute["required_for_import"] == true { "required" } else { "optional" };
            let description = attribute["description"].as_str().unwrap_or_default();
            let kind = type_name(&attribute["type"]);
            let _ = writeln!(text, "- `{name}` ({kind}; {word}) {description}");
        }
    }
    Ok(text)
}

fn function(name: &str, function: &Value, example: Option<&str>) -> String {
    let mut text = String::new();
    head(
        &mut text,
        &format!("Function: {name}"),
        function["description"].as_str().unwrap_or_default(),
        example,
    );
    let given = function["parameters"].as_array().into_iter().flatten();
    let list: Vec<String> = given
        .clone()
        .map(|it| format!("{} {}", it["name"].as_str().unwrap_or_default(), type_name(&it["type"])))
        .collect();
    let returns = type_name(&function["return_type"]);
    let _ = write!(
        text,
        "## Signature\n\n```text\n{name}({}) {returns}\n```\n\n## Arguments\n\n",
        list.join(", ")
    );
    for parameter in given {
        let part = |key: &str| parameter[key].as_str().unwrap_or_default().to_owned();
        let _ = writeln!(
            text,
            "- `{}` ({}) {}",
            part("name"),
            type_name(&parameter["type"]),
            part("description")
        );
    }
    text
}

fn attributes(text: &mut String, attributes: &Value, owner: &str, depth: usize) -> Outcome {
    for (name, attribute) in attributes.as_object().into_iter().flatten() {
        let description = attribute["description"].as_str().unwrap_or_default();
        if description.is_empty() {
            return Err(StepError::Rule(format!("{owner}: {name} has no description")));
        }
        let nested = &attribute["nested_type"];
        let kind = if nested.is_object() {
            format!("{} of objects", nested["nesting_mode"].as_str().unwrap_or_default())
                .replace("single of objects", "object")
        } else {
            type_name(&attribute["type"])
        };
        let words: Vec<&str> = ["required", "optional", "computed", "sensitive", "write_only"]
            .into_iter()
            .filter(|word| attribute[*word] == true)
            .collect();
        let indent = "  ".repeat(depth);
        let _ = writeln!(
            text,
            "{indent}- `{name}` ({kind}; {}) {description}",
            words.join(", ").replace('_', "-")
        );
        if nested.is_object() {
            self::attributes(text, &nested["attributes"], &format!("{owner}.{name}"), depth + 1)?;
        }
    }
    Ok(())
}

fn type_name(kind: &Value) -> String {
    match kind {
        Value::String(name) => name.clone(),
        Value::Array(parts) => match parts.as_slice() {
            [Value::String(word), Value::Object(_)] => word.clone(),
            parts => parts.iter().map(type_name).collect::<Vec<_>>().join(" of "),
        },
        _ => "object".to_owned(),
    }
}
