//! `parse_reference`: the parts of an image's reference.

use tfplugin::value::Type;
use tfplugin::{Attr, Function, FunctionError, Parameter, Signature};

use super::wrong;
use crate::text::reference::{self, Parts};

/// `parse_reference`.
pub struct ParseReference;

tfplugin::model! {
    /// The parts of a reference.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Reference {
        /// A registry's host.
        pub registry: Attr<String>,
        /// A remote's name.
        pub remote: Attr<String>,
        /// What follows it.
        pub repository: Attr<String>,
        /// The tag, also where it is only meant.
        pub tag: Attr<String>,
        /// The digest.
        pub digest: Attr<String>,
    }
}

impl Function for ParseReference {
    type Arguments = (String,);
    type Return = Reference;

    const NAME: &'static str = "parse_reference";

    fn signature(&self) -> Signature {
        let parts = ["registry", "remote", "repository", "tag", "digest"].map(|name| (name, Type::String));
        Signature::new("The parts of an image's reference.", Type::object(parts))
            .docs(
                "Takes a reference apart as Berth does: `[REMOTE:|REGISTRY_HOST/]REPOSITORY[:TAG][@DIGEST]`. Gives an object \
                 of `registry` (a host, with its port) or `remote` (the name of a `berth_remote`), `repository`, `tag` and \
                 `digest`; what is not there is null. `docker.io/nginx` is the repository `library/nginx`. Without a tag and a \
                 digest, the tag is `latest`. A reference that is malformed is an error that names the part.",
            )
            .parameter(Parameter::new(
                "reference",
                Type::String,
                "The reference, such as `docker.io/postgres:16` or `hub:team/web:1`.",
            ))
    }

    fn call(&self, (text,): (String,)) -> Result<Reference, FunctionError> {
        let parts = reference::parse(&text).map_err(|error| wrong(&error, &error.advice()))?;
        let Parts { registry, remote, repository, tag, digest } = parts;
        let owned = |part: Option<&str>| Attr::from(part.map(str::to_owned));
        let is_official = registry == Some("docker.io") && !repository.contains('/');
        Ok(Reference {
            registry: owned(registry),
            remote: owned(remote),
            repository: Attr::Known(if is_official {
                format!("library/{repository}")
            } else {
                repository.to_owned()
            }),
            tag: owned(tag.or_else(|| digest.is_none().then_some("latest"))),
            digest: owned(digest),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> [Option<String>; 5] {
        let Reference { registry, remote, repository, tag, digest } =
            ParseReference.call((text.to_owned(),)).unwrap();
        [registry, remote, repository, tag, digest].map(Attr::into_known)
    }

    #[test]
    fn a_reference_is_taken_apart() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            parts("docker.io/nginx"),
            [some("docker.io"), None, some("library/nginx"), some("latest"), None]
        );
        assert_eq!(
            parts("localhost:5000/team/web:1"),
            [some("localhost:5000"), None, some("team/web"), some("1"), None]
        );
        assert_eq!(parts("hub:postgres:16"), [None, some("hub"), some("postgres"), some("16"), None]);
        assert_eq!(
            parts(&format!("[::1]:5000/web@{digest}")),
            [some("[::1]:5000"), None, some("web"), None, some(&digest)]
        );
    }

    #[test]
    fn a_malformed_part_is_named() {
        let error = ParseReference.call(("nginx".to_owned(),)).unwrap_err();
        assert!(error.text.contains("\"docker.io/nginx\"") && error.argument == Some(0), "{error:?}");
    }
}
