//! How an instance's health is asked for; the defaults are Docker's.

use serde::{Deserialize, Serialize};

use crate::image::HealthCheckConfig;
use crate::invalid::{Findings, Invalid};
use crate::name::shown;
use crate::value::text;

/// What is tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Probe {
    /// A command inside, which is to end with 0.
    Exec(Vec<String>),
    /// A request inside, to be answered with a status from 200 to 399.
    Http {
        /// Where the workload listens.
        port: u16,
        /// With its query.
        path: String,
        /// Over TLS; whose certificate it is is not looked at.
        #[serde(default)]
        tls: bool,
    },
    /// A connection inside.
    Tcp(u16),
}

/// What a user says of the check; what is left out is the image's, or else the default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthSpec {
    /// No check, whatever the image says.
    pub disabled: bool,
    /// `None`: the image's.
    pub probe: Option<Probe>,
    /// Milliseconds from one try to the next.
    pub interval_ms: Option<u64>,
    /// Milliseconds that one may take.
    pub timeout_ms: Option<u64>,
    /// Failures in a row that make it unhealthy.
    pub retries: Option<u32>,
    /// Milliseconds in which failures do not count.
    pub start_period_ms: Option<u64>,
}

/// The check that is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// Milliseconds from one try to the next.
    pub interval_ms: u64,
    /// Milliseconds that one may take.
    pub timeout_ms: u64,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// Milliseconds in which failures do not count.
    pub start_period_ms: u64,
}

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthState {
    /// Not known yet.
    Starting,
    /// The check succeeds.
    Healthy,
    /// It failed too often.
    Unhealthy,
}

impl HealthState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What is known of an instance's health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// How it is.
    pub state: HealthState,
    /// Failures in a row.
    pub failures: u32,
    /// What the last try said.
    pub output: String,
}

/// A check before it is checked itself; zeros and empty texts mean that nothing is said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "as in HealthSpec")]
pub struct HealthDraft {
    pub disabled: bool,
    pub exec: Vec<String>,
    /// Port, path and scheme.
    pub http: Option<(u32, String, String)>,
    pub tcp: Option<u32>,
    pub interval_ms: u64,
    pub timeout_ms: u64,
    pub retries: u32,
    pub start_period_ms: u64,
}

const FIELD: &str = "health_check";
/// No duration of a check is longer: a day.
const LONGEST_MS: u64 = 86_400_000;

impl HealthDraft {
    /// Checks it, noting mistakes under `health_check`.
    pub fn check(&self, findings: &mut Findings) -> HealthSpec {
        let probe = self.probe(findings);
        let durations = [
            ("interval", self.interval_ms),
            ("timeout", self.timeout_ms),
            ("start_period", self.start_period_ms),
        ];
        for (field, ms) in durations.into_iter().filter(|(_, ms)| *ms > LONGEST_MS) {
            findings.add(Invalid::new(&[FIELD, field], format!("{ms} ms is too long"), "Use at most a day"));
        }
        let some = |ms: u64| (ms != 0).then_some(ms);
        HealthSpec {
            disabled: self.disabled,
            probe,
            interval_ms: some(self.interval_ms),
            timeout_ms: some(self.timeout_ms),
            retries: (self.retries != 0).then_some(self.retries),
            start_period_ms: some(self.start_period_ms),
        }
    }

    fn probe(&self, findings: &mut Findings) -> Option<Probe> {
        let given = [!self.exec.is_empty(), self.http.is_some(), self.tcp.is_some()];
        if given.iter().filter(|given| **given).count() > 1 {
            let summary = "More than one of exec, http and tcp is given";
            findings.add(Invalid::new(&[FIELD], summary, "Give the one that tells its health"));
        }
        if self.disabled && given.contains(&true) {
            let summary = "The health check is disabled, and says what to try";
            findings.add(Invalid::new(&[FIELD, "disabled"], summary, "Leave one of the two out"));
        }
        for (index, part) in self.exec.iter().enumerate() {
            findings.keep(&[FIELD, "exec", &index.to_string()], text::argument(part));
        }
        if let Some((number, path, scheme)) = &self.http {
            let port = findings.keep(&[FIELD, "http", "port"], port(*number));
            let path = if path.is_empty() { "/" } else { path };
            let plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
            if !plain {
                let summary = format!("\"{}\" is not a path of a request", shown(path));
                let advice = "Write it as it goes over the wire, from the first / on";
                findings.add(Invalid::new(&[FIELD, "http", "path"], summary, advice));
            }
            if !["", "http", "https"].contains(&scheme.as_str()) {
                let summary = format!("\"{}\" is no scheme of a health check", shown(scheme));
                let advice = "Use \"http\" or \"https\"";
                findings.add(Invalid::new(&[FIELD, "http", "scheme"], summary, advice));
            }
            return Some(Probe::Http { port: port?, path: path.to_owned(), tls: scheme == "https" });
        }
        if let Some(number) = self.tcp {
            return findings.keep(&[FIELD, "tcp", "port"], port(number)).map(Probe::Tcp);
        }
        (!self.exec.is_empty()).then(|| Probe::Exec(self.exec.clone()))
    }
}

fn port(number: u32) -> Result<u16, Invalid> {
    match u16::try_from(number) {
        Ok(port) if port != 0 => Ok(port),
        _ => Err(Invalid::new(&[], format!("{number} is not a port"), "Use a port from 1 to 65535")),
    }
}

impl HealthCheck {
    const INTERVAL_MS: u64 = 30_000;
    const TIMEOUT_MS: u64 = 30_000;
    const RETRIES: u32 = 3;

    /// What a user says over what the image says.
    ///
    /// # Errors
    /// A check is asked for, and neither says what to try.
    pub fn new(
        image: Option<&HealthCheckConfig>,
        spec: Option<&HealthSpec>,
    ) -> Result<Option<Self>, Invalid> {
        let image = image.filter(|check| !check.test.is_empty());
        let none = HealthSpec::default();
        let said = spec.unwrap_or(&none);
        if said.disabled {
            return Ok(None);
        }
        let Some(probe) = said.probe.clone().or_else(|| image.and_then(|check| of_image(&check.test))) else {
            return match spec {
                Some(_) => Err(Invalid::new(
                    &[FIELD],
                    "The image has no health check, and this does not say what to try",
                    "Give exec, http or tcp",
                )),
                None => Ok(None),
            };
        };
        let image_ms = |ns: fn(&HealthCheckConfig) -> u64| {
            image.map(ns).filter(|ns| *ns != 0).map(|ns| (ns / 1_000_000).max(1))
        };
        let image_retries = image.map(|check| check.retries).filter(|retries| *retries != 0);
        let interval = said.interval_ms.or_else(|| image_ms(|check| check.interval_ns));
        let timeout = said.timeout_ms.or_else(|| image_ms(|check| check.timeout_ns));
        let start_period = said.start_period_ms.or_else(|| image_ms(|check| check.start_period_ns));
        Ok(Some(Self {
            probe,
            interval_ms: interval.unwrap_or(Self::INTERVAL_MS),
            timeout_ms: timeout.unwrap_or(Self::TIMEOUT_MS),
            retries: said.retries.or(image_retries).unwrap_or(Self::RETRIES),
            start_period_ms: start_period.unwrap_or(0),
        }))
    }
}

/// `NONE` is no check; a shell is `/bin/sh -c`, as Docker has it.
fn of_image(test: &[String]) -> Option<Probe> {
    let (kind, rest) = test.split_first()?;
    match kind.as_str() {
        "CMD" if !rest.is_empty() => Some(Probe::Exec(rest.to_vec())),
        "CMD-SHELL" => {
            let line = rest.first()?.clone();
            Some(Probe::Exec(vec!["/bin/sh".to_owned(), "-c".to_owned(), line]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(test: &[&str]) -> HealthCheckConfig {
        let test = test.iter().map(ToString::to_string).collect();
        HealthCheckConfig { test, interval_ns: 5_000_000_000, ..HealthCheckConfig::default() }
    }

    #[test]
    fn the_image_s_check_is_made_unless_something_else_is_said() {
        let shell = image(&["CMD-SHELL", "curl localhost"]);
        let check = HealthCheck::new(Some(&shell), None).unwrap().unwrap();
        assert_eq!(check.probe, Probe::Exec(["/bin/sh", "-c", "curl localhost"].map(String::from).into()));
        assert_eq!((check.interval_ms, check.timeout_ms, check.retries), (5_000, 30_000, 3));
        let spec = HealthSpec { retries: Some(1), ..HealthSpec::default() };
        assert_eq!(HealthCheck::new(Some(&shell), Some(&spec)).unwrap().unwrap().retries, 1);
        let off = HealthSpec { disabled: true, ..HealthSpec::default() };
        assert_eq!(HealthCheck::new(Some(&shell), Some(&off)), Ok(None));
        assert_eq!(HealthCheck::new(Some(&image(&["NONE"])), None), Ok(None));
        assert_eq!(HealthCheck::new(None, None), Ok(None));
        assert!(HealthCheck::new(None, Some(&spec)).is_err(), "there is nothing to try");
    }

    #[test]
    fn a_mistake_names_its_argument() {
        let draft = HealthDraft {
            disabled: true,
            http: Some((0, "/a b".to_owned(), "ftp".to_owned())),
            tcp: Some(70_000),
            ..HealthDraft::default()
        };
        let mut findings = Findings::default();
        draft.check(&mut findings);
        let found = findings.into_error().unwrap();
        let paths: Vec<_> = found.as_slice().iter().map(|found| found.attribute.join(".")).collect();
        let wanted = [
            "health_check",
            "health_check.disabled",
            "health_check.http.port",
            "health_check.http.path",
            "health_check.http.scheme",
        ];
        assert_eq!(paths, wanted);
    }
}
