//! `berth_image_tags` and `berth_remote_repositories`: what a registry has.

use std::sync::Arc;
use std::time::Duration;

use tfplugin::timeouts::{self, ReadTimeouts};
use tfplugin::value::Type;
use tfplugin::{Attr, Attribute, Context, DataSource, Schema};

use crate::attr::{List, list};
use crate::client::hosts::Patience;
use crate::client::operations::Whole;
use crate::client::{AgentError, Answer};
use crate::config::Berth;
use crate::report::{self, Diagnostics, Kind, Path};

const DEFAULT_TIMEOUT: &str = "2m";
const DEFAULT_LIMIT: Duration = Duration::from_secs(120);

tfplugin::model! {
    /// A repository's tags.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct TagsModel {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
        /// A reference without a tag.
        pub repository: Attr<String>,
        /// How long the read may take.
        pub timeouts: Attr<ReadTimeouts>,
        /// The repository.
        pub id: Attr<String>,
        /// In the registry's order.
        pub tags: List<String>,
    }
}

tfplugin::model! {
    /// A registry's repositories.
    #[derive(Debug, Clone, PartialEq, Eq, Default)]
    pub struct RepositoriesModel {
        /// A key or an address; null is the default host.
        pub host: Attr<String>,
        /// A remote's name, or a registry's host.
        pub remote: Attr<String>,
        /// How long the read may take.
        pub timeouts: Attr<ReadTimeouts>,
        /// The remote.
        pub id: Attr<String>,
        /// In the registry's order.
        pub repositories: List<String>,
    }
}

/// `berth_image_tags`.
pub struct Tags;

/// `berth_remote_repositories`.
pub struct Repositories;

fn schema(docs: &str) -> Schema {
    let host =
        "The host that asks: a key of the provider's `hosts`, or an address. Default: the provider's `host`.";
    Schema::new(docs)
        .attribute("host", Attribute::string(host))
        .attribute("timeouts", timeouts::read_attribute(DEFAULT_TIMEOUT))
}

/// Asks the agent of a host, in time.
async fn ask<T, F: Future<Output = Answer<T>>>(
    cx: &Context<Berth>,
    host: &Attr<String>,
    limit: &Attr<ReadTimeouts>,
    call: &'static str,
    question: impl FnOnce(Arc<dyn Whole>) -> F,
) -> Result<T, Diagnostics> {
    let set = limit.known().map(|timeouts| &timeouts.read).and_then(Attr::as_str);
    let after = set.and_then(timeouts::parse).unwrap_or(DEFAULT_LIMIT);
    let failed = |error: AgentError| report::from_agent(&error, 0, |_| Kind::Plain);
    let read = async {
        let connection = cx.client().hosts.connect(host.as_str(), Patience::OneAttempt).await;
        let connection = connection.map_err(|error| report::from_host(&error))?;
        question(Arc::clone(&connection.agent)).await.map_err(failed)
    };
    let late = |_| failed(AgentError::TimedOut { call, after });
    Ok(tokio::time::timeout(after, read).await.map_err(late)??)
}

impl DataSource for Tags {
    type Model = TagsModel;
    type Client = Berth;

    const NAME: &'static str = "berth_image_tags";

    fn schema(&self) -> Schema {
        let repository =
            "The repository, as in a reference without its tag: `hub:postgres`, `ghcr.io/org/app`.";
        schema("The tags of a repository, asked for by a host's agent with the credentials of its remotes.")
            .attribute("repository", Attribute::string(repository).required())
            .attribute("id", Attribute::string("The same as `repository`.").computed())
            .attribute("tags", Attribute::list(Type::String, "The tags, in the registry's order.").computed())
    }

    fn validate(&self, config: &TagsModel) -> Diagnostics {
        let tagged = |text: &&str| {
            let last = text.rsplit('/').next().unwrap_or(text);
            text.contains('@') || (last.contains(':') && text.contains('/')) || text.matches(':').count() > 1
        };
        let Some(text) = config.repository.as_str().filter(tagged) else { return Diagnostics::default() };
        let detail = "Leave the tag and the digest out: write REMOTE:REPOSITORY or HOST/REPOSITORY.";
        vec![report::error(
            Path::at("repository"),
            format!("\"{text}\" names more than a repository"),
            detail,
        )]
        .into()
    }

    async fn read(&self, cx: &mut Context<Berth>, config: TagsModel) -> Result<TagsModel, Diagnostics> {
        let repository = config.repository.as_str().unwrap_or_default().to_owned();
        let question = |agent: Arc<dyn Whole>| async move { agent.list_tags(repository).await };
        let tags = ask(cx, &config.host, &config.timeouts, "Listing the tags", question).await?;
        Ok(TagsModel { id: config.repository.clone(), tags: list(tags), ..config })
    }
}

impl DataSource for Repositories {
    type Model = RepositoriesModel;
    type Client = Berth;

    const NAME: &'static str = "berth_remote_repositories";

    fn schema(&self) -> Schema {
        let remote = "Name of a remote of the host, or a registry's host such as `registry.example:5000`.";
        let repositories = "The repositories, in the registry's order, as they are written after the remote's name: below \
                            its path, if it has one.";
        schema(
            "The repositories of a registry, asked for by a host's agent. Registries of many tenants, such as Docker Hub, \
             give no such list.",
        )
        .attribute("remote", Attribute::string(remote).required())
        .attribute("id", Attribute::string("The same as `remote`.").computed())
        .attribute("repositories", Attribute::list(Type::String, repositories).computed())
    }

    async fn read(
        &self,
        cx: &mut Context<Berth>,
        config: RepositoriesModel,
    ) -> Result<RepositoriesModel, Diagnostics> {
        let remote = config.remote.as_str().unwrap_or_default().to_owned();
        let question = |agent: Arc<dyn Whole>| async move { agent.list_repositories(remote).await };
        let found = ask(cx, &config.host, &config.timeouts, "Listing the repositories", question).await?;
        Ok(RepositoriesModel { id: config.remote.clone(), repositories: list(found), ..config })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_has_no_tag() {
        let check = |text: &str| {
            let config = TagsModel { repository: Attr::from(text), ..TagsModel::default() };
            !Tags.validate(&config).has_error()
        };
        for good in ["hub:postgres", "hub:org/app", "ghcr.io/org/app", "127.0.0.1:5000/app", "localhost/a"] {
            assert!(check(good), "{good}");
        }
        for bad in ["hub:postgres:16", "ghcr.io/org/app:1", "127.0.0.1:5000/app:1", "hub:a@sha256:00"] {
            assert!(!check(bad), "{bad}");
        }
    }
}
