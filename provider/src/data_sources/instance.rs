//! `berth_instance`: how an instance is.

use std::sync::Arc;

use tfplugin::timeouts::ReadTimeouts;
use tfplugin::{Attr, Attribute, Context, DataSource, Schema};

use super::facts::{self, Facts};
use super::look;
use crate::both::{Both, with_all};
use crate::client::By;
use crate::client::hosts::Connection;
use crate::config::Berth;
use crate::report::{self, Diagnostics, Path};

tfplugin::model! {
    /// Which instance.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct Which {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
        /// Its name, or null.
        pub name: Attr<String>,
        /// Its id, or null.
        pub id: Attr<String>,
        /// How long the read may take.
        pub timeouts: Attr<ReadTimeouts>,
    }
}

/// `berth_instance`.
pub struct Instance;

impl DataSource for Instance {
    type Model = Both<Which, Facts>;
    type Client = Berth;

    const NAME: &'static str = "berth_instance";

    fn schema(&self) -> Schema {
        let docs = "An instance on a host, managed or not, named by its `name` or its `id`.";
        let schema = Schema::new(docs)
            .attribute("host", look::host())
            .attribute("name", Attribute::string("Its name; either this or `id`.").optional_computed())
            .attribute("id", Attribute::string("Its id, a UUID; either this or `name`.").optional_computed())
            .attribute("timeouts", look::timeouts());
        with_all(schema, facts::attributes())
    }

    fn validate(&self, Both(which, _): &Self::Model) -> Diagnostics {
        let advice = "Write either the instance's name or its id.";
        match (&which.name, &which.id) {
            (Attr::Null, Attr::Null) => {
                report::error(Path::at("name"), "No instance is named", advice).into()
            }
            (Attr::Known(_), Attr::Known(_)) => {
                report::error(Path::at("id"), "Both name and id are set", advice).into()
            }
            _ => Diagnostics::new(),
        }
    }

    async fn read(
        &self,
        cx: &mut Context<Berth>,
        Both(which, _): Self::Model,
    ) -> Result<Self::Model, Diagnostics> {
        let by = match which.id.as_str() {
            Some(id) => By::Id(id.to_owned()),
            None => By::Name(which.name.as_str().unwrap_or_default().to_owned()),
        };
        let question = async move |it: Arc<Connection>| it.agent.instance(by).await;
        let found = look::ask(cx, &which.host, &which.timeouts, "Reading the instance", question).await?;
        let name = found.spec.as_ref().map(|spec| spec.name.clone());
        let which = Which { name: name.into(), id: Attr::Known(found.id.clone()), ..which };
        Ok(Both(which, found.into()))
    }
}
