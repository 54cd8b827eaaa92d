//! The plan's rules, each against a resource that has no client and no host.
use super::*;
use crate::{
    Attribute, Context, Create, Diagnostics, Plan, Resource, Schema, Update,
    erased::Typed,
    model,
    value::{Convert, Model},
};
use std::collections::BTreeMap;

model! {
    #[derive(Clone, Debug, PartialEq)]
    struct Port { container: Attr<i64>, host: Attr<i64> }
}
model! {
    #[derive(Clone, Debug, PartialEq)]
    struct Thing {
        id: Attr<String>,
        name: Attr<String>,
        size: Attr<String>,
        kind: Attr<String>,
        secret: Attr<String>,
        ports: Attr<BTreeMap<String, Port>>,
        digest: Attr<String>,
        status: Attr<String>,
    }
}

struct Things;

impl Resource for Things {
    type Model = Thing;
    type Client = ();
    const NAME: &'static str = "test_thing";

    fn schema(&self) -> Schema {
        let port = [
            ("container", Attribute::number("Inside.").required()),
            ("host", Attribute::number("Outside.").optional_computed().keep()),
        ];
        Schema::new("A thing.")
            .attribute("id", Attribute::string("Its id.").computed().keep())
            .attribute("name", Attribute::string("Its name.").required().requires_replace())
            .attribute("size", Attribute::string("Its size.").equal_text_if(|a, b| a.eq_ignore_ascii_case(b)))
            .attribute("kind", Attribute::string("Its kind.").default(Value::string("plain")))
            .attribute("secret", Attribute::string("Its secret.").write_only())
            .attribute("ports", Attribute::nested_map("Its ports.", port))
            .attribute("digest", Attribute::string("Of its name.").computed().on_change_of(["name", "size"]))
            .attribute("status", Attribute::string("How it is.").computed())
    }

    fn modify_plan(&self, plan: &mut Plan<'_, Thing, ()>) -> Result<(), Diagnostics> {
        let count = plan.private.get::<i64>("asked").unwrap_or(0);
        plan.private.set("asked", count + 1);
        if plan.private.get::<bool>("moved") == Some(true) {
            plan.planned.id = "moved".into();
        }
        if plan.planned.size.as_str() == Some("wrong") {
            plan.replace("size");
        }
        Ok(())
    }

    async fn read(&self, _: &mut Context<()>, state: Thing) -> Result<Option<Thing>, Diagnostics> {
        Ok(Some(state))
    }

    async fn create(&self, _: &mut Context<()>, new: Create<Thing>) -> Result<Thing, Diagnostics> {
        Ok(new.planned)
    }

    async fn update(&self, _: &mut Context<()>, change: Update<Thing>) -> Result<Thing, Diagnostics> {
        Ok(change.planned)
    }

    async fn delete(&self, _: &mut Context<()>, _: Thing) -> Result<(), Diagnostics> {
        Ok(())
    }
}

fn config() -> Thing {
    Thing {
        id: Attr::Null,
        name: "a".into(),
        size: "10m".into(),
        kind: Attr::Null,
        secret: "hush".into(),
        ports: ports([("web", Attr::Null)]),
        digest: Attr::Null,
        status: Attr::Null,
    }
}

fn ports<const N: usize>(ports: [(&str, Attr<i64>); N]) -> Attr<BTreeMap<String, Port>> {
    let port = |(name, host): (&str, Attr<i64>)| (name.to_owned(), Port { container: 80.into(), host });
    Attr::Known(ports.into_iter().map(port).collect())
}

fn prior() -> Thing {
    Thing {
        id: "1".into(),
        kind: "plain".into(),
        secret: Attr::Null,
        ports: ports([("web", 8080.into())]),
        digest: "d".into(),
        status: "up".into(),
        ..config()
    }
}

/// As Terraform merges: computed attributes without configuration are what they were.
fn proposed(config: &Thing, prior: &Thing) -> Thing {
    let merged_port = |(name, port): (&String, &Port)| {
        let old = prior.ports.known().and_then(|ports| ports.get(name)).map(|port| port.host.clone());
        let host = if port.host.is_null() { old.unwrap_or_default() } else { port.host.clone() };
        (name.clone(), Port { host, ..port.clone() })
    };
    Thing {
        id: prior.id.clone(),
        kind: if config.kind.is_null() { prior.kind.clone() } else { config.kind.clone() },
        ports: config.ports.clone().map(|ports| ports.iter().map(merged_port).collect()),
        digest: prior.digest.clone(),
        status: prior.status.clone(),
        ..config.clone()
    }
}

fn plan_of(config: Thing, prior: Option<Thing>, private: &mut Private) -> (Thing, Vec<String>) {
    let nothing = Thing::from_value(Attr::Known(Known::Object(BTreeMap::new()))).unwrap();
    let values = PlanValues {
        planned: proposed(&config, prior.as_ref().unwrap_or(&nothing)).into_value(),
        config: config.into_value(),
        prior: prior.into_value(),
    };
    let planned = plan(&Typed::resource(Things), values, private, &(), Deferral::default()).unwrap();
    let replace = planned.replace.iter().map(ToString::to_string).collect();
    (Thing::from_value(planned.planned).unwrap(), replace)
}

fn update(config: Thing) -> (Thing, Vec<String>) {
    plan_of(config, Some(prior()), &mut Private::default())
}

#[test]
fn the_schema_is_right_and_a_wrong_model_is_found() {
    assert_eq!(Things.schema().check::<Thing>("test_thing"), Ok(()));
    let error = Things.schema().attribute("more", Attribute::bool("More.")).check::<Thing>("test_thing");
    assert_eq!(error.unwrap_err().to_string(), "test_thing: the model differs from the schema at more");
    let error =
        Things.schema().attribute("size", Attribute::string("")).check::<Thing>("test_thing").unwrap_err();
    assert_eq!(error.to_string(), "test_thing: attribute size has no documentation");
    assert!(Thing::FIELDS.contains(&"ports"));
}

#[test]
fn a_create_has_unknown_for_what_is_computed_and_the_defaults() {
    let (planned, replace) = plan_of(config(), None, &mut Private::default());
    let expected = Thing {
        id: Attr::Unknown,
        kind: "plain".into(),
        secret: Attr::Null,
        ports: ports([("web", Attr::Unknown)]),
        digest: Attr::Unknown,
        status: Attr::Unknown,
        ..config()
    };
    assert_eq!((planned, replace), (expected, vec![]));
}

#[test]
fn nothing_changes_where_nothing_changed() {
    assert_eq!(update(config()), (prior(), vec![]));
}

#[test]
fn an_equal_spelling_is_no_change() {
    assert_eq!(update(Thing { size: "10M".into(), ..config() }), (prior(), vec![]));
}

#[test]
fn computed_attributes_follow_what_they_depend_on() {
    let (planned, replace) = update(Thing { kind: "other".into(), ..config() });
    assert_eq!(planned, Thing { kind: "other".into(), status: Attr::Unknown, ..prior() });
    assert!(replace.is_empty());
    let (planned, _) = update(Thing { size: "20m".into(), ..config() });
    assert_eq!(
        planned,
        Thing { size: "20m".into(), digest: Attr::Unknown, status: Attr::Unknown, ..prior() }
    );
}

#[test]
fn a_new_element_is_computed_and_an_old_one_stays() {
    let (planned, _) = update(Thing {
        ports: ports([("web", Attr::Null), ("tls", 443.into()), ("x", Attr::Null)]),
        ..config()
    });
    assert_eq!(planned.ports, ports([("web", 8080.into()), ("tls", 443.into()), ("x", Attr::Unknown)]));
}

#[test]
fn a_replacing_attribute_and_the_resource_itself_make_a_new_one() {
    assert_eq!(update(Thing { name: "b".into(), ..config() }).1, ["name"]);
    assert_eq!(update(Thing { name: Attr::Unknown, ..config() }).1, ["name"]);
    assert_eq!(update(Thing { size: "wrong".into(), ..config() }).1, ["size"]);
}

#[test]
fn what_the_resource_changes_makes_others_unknown() {
    let mut private = Private::default();
    private.set("moved", true);
    let (planned, _) = plan_of(config(), Some(prior()), &mut private);
    assert_eq!(planned, Thing { id: "moved".into(), status: Attr::Unknown, ..prior() });
    assert_eq!(private.get::<i64>("asked"), Some(1), "the second asking starts from the same private state");
}

#[test]
fn a_state_is_spelled_as_planned_and_has_nothing_unknown() {
    let schema = Things.schema();
    let returned = Thing { size: "10M".into(), secret: "hush".into(), status: Attr::Unknown, ..prior() };
    let mut told = Diagnostics::new();
    let state = state(&schema.attributes, &prior().into_value(), returned.into_value(), &mut told);
    assert_eq!(Thing::from_value(state).unwrap(), Thing { status: Attr::Null, ..prior() });
    assert_eq!(told.iter().map(|told| told.path.to_string()).collect::<Vec<_>>(), ["status"]);
}
