//! The fake host's networks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use async_trait::async_trait;
use berth_domain::{InstanceId, KnownNetwork, NetworkSpec, Protocol};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::fake::FakeHost;
use crate::ports::access::Restrictions;
use crate::ports::network::{Dropped, Leases, Link, Network, NetworkError, Publication};

impl FakeHost {
    async fn at_network(&self, call: &str, when: &str) -> Result<(), NetworkError> {
        let passed = self.faults.point(format!("{call}, {when}")).await;
        passed.map_err(|source| NetworkError::Host {
            operation: call.to_owned(),
            advice: String::new(),
            source: source.into(),
        })
    }
}

#[async_trait]
impl Network for FakeHost {
    async fn choose_subnet(&self, taken: &[Ipv4Net]) -> Result<Ipv4Net, NetworkError> {
        let mut subnets = (0..=255).filter_map(|n| Ipv4Net::new(Ipv4Addr::new(10, 9, 8 ^ n, 0), 24).ok());
        subnets.find(|subnet| !taken.iter().any(|other| other.contains(subnet))).ok_or(NetworkError::NoSubnet)
    }

    async fn choose_subnet6(&self, taken: &[Ipv6Net]) -> Result<Option<Ipv6Net>, NetworkError> {
        if self.state().no_ipv6 {
            return Ok(None);
        }
        let net = |n| Ipv6Net::new(Ipv6Addr::new(0xfd09, 0, 0, n, 0, 0, 0, 0), 64).ok();
        let free = (0..=255).filter_map(net).find(|net| !taken.contains(net));
        free.map(Some).ok_or(NetworkError::NoSubnet6)
    }

    async fn conflict(
        &self,
        subnet: IpNet,
        _own: Option<&KnownNetwork>,
    ) -> Result<Option<String>, NetworkError> {
        let state = self.state();
        let taken = state.routes.iter().find(|route| berth_domain::network::overlap(route, &subnet));
        Ok(taken.map(|route| format!("the route {route}")))
    }

    async fn check_parent(&self, spec: &NetworkSpec) -> Result<(), NetworkError> {
        let parent = spec.parent.clone().unwrap_or_default();
        match spec.vlan {
            _ if parent != "eth0" => Err(NetworkError::NoParent { parent }),
            // It has no more.
            Some(vlan @ 100..) => {
                let source = std::io::Error::from_raw_os_error(95).into();
                Err(NetworkError::Vlan { vlan, parent, advice: "modprobe 8021q".to_owned(), source })
            }
            _ => Ok(()),
        }
    }

    async fn ensure(&self, network: &KnownNetwork) -> Result<(), NetworkError> {
        self.at_network("ensure network", "before").await?;
        self.state().networks.insert(network.id, network.clone());
        self.at_network("ensure network", "after").await
    }

    async fn join(
        &self,
        network: &KnownNetwork,
        instance: InstanceId,
        links: &[Link],
    ) -> Result<(), NetworkError> {
        self.ensure(network).await?;
        self.state().links.entry(instance).or_default().extend_from_slice(links);
        Ok(())
    }

    async fn release(&self, network: &KnownNetwork) -> Result<(), NetworkError> {
        self.at_network("release network", "before").await?;
        self.state().networks.remove(&network.id);
        self.at_network("release network", "after").await
    }

    async fn publish(&self, publication: &Publication) -> Result<(), NetworkError> {
        self.at_network("publish", "before").await?;
        let Publication { instance, ports, links, .. } = publication.clone();
        self.state().published.insert(instance, ports);
        self.state().links.insert(instance, links);
        self.at_network("publish", "after").await
    }

    async fn restrict(&self, restrictions: &Restrictions) -> Result<(), NetworkError> {
        if self.state().restrictions == *restrictions {
            return Ok(());
        }
        self.at_network("restrict", "before").await?;
        self.state().restrictions = restrictions.clone();
        self.at_network("restrict", "after").await
    }

    async fn leases(&self, network: &KnownNetwork) -> Result<Leases, NetworkError> {
        Ok(self.state().leases.get(&network.id).cloned().unwrap_or_default())
    }

    async fn forget(&self, network: &KnownNetwork) -> Result<(), NetworkError> {
        self.at_network("forget network", "before").await?;
        self.state().leases.remove(&network.id);
        self.at_network("forget network", "after").await
    }

    async fn withdraw(&self, instance: InstanceId) -> Result<(), NetworkError> {
        self.at_network("withdraw", "before").await?;
        self.state().published.remove(&instance);
        self.state().links.remove(&instance);
        self.at_network("withdraw", "after").await
    }

    async fn dropped(&self, _instance: InstanceId, _slot: u8) -> Result<Dropped, NetworkError> {
        Ok(Dropped::default())
    }

    async fn check_port(&self, address: IpAddr, port: u16, protocol: Protocol) -> Result<(), NetworkError> {
        if self.state().busy.contains(&port) {
            return Err(NetworkError::PortTaken { address, port, protocol });
        }
        Ok(())
    }

    fn host_name(&self, network: &KnownNetwork) -> String {
        format!("fake-{}", network.spec.name)
    }
}
