//! The provider's own arguments. Any of them may be unknown while planning; reading them does no I/O.

use std::collections::BTreeMap;
use std::time::Duration;

use tfplugin::{Attr, Attribute, Schema};

use crate::attr::{Map, Part, entries, model};
use crate::client::address::Address;
use crate::client::hosts::{DEFAULT_ADDRESS, HostEntry, HostSettings, Hosts, Setting};
use crate::client::tls::{Secret, TlsText};
use crate::report::{self, Diagnostic, Path, capital};
use crate::resources::instance::convert::Labels;
use crate::text::duration;

/// Log lines in an error when nothing is said.
const DEFAULT_LOG_LINES: usize = 20;

model! {
    /// The provider's arguments.
    pub struct ProviderModel {
        /// A key of `hosts`, or an address.
        host: Attr<String>,
        /// The hosts by key.
        hosts: Map<HostModel>,
        /// Of the default host.
        ca_certificate: Attr<String>,
        /// Of the default host.
        client_certificate: Attr<String>,
        /// Of the default host.
        client_key: Attr<String>,
        /// A duration.
        wait_for_host: Attr<String>,
        /// On everything that has labels.
        default_labels: Map<String>,
        /// How many of an instance's log lines an error carries.
        error_log_lines: Attr<i64>,
    }
}

model! {
    /// One of `hosts`.
    pub struct HostModel {
        /// Where its agent listens.
        address: Attr<String>,
        /// The name in the agent's certificate.
        server_name: Attr<String>,
        /// PEM text.
        ca_certificate: Attr<String>,
        /// PEM text.
        client_certificate: Attr<String>,
        /// PEM text.
        client_key: Attr<String>,
        /// `error` or `warn`.
        unreachable: Attr<String>,
    }
}

/// What the resources work with.
pub struct Berth {
    /// The hosts, dialled when they are needed.
    pub hosts: Hosts,
    /// Labels on everything.
    pub default_labels: Setting<Labels>,
    /// How many of an instance's log lines an error carries.
    pub error_log_lines: usize,
}

/// What the environment says where the configuration does not.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `BERTH_HOST`.
    pub host: Option<String>,
    /// `BERTH_CA_CERTIFICATE`, `BERTH_CLIENT_CERTIFICATE` and `BERTH_CLIENT_KEY`: text or path.
    pub tls: TlsText,
}

impl Environment {
    /// Reads the process's own.
    pub fn of_process() -> Self {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            host: read("BERTH_HOST"),
            tls: TlsText {
                server_name: None,
                ca_certificate: read("BERTH_CA_CERTIFICATE"),
                client_certificate: read("BERTH_CLIENT_CERTIFICATE"),
                client_key: read("BERTH_CLIENT_KEY").map(Secret),
            },
        }
    }
}

/// The arguments and what they mean.
pub fn schema() -> Schema {
    let pem = |what: &str, variable: &str| {
        Attribute::string(format!(
            "{what} of the default host, as PEM text. Only for `https://` addresses. Default: the environment \
             variable `{variable}`, which may also hold a path."
        ))
    };
    Schema::new("Runs OCI images as containers on Linux hosts that run `berthd`, the Berth agent.")
        .attribute("host", Attribute::string("The default host: a key of `hosts`, or an address (`unix:///path`, \
             `https://host:port`, `ssh://[user@]host[:port]`). Default: the environment variable `BERTH_HOST`, or \
             else `unix:///run/berth/agent.sock`."))
        .attribute("hosts", hosts_attribute())
        .attribute("ca_certificate", pem("Certificate of the authority that signed the certificate", "BERTH_CA_CERTIFICATE"))
        .attribute("client_certificate", pem("Certificate to show to the agent", "BERTH_CLIENT_CERTIFICATE"))
        .attribute("client_key", pem("Key of `client_certificate`, for the agent", "BERTH_CLIENT_KEY").sensitive())
        .attribute("wait_for_host", Attribute::string("How long create, update and delete try to reach a host that \
             does not answer, such as `\"5m\"` for a machine that is made in the same apply. Reads make one attempt. \
             Default: no waiting, but 10 seconds for an agent that goes away during a change."))
        .attribute("default_labels", Attribute::map(tfplugin::value::Type::String, "Labels put on every instance, volume and network. A \
             resource's own label of the same name wins."))
        .attribute("error_log_lines", Attribute::number("How many of an instance's last log lines an error about it \
             shows; 0 is none. Default: `20`."))
}

fn hosts_attribute() -> Attribute {
    let docs = "Hosts by key, for the `host` argument of resources.";
    Attribute::nested_map(
        docs,
        [
            (
                "address",
                Attribute::string(
                    "Where its agent listens: `unix:///path`; `https://host:port`, with certificates on both sides; \
                     or `ssh://[user@]host[:port]`, where your own ssh runs `berth proxy`. May be unknown until apply.",
                )
                .required(),
            ),
            (
                "server_name",
                Attribute::string("Name to expect in the agent's certificate. Default: the address's host."),
            ),
            (
                "ca_certificate",
                Attribute::string("Certificate of the authority that signed the agent's, as PEM text."),
            ),
            ("client_certificate", Attribute::string("Certificate to show to the agent, as PEM text.")),
            ("client_key", Attribute::string("Key of `client_certificate`, as PEM text.").sensitive()),
            (
                "unreachable",
                Attribute::string(
                    "What a read does while the host is down: `error` (the default) fails; `warn` keeps what the \
                     state says and warns, so that other hosts' resources can be changed.",
                ),
            ),
        ],
    )
}

/// Checks what is known.
pub fn validate(model: &ProviderModel) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let keys = model.hosts.known();
    if let Some(host) = model.host.as_str() {
        let is_key = keys.is_some_and(|keys| keys.contains_key(host));
        if !is_key && (host.contains("://") || !model.hosts.is_unknown()) {
            check_address(Path::at("host"), host, &mut found);
        }
    }
    for (key, host) in entries(&model.hosts) {
        let path = |argument: &str| Path::at("hosts").key(key).attribute(argument);
        if key.is_empty() || key.contains([',', '/']) {
            let detail = "A key stands before the comma of an import and must not look like an address.";
            let at = Path::at("hosts").key(key);
            found.push(report::error(at, "A host's key is empty or holds a comma or a slash", detail));
        }
        if let Some(address) = host.address.as_str() {
            check_address(path("address"), address, &mut found);
        }
        if let Some(other) = host.unreachable.as_str().filter(|it| !["error", "warn"].contains(it)) {
            let summary = format!("\"{other}\" is no way to treat a host that is down");
            found.push(report::error(
                path("unreachable"),
                summary,
                "Write \"error\" (the default) or \"warn\".",
            ));
        }
    }
    if let Some(Err(error)) = model.wait_for_host.as_str().map(duration::parse) {
        found.push(report::error(Path::at("wait_for_host"), capital(&error.to_string()), error.advice()));
    }
    if model.error_log_lines.known().is_some_and(|lines| !(0..=10_000).contains(lines)) {
        let detail = "Write a whole number from 0 to 10000.";
        found.push(report::error(Path::at("error_log_lines"), "That is no number of log lines", detail));
    }
    found
}

fn check_address(path: Path, address: &str, found: &mut Vec<Diagnostic>) {
    if let Err(error) = Address::parse(address) {
        found.push(report::error(path, capital(&error.to_string()), error.advice()));
    }
}

impl Berth {
    /// What a configuration means. Nothing is dialled, and no file is read.
    pub fn configure(model: &ProviderModel, environment: Environment) -> Self {
        let milliseconds = model.wait_for_host.as_str().and_then(|text| duration::parse(text).ok());
        let settings = HostSettings {
            default: default_host(&model.host, environment.host),
            entries: host_entries(&model.hosts),
            default_tls: default_tls(model, environment.tls),
            wait_for_host: milliseconds.map(Duration::from_millis),
        };
        let lines = model.error_log_lines.known().and_then(|lines| usize::try_from(*lines).ok());
        Self {
            hosts: Hosts::new(settings),
            default_labels: if model.default_labels.has_unknown() {
                Setting::Unknown
            } else {
                let labels = entries(&model.default_labels);
                Setting::Known(labels.map(|(key, value)| (key.clone(), value.clone())).collect())
            },
            error_log_lines: lines.unwrap_or(DEFAULT_LOG_LINES),
        }
    }
}

fn default_host(configured: &Attr<String>, environment: Option<String>) -> Setting<String> {
    match configured {
        Attr::Unknown => Setting::Unknown,
        Attr::Known(host) => Setting::Known(host.clone()),
        Attr::Null => Setting::Known(environment.unwrap_or_else(|| DEFAULT_ADDRESS.to_owned())),
    }
}

fn host_entries(hosts: &Map<HostModel>) -> Setting<BTreeMap<String, Setting<HostEntry>>> {
    match hosts {
        Attr::Unknown => Setting::Unknown,
        Attr::Null => Setting::Known(BTreeMap::new()),
        Attr::Known(hosts) => {
            Setting::Known(hosts.iter().map(|(key, host)| (key.clone(), host_entry(host))).collect())
        }
    }
}

fn host_entry(host: &Attr<HostModel>) -> Setting<HostEntry> {
    let Some(host) = host.known().filter(|host| !host.has_unknown()) else { return Setting::Unknown };
    Setting::Known(HostEntry {
        address: host.address.as_str().unwrap_or_default().to_owned(),
        tls: TlsText {
            server_name: host.server_name.clone().into_known(),
            ca_certificate: host.ca_certificate.clone().into_known(),
            client_certificate: host.client_certificate.clone().into_known(),
            client_key: host.client_key.clone().into_known().map(Secret),
        },
        warn_when_unreachable: host.unreachable.as_str() == Some("warn"),
    })
}

fn default_tls(model: &ProviderModel, environment: TlsText) -> Setting<TlsText> {
    let configured = [&model.ca_certificate, &model.client_certificate, &model.client_key];
    if configured.iter().any(|attr| attr.is_unknown()) {
        return Setting::Unknown;
    }
    let [ca, certificate, key] = configured.map(|attr| attr.clone().into_known());
    Setting::Known(TlsText {
        server_name: None,
        ca_certificate: ca.or(environment.ca_certificate),
        client_certificate: certificate.or(environment.client_certificate),
        client_key: key.map(Secret).or(environment.client_key),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::map;

    fn host(address: Attr<String>) -> HostModel {
        HostModel { address, ..HostModel::default() }
    }

    fn settings(model: &ProviderModel, environment: Environment) -> HostSettings {
        Berth::configure(model, environment).hosts.settings().clone()
    }

    #[test]
    fn the_environment_stands_behind_the_configuration() {
        let environment = Environment { host: Some("ssh://env".to_owned()), ..Environment::default() };
        let target =
            |model: &ProviderModel, environment| settings(model, environment).target(None).unwrap().label;
        let empty = ProviderModel::default();
        assert_eq!(target(&empty, Environment::default()), DEFAULT_ADDRESS);
        assert_eq!(target(&empty, environment.clone()), "ssh://env");
        let set = ProviderModel { host: Attr::from("ssh://set"), ..ProviderModel::default() };
        assert_eq!(target(&set, environment), "ssh://set");
    }

    #[test]
    fn an_unknown_address_makes_only_its_own_host_unknown() {
        let hosts =
            [("later".to_owned(), host(Attr::Unknown)), ("now".to_owned(), host(Attr::from("ssh://now")))];
        let model = ProviderModel { hosts: map(hosts), host: Attr::from("now"), ..ProviderModel::default() };
        let settings = settings(&model, Environment::default());
        assert!(settings.target(None).is_ok());
        assert!(settings.target(Some("later")).is_err());
        assert_eq!(validate(&model), []);
    }

    #[test]
    fn mistakes_are_found_on_their_arguments() {
        let mut node = host(Attr::from("http://node"));
        node.unreachable = Attr::from("ignore");
        let model = ProviderModel {
            host: Attr::from("nodes"),
            hosts: map([("node,1".to_owned(), node)]),
            wait_for_host: Attr::from("5"),
            error_log_lines: Attr::Known(-1),
            ..ProviderModel::default()
        };
        let paths: Vec<_> = validate(&model).into_iter().map(|it| it.path.to_string()).collect();
        let expected = [
            "host",
            "hosts[\"node,1\"]",
            "hosts[\"node,1\"].address",
            "hosts[\"node,1\"].unreachable",
            "wait_for_host",
            "error_log_lines",
        ];
        assert_eq!(paths, expected);
    }
}
