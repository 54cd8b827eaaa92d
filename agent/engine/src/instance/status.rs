//! What is told of an instance: its record and its workload as one view.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use berth_domain::{EffectiveConfig, ExitRecord, Health, ImageInfo, Status, Workload};
use ipnet::IpNet;

use crate::ledger::{Phase, Record};
use crate::ports::runtime::InterfaceState;
use crate::view::InstanceView;

/// An instance at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) record: Record,
    pub(crate) workload: Workload,
    pub(crate) image: Option<Arc<ImageInfo>>,
    pub(crate) health: Option<Health>,
    pub(crate) clamped: Vec<String>,
    pub(crate) accelerator: Option<String>,
    pub(crate) addresses: BTreeMap<String, Vec<IpNet>>,
    pub(crate) interfaces: BTreeMap<String, InterfaceState>,
}

impl Snapshot {
    pub(crate) fn status(&self) -> Status {
        let record = &self.record;
        match (record.phase, &self.workload) {
            (Phase::Deleting, _) => Status::Deleting,
            (Phase::Creating, _) => Status::Creating,
            (_, Workload::Running { .. }) => Status::Running,
            (_, Workload::Waiting { .. }) => Status::Restarting,
            (_, Workload::Absent | Workload::Ended { .. }) => {
                match (&record.failure, record.current.spec.running) {
                    (Some(detail), _) => Status::Failed { detail: detail.clone() },
                    (None, false) => Status::Stopped,
                    (None, true) if record.current.exit.is_some() => Status::Exited,
                    (None, true) => Status::Restarting,
                }
            }
        }
    }

    /// Whether there is a check to wait for.
    pub(crate) fn has_check(&self) -> bool {
        let config = self.image.as_ref().map(|image| &image.config);
        let effective =
            config.and_then(|config| EffectiveConfig::new(config, &self.record.current.spec).ok());
        effective.is_some_and(|effective| effective.health.is_some())
    }

    /// Its last code, and whether it was killed for want of memory.
    pub(crate) fn exit_now(&self) -> Option<(i32, bool)> {
        self.exit().map(|exit| (exit.code, exit.oom_killed))
    }

    fn exit(&self) -> Option<&ExitRecord> {
        match &self.workload {
            Workload::Running { .. } => None,
            Workload::Waiting { exit, .. } => Some(exit),
            Workload::Absent | Workload::Ended { .. } => self.record.current.exit.as_ref(),
        }
    }

    /// Why it is as it is.
    fn detail(&self) -> Option<String> {
        self.record.failure.clone().or_else(|| self.exit()?.reason.clone())
    }

    /// Its addresses that it is known by, of each version: those on the way of the default route, or else the first.
    fn known_by(&self) -> impl Iterator<Item = IpAddr> {
        let asked = self.record.current.spec.interfaces();
        let default = berth_domain::interface::default_route(&asked).map(str::to_owned);
        let first = default.and_then(|name| self.addresses.get(&name));
        first.into_iter().chain(self.addresses.values()).flatten().map(IpNet::addr)
    }

    /// Its address of version 4 that it is known by.
    pub(crate) fn ipv4(&self) -> Option<Ipv4Addr> {
        self.known_by().find_map(|address| if let IpAddr::V4(it) = address { Some(it) } else { None })
    }

    /// Likewise of version 6.
    pub(crate) fn ipv6(&self) -> Option<Ipv6Addr> {
        self.known_by().find_map(|address| if let IpAddr::V6(it) = address { Some(it) } else { None })
    }

    pub(crate) fn view(&self) -> InstanceView {
        let record = &self.record;
        let config = self.image.as_ref().map(|image| &image.config);
        let restarts = match &self.workload {
            Workload::Running { restarts, .. } | Workload::Waiting { restarts, .. } => *restarts,
            Workload::Absent | Workload::Ended { .. } => record.restarts,
        };
        InstanceView {
            id: record.id,
            spec: record.current.spec.clone(),
            status: self.status(),
            status_detail: self.detail().unwrap_or_default(),
            exit_code: self.exit().map(|exit| exit.code),
            oom_killed: self.exit().is_some_and(|exit| exit.oom_killed),
            image: record.current.image.clone(),
            image_reference: record.current.image_reference.clone(),
            ipv4: self.ipv4(),
            ipv6: self.ipv6(),
            interfaces: self.interfaces.clone(),
            addresses: self.addresses.clone(),
            mac_addresses: record.interfaces.iter().map(|(name, held)| (name.clone(), held.mac)).collect(),
            pid: self.workload.pid(),
            restarts,
            created_at: record.created_at,
            started_at: record.started_at,
            ports: record.current.ports(),
            effective: config.and_then(|config| EffectiveConfig::new(config, &record.current.spec).ok()),
            from_image: config.cloned(),
            generation: record.generation,
            health: self.health.clone(),
            clamped: self.clamped.clone(),
            accelerator: self.accelerator.clone(),
        }
    }
}
