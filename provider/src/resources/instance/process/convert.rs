//! Between these parts and the wire. A part that means what the agent says is kept as the user wrote it.

use std::collections::{BTreeSet, HashMap};

use berth_proto::agent as wire;

use super::model::{BootModel, HealthCheckModel, HttpModel, SecurityModel, TcpModel, UlimitModel};
use crate::attr::{Attr, List, Map, Set, entries, list, set};
use crate::text::{duration, size};

/// The prior part where it means the same as the agent's; else the agent's own.
fn kept<M: Clone, W: PartialEq>(
    prior: Option<&Attr<M>>,
    actual: &W,
    meaning: impl Fn(&Attr<M>) -> W,
    canonical: impl FnOnce(&W) -> Attr<M>,
) -> Attr<M> {
    match prior {
        Some(prior) if !matches!(prior, Attr::Unknown) && meaning(prior) == *actual => prior.clone(),
        _ => canonical(actual),
    }
}

/// The prior part where the configured one means the same.
pub fn settle<M: Clone, W: PartialEq>(
    prior: &Attr<M>,
    config: &Attr<M>,
    meaning: impl Fn(&Attr<M>) -> W,
) -> Attr<M> {
    let both = prior.known().is_some() && config.known().is_some();
    if both && meaning(prior) == meaning(config) { prior.clone() } else { config.clone() }
}

fn ms(attr: &Attr<String>) -> u64 {
    attr.as_str().and_then(|text| duration::parse(text).ok()).unwrap_or(0)
}

fn duration_or_null(ms: u64) -> Attr<String> {
    if ms == 0 { Attr::Null } else { Attr::Known(duration::format(ms)) }
}

fn small(attr: &Attr<i64>) -> u32 {
    attr.known().copied().and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}

fn texts(attr: &List<String>) -> Vec<String> {
    attr.known().into_iter().flatten().filter_map(|it| it.as_str().map(str::to_owned)).collect()
}

fn truth(attr: &Attr<bool>) -> bool {
    attr.known().copied().unwrap_or(false)
}

fn true_or_null(value: bool) -> Attr<bool> {
    if value { Attr::Known(true) } else { Attr::Null }
}

/// The check, if one is asked for.
pub fn health(model: &Attr<HealthCheckModel>) -> Option<wire::HealthCheck> {
    let model = model.known()?;
    let http = model.http.known().map(|http| wire::HttpProbe {
        port: small(&http.port),
        path: http.path.as_str().unwrap_or("/").to_owned(),
        scheme: http.scheme.as_str().unwrap_or("http").to_owned(),
    });
    Some(wire::HealthCheck {
        disabled: truth(&model.disabled),
        exec: texts(&model.exec),
        http,
        tcp: model.tcp.known().map(|tcp| wire::TcpProbe { port: small(&tcp.port) }),
        interval_ms: ms(&model.interval),
        timeout_ms: ms(&model.timeout),
        retries: small(&model.retries),
        start_period_ms: ms(&model.start_period),
    })
}

/// The check that the agent has.
pub fn read_health(
    actual: &Option<wire::HealthCheck>,
    prior: Option<&Attr<HealthCheckModel>>,
) -> Attr<HealthCheckModel> {
    kept(prior, actual, health, |actual| {
        let Some(check) = actual else { return Attr::Null };
        let number = |number: u32| if number == 0 { Attr::Null } else { Attr::Known(number.into()) };
        Attr::Known(HealthCheckModel {
            exec: if check.exec.is_empty() { Attr::Null } else { list(check.exec.clone()) },
            http: check.http.as_ref().map_or(Attr::Null, |http| {
                let path = if http.path == "/" { Attr::Null } else { Attr::Known(http.path.clone()) };
                let scheme = if http.scheme == "https" { Attr::from("https") } else { Attr::Null };
                Attr::Known(HttpModel { port: Attr::Known(http.port.into()), path, scheme })
            }),
            tcp: check
                .tcp
                .as_ref()
                .map_or(Attr::Null, |tcp| Attr::Known(TcpModel { port: Attr::Known(tcp.port.into()) })),
            interval: duration_or_null(check.interval_ms),
            timeout: duration_or_null(check.timeout_ms),
            retries: number(check.retries),
            start_period: duration_or_null(check.start_period_ms),
            disabled: true_or_null(check.disabled),
        })
    })
}

/// When it comes up; nothing where that is the default.
pub fn boot(model: &Attr<BootModel>) -> Option<wire::Boot> {
    let model = model.known()?;
    let priority = model.priority.known().copied().unwrap_or(0);
    let boot =
        wire::Boot { priority: i32::try_from(priority).unwrap_or(i32::MAX), delay_ms: ms(&model.delay) };
    (boot != wire::Boot::default()).then_some(boot)
}

/// When it comes up, as the agent has it.
pub fn read_boot(actual: &Option<wire::Boot>, prior: Option<&Attr<BootModel>>) -> Attr<BootModel> {
    kept(prior, actual, boot, |actual| {
        let Some(boot) = actual else { return Attr::Null };
        let priority = if boot.priority == 0 { Attr::Null } else { Attr::Known(boot.priority.into()) };
        Attr::Known(BootModel { priority, delay: duration_or_null(boot.delay_ms) })
    })
}

/// Names without their prefix, in order: as the agent has them.
fn capabilities(attr: &Set<String>) -> Vec<String> {
    let bare = |name: String| {
        let upper = name.to_ascii_uppercase();
        upper.strip_prefix("CAP_").map(str::to_owned).unwrap_or(upper)
    };
    let names = attr.known().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned));
    names.map(bare).collect::<BTreeSet<_>>().into_iter().collect()
}

/// What its processes may do; nothing where that is the default.
pub fn security(model: &Attr<SecurityModel>) -> Option<wire::Security> {
    let model = model.known()?;
    let seccomp = model.seccomp.as_str().filter(|text| *text != "default").unwrap_or_default();
    let security = wire::Security {
        capabilities_add: capabilities(&model.capabilities_add),
        capabilities_drop: capabilities(&model.capabilities_drop),
        read_only_rootfs: truth(&model.read_only_rootfs),
        no_new_privileges: truth(&model.no_new_privileges),
        seccomp: seccomp.to_owned(),
        user_namespace: model
            .user_namespace
            .as_str()
            .filter(|text| *text != "auto")
            .unwrap_or_default()
            .to_owned(),
        privileged: truth(&model.privileged),
        host_network: truth(&model.host_network),
        host_pid: truth(&model.host_pid),
    };
    (security != wire::Security::default()).then_some(security)
}

/// What its processes may do, as the agent has it.
pub fn read_security(
    actual: &Option<wire::Security>,
    prior: Option<&Attr<SecurityModel>>,
) -> Attr<SecurityModel> {
    kept(prior, actual, security, |actual| {
        let Some(security) = actual else { return Attr::Null };
        let names = |names: &[String]| {
            if names.is_empty() { Attr::Null } else { set(names.iter().map(|name| format!("CAP_{name}"))) }
        };
        let text = |text: &String| Some(text).filter(|text| !text.is_empty()).cloned().into();
        Attr::Known(SecurityModel {
            capabilities_add: names(&security.capabilities_add),
            capabilities_drop: names(&security.capabilities_drop),
            read_only_rootfs: true_or_null(security.read_only_rootfs),
            no_new_privileges: true_or_null(security.no_new_privileges),
            seccomp: text(&security.seccomp),
            user_namespace: text(&security.user_namespace),
            privileged: true_or_null(security.privileged),
            host_network: true_or_null(security.host_network),
            host_pid: true_or_null(security.host_pid),
        })
    })
}

/// -1 is no limit.
fn limit(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Limits of each process.
pub fn ulimits(model: &Map<UlimitModel>) -> HashMap<String, wire::Ulimit> {
    let one = |(name, ulimit): (&String, &UlimitModel)| {
        let soft = ulimit.soft.known().copied().unwrap_or(-1);
        let hard = ulimit.hard.known().copied().unwrap_or(soft);
        (name.clone(), wire::Ulimit { soft: limit(soft), hard: limit(hard) })
    };
    entries(model).map(one).collect()
}

/// Limits of each process, as the agent has them.
pub fn read_ulimits(
    actual: &HashMap<String, wire::Ulimit>,
    prior: Option<&Map<UlimitModel>>,
) -> Map<UlimitModel> {
    kept(prior, actual, ulimits, |actual| {
        if actual.is_empty() {
            return Attr::Null;
        }
        let number = |limit: u64| Attr::Known(i64::try_from(limit).unwrap_or(-1));
        let one = |(name, ulimit): (&String, &wire::Ulimit)| {
            let model = UlimitModel { soft: number(ulimit.soft), hard: number(ulimit.hard) };
            (name.clone(), Attr::Known(model))
        };
        Attr::Known(actual.iter().map(one).collect())
    })
}

/// The size of /dev/shm; 0 is the default.
pub fn shm_size(model: &Attr<String>) -> u64 {
    model.as_str().and_then(|text| size::parse(text).ok()).unwrap_or(0)
}

/// The size of /dev/shm, as the agent has it.
pub fn read_shm_size(actual: u64, prior: Option<&Attr<String>>) -> Attr<String> {
    kept(prior, &actual, shm_size, |actual| match actual {
        0 => Attr::Null,
        bytes => Attr::Known(size::format(*bytes)),
    })
}

/// Groups beside those of the image's own group file.
pub fn groups(model: &List<String>) -> Vec<String> {
    texts(model)
}

/// What they come down to: their order is of no account.
pub fn set_of_groups(model: &List<String>) -> BTreeSet<String> {
    texts(model).into_iter().collect()
}

/// Those groups, as the agent has them.
pub fn read_groups(actual: &Vec<String>, prior: Option<&List<String>>) -> List<String> {
    kept(prior, actual, groups, |actual| if actual.is_empty() { Attr::Null } else { list(actual.clone()) })
}

/// Secret variables, only ever from the configuration.
pub fn secrets(config: &Map<String>) -> wire::SecretEnvironment {
    let values = entries(config).map(|(name, value)| (name.clone(), value.clone())).collect();
    wire::SecretEnvironment { values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_keeps_its_spelling() {
        let written = Attr::Known(SecurityModel {
            capabilities_add: set(["cap_net_admin".to_owned()]),
            seccomp: Attr::from("default"),
            ..SecurityModel::default()
        });
        let sent = security(&written);
        assert_eq!(sent.as_ref().unwrap().capabilities_add, ["NET_ADMIN"]);
        assert_eq!(read_security(&sent, Some(&written)), written);
        let imported = read_security(&sent, None);
        assert_eq!(security(&imported), sent);
        let minute = HealthCheckModel { interval: Attr::from("60s"), ..HealthCheckModel::default() };
        let same = HealthCheckModel { interval: Attr::from("1m"), ..minute.clone() };
        let (minute, same) = (Attr::Known(minute), Attr::Known(same));
        assert_eq!(settle(&minute, &same, health), minute);
        assert_eq!(
            read_boot(&None, Some(&Attr::Known(BootModel::default()))),
            Attr::Known(BootModel::default())
        );
    }

    #[test]
    fn a_limit_that_is_none_is_minus_one() {
        let model = UlimitModel { soft: Attr::Known(1024), hard: Attr::Known(-1) };
        let model = Attr::Known([("nofile".to_owned(), Attr::Known(model))].into());
        let sent = ulimits(&model);
        assert_eq!((sent["nofile"].soft, sent["nofile"].hard), (1024, u64::MAX));
        assert_eq!(read_ulimits(&sent, None), model);
    }
}
