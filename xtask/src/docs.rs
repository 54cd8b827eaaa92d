//! `cargo xtask docs`: the provider's pages in the registry's layout, from its schema.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use berth_acceptance_tests::{Terraform, command};
use serde_json::Value;

use crate::Outcome;
use crate::step::{StepError, file, programs, root, target};

/// Writes docs/, or says what would change.
pub fn run(check: bool) -> Outcome {
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
    let terraform = Terraform::from_path().map_err(failed)?;
    let all = command::json(&mut terraform.command(&place, &cli, &["providers", "schema", "-json"]))
        .map_err(failed)?;
    Ok(all["provider_schemas"]["registry.terraform.io/berth-run/berth"].clone())
}

fn pages(schema: &Value) -> Result<BTreeMap<PathBuf, String>, StepError> {
    let mut pages = BTreeMap::new();
    pages.insert("index.md".into(), page("Provider: berth", &schema["provider"]["block"], None)?);
    for (kind, directory, title) in [
        ("resource_schemas", "resources", "Resource"),
        ("data_source_schemas", "data-sources", "Data Source"),
    ] {
        for (name, found) in schema[kind].as_object().into_iter().flatten() {
            let short = name.strip_prefix("berth_").unwrap_or(name);
            let path = Path::new(directory).join(format!("{short}.md"));
            let example = example(name);
            pages.insert(path, page(&format!("{title}: {name}"), &found["block"], example.as_deref())?);
        }
    }
    Ok(pages)
}

/// The block of this resource in the examples that the acceptance tests run.
fn example(name: &str) -> Option<String> {
    let text = fs::read_to_string(root().join("examples/terraform/quickstart/main.tf")).ok()?;
    let start = text.find(&format!("resource \"{name}\""))?;
    let block = text.get(start..)?;
    let end = block.find("\n}\n")?;
    Some(block.get(..end + 3)?.to_owned())
}

fn page(title: &str, block: &Value, example: Option<&str>) -> Result<String, StepError> {
    let mut text = format!("---\npage_title: \"{title}\"\n---\n\n# {title}\n\n");
    let description = block["description"].as_str().unwrap_or_default();
    if !description.is_empty() {
        let _ = writeln!(text, "{description}\n");
    }
    if let Some(example) = example {
        let _ = writeln!(text, "## Example\n\n```terraform\n{example}```\n");
    }
    text.push_str("## Arguments and attributes\n\n");
    attributes(&mut text, &block["attributes"], title, 0)?;
    Ok(text)
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
        Value::Array(parts) => {
            let words: Vec<String> = parts.iter().map(type_name).collect();
            words.join(" of ")
        }
        _ => "object".to_owned(),
    }
}
