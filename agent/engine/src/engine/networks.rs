//! Networks. Their names and subnets are checked and written in turns; who is on one is known while none is deleted.

use std::sync::Arc;

use berth_domain::network::{self, Wish};
use berth_domain::{
    InstanceId, Invalids, KnownNetwork, NetworkDraft, NetworkId, NetworkKind, NetworkSpec, Timestamp,
};
use futures::future::join_all;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Engine, Inner};
use crate::error::{EngineError, Kind};
use crate::event::{Action, Subject};
use crate::instance::actor::{Handle, Operation};
use crate::instance::interfaces;
use crate::network_error::NetworkFault;
use crate::ports::network::{Leases, NetworkError};
use crate::report::Reporter;
use crate::restrictions;
use crate::view::{By, NetworkView};

type Checked = (NetworkSpec, Wish<Ipv6Net>);

impl Inner {
    /// The instances on a network.
    fn on_network(&self, id: NetworkId) -> Vec<Handle> {
        let mut all = self.directory.all();
        all.retain(|handle| interfaces::networks_of(self, &handle.snapshot().record).contains(&id));
        all.sort_by_key(|handle| handle.snapshot().record.name().to_owned());
        all
    }

    fn network_view(&self, network: &KnownNetwork) -> NetworkView {
        let used_by: Vec<InstanceId> =
            self.on_network(network.id).iter().map(|handle| handle.snapshot().record.id).collect();
        let bridge =
            (network.spec.kind == NetworkKind::Bridge).then(|| self.ports.network.host_name(network));
        NetworkView { network: network.clone(), bridge, used_by, leases: Leases::default() }
    }

    /// What its DHCP server has given, where it has one.
    pub(crate) async fn leases(&self, network: &KnownNetwork) -> Result<Leases, EngineError> {
        if network.spec.dhcp.is_none() {
            return Ok(Leases::default());
        }
        let found = self.ports.network.leases(network).await;
        found.map_err(|source| failed(network.spec.name.as_str(), source))
    }

    fn network(&self, id: NetworkId) -> Result<Arc<KnownNetwork>, EngineError> {
        self.networks.get(id).ok_or_else(|| EngineError::not_found(Kind::Network, id))
    }

    /// A subnet that neither another network nor the host has.
    async fn free_subnet(&self, name: &str) -> Result<Ipv4Net, EngineError> {
        let taken: Vec<_> =
            self.networks.all().iter().filter_map(|network| network.spec.ipv4_subnet).collect();
        let chosen = self.ports.network.choose_subnet(&taken).await;
        chosen.map_err(|source| failed(name, source))
    }

    /// Likewise of IPv6. A host that has none is refused only where IPv6 was asked for.
    async fn free_subnet6(&self, name: &str, wish: &Wish<Ipv6Net>) -> Result<Option<Ipv6Net>, EngineError> {
        let taken: Vec<_> =
            self.networks.all().iter().filter_map(|network| network.spec.ipv6_subnet).collect();
        let chosen = self.ports.network.choose_subnet6(&taken).await;
        match chosen.map_err(|source| failed(name, source))? {
            None if *wish == Wish::Auto => Err(NetworkFault::NoIpv6 { name: name.to_owned() }.into()),
            chosen => Ok(chosen),
        }
    }

    /// Nothing else has an address of the network's subnets. Those that it has already are its own.
    async fn check_subnets(
        &self,
        wanted: &NetworkSpec,
        before: Option<&KnownNetwork>,
    ) -> Result<(), EngineError> {
        let had: Vec<IpNet> = before.iter().flat_map(|it| it.spec.subnets()).map(|(_, net)| net).collect();
        for (argument, subnet) in wanted.subnets().filter(|(_, subnet)| !had.contains(subnet)) {
            let overlap = |other: String| NetworkFault::Overlap { argument, subnet, other };
            for other in self.networks.all().iter().filter(|it| before.is_none_or(|own| own.id != it.id)) {
                if let Some((_, taken)) =
                    other.spec.subnets().find(|(_, taken)| network::overlap(&subnet, taken))
                {
                    return Err(overlap(format!("{taken} of the network \"{}\"", other.spec.name)).into());
                }
            }
            let found = self.ports.network.conflict(subnet, before).await;
            if let Some(other) = found.map_err(|source| failed(wanted.name.as_str(), source))? {
                return Err(overlap(other).into());
            }
        }
        Ok(())
    }

    async fn check_parent(&self, spec: &NetworkSpec) -> Result<(), EngineError> {
        if spec.parent.is_none() {
            return Ok(());
        }
        let checked = self.ports.network.check_parent(spec).await;
        checked.map_err(|source| NetworkFault::Parent { name: spec.name.to_string(), source }.into())
    }

    fn network_name_is_free(&self, spec: &NetworkSpec, own: Option<NetworkId>) -> Result<(), EngineError> {
        match self.networks.find(spec.name.as_str()).filter(|other| Some(other.id) != own) {
            None => Ok(()),
            Some(other) => Err(EngineError::NameTaken {
                kind: Kind::Network,
                name: spec.name.to_string(),
                existing: other.id.to_string(),
            }),
        }
    }

    async fn create_network(&self, (mut spec, ipv6): Checked) -> Result<NetworkView, EngineError> {
        let _turn = self.naming.lock().await;
        self.network_name_is_free(&spec, None)?;
        self.check_peers(restrictions::lists(&spec.ingress, &spec.egress))?;
        self.check_parent(&spec).await?;
        self.check_subnets(&spec, None).await?;
        if spec.kind == NetworkKind::Bridge && spec.ipv4_subnet.is_none() {
            spec.ipv4_subnet = Some(self.free_subnet(spec.name.as_str()).await?);
        }
        spec.check_dhcp().map_err(Invalids::from)?;
        if spec.kind == NetworkKind::Bridge && matches!(ipv6, Wish::Any | Wish::Auto) {
            spec.ipv6_subnet = self.free_subnet6(spec.name.as_str(), &ipv6).await?;
        }
        let taken: Vec<_> = self.networks.all().iter().map(|network| network.number).collect();
        let number = (0..).find(|number| !taken.contains(number)).unwrap_or_default();
        let id = NetworkId::random();
        let network = KnownNetwork { id, number, generation: 1, spec, created_at: Timestamp::now() };
        self.write_network(network.clone()).await?;
        self.bus.emit(Subject::Network, &id, network.spec.name.as_str(), Action::Created, "");
        Ok(self.network_view(&network))
    }

    async fn write_network(&self, network: KnownNetwork) -> Result<(), EngineError> {
        if self.ledger.save_network(network.clone()).await? {
            self.networks.put(network);
            return Ok(());
        }
        let subnet = network.spec.ipv4_subnet.unwrap_or_default().into();
        Err(NetworkFault::NoRoom { name: network.spec.name.to_string(), subnet }.into())
    }

    async fn update_network(
        &self,
        id: NetworkId,
        (mut spec, ipv6): Checked,
    ) -> Result<NetworkView, EngineError> {
        let _turn = self.naming.lock().await;
        let before = self.network(id)?;
        let old = &before.spec;
        for (argument, differs) in [
            ("name", before.is_default() && old.name != spec.name),
            ("type", old.kind != spec.kind),
            ("parent", old.parent != spec.parent),
            ("vlan", old.vlan != spec.vlan),
        ] {
            if differs {
                return Err(NetworkFault::NeedsReplace { name: old.name.to_string(), argument }.into());
            }
        }
        self.network_name_is_free(&spec, Some(id))?;
        spec.ipv4_subnet = spec.ipv4_subnet.or(old.ipv4_subnet);
        spec.check_dhcp().map_err(Invalids::from)?;
        match ipv6 {
            Wish::Any => spec.ipv6_subnet = old.ipv6_subnet,
            Wish::Auto => {
                spec.ipv6_subnet = match old.ipv6_subnet {
                    None => self.free_subnet6(spec.name.as_str(), &ipv6).await?,
                    kept => kept,
                };
            }
            Wish::No | Wish::This(_) => {}
        }
        if spec == *old {
            return Ok(self.network_view(&before));
        }
        self.check_peers(restrictions::lists(&spec.ingress, &spec.egress))?;
        self.check_subnets(&spec, Some(&before)).await?;
        self.change_network(&before, spec).await
    }

    /// Makes a network what it is to be: in the ledger, on the host, and for the instances that are on it.
    async fn change_network(
        &self,
        before: &KnownNetwork,
        spec: NetworkSpec,
    ) -> Result<NetworkView, EngineError> {
        let network = KnownNetwork { spec, generation: before.generation + 1, ..before.clone() };
        let moved = network.spec.subnets().ne(before.spec.subnets());
        let users = {
            // Nobody comes to be on it meanwhile.
            let _turn = self.choosing.lock().await;
            self.write_network(network.clone()).await?;
            self.on_network(network.id)
        };
        let attached = self.attached.lock().await;
        let is_there = attached.contains_key(&network.id);
        if let Err(error) = self.show_network(&network, is_there).await {
            self.write_network(KnownNetwork { generation: network.generation + 1, ..before.clone() }).await?;
            if let Err(error) = self.show_network(before, is_there).await {
                let (name, error): (_, &dyn std::error::Error) = (network.spec.name.as_str(), &error);
                tracing::warn!(name, error, "a network is not as it was before a change that failed");
            }
            return Err(error);
        }
        drop(attached);
        if network.spec.dhcp.is_none() && before.spec.dhcp.is_some() {
            let forgotten = self.ports.network.forget(&network).await;
            forgotten.map_err(|source| failed(network.spec.name.as_str(), source))?;
        }
        self.bus.emit(Subject::Network, &network.id, network.spec.name.as_str(), Action::Updated, "");
        let renamed = network.spec.domain() != before.spec.domain();
        if moved || renamed {
            let operation = || if moved { Operation::Readdress } else { Operation::Refresh };
            let asked = users.iter().map(|handle| handle.request(operation(), Reporter::silent()));
            for answered in join_all(asked).await {
                match answered {
                    // Deleted meanwhile.
                    Err(EngineError::NotFound { .. }) | Ok(_) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(self.network_view(&network))
    }

    /// Makes the host's side of a network what the ledger says, where it has one; and what rules say of it.
    async fn show_network(&self, network: &KnownNetwork, is_there: bool) -> Result<(), EngineError> {
        if is_there {
            if network.spec.dhcp.is_some() {
                // Who is to give addresses knows first which are instances'.
                self.restrict().await?;
            }
            let ensured = self.ports.network.ensure(network).await;
            ensured.map_err(|source| failed(network.spec.name.as_str(), source))?;
        }
        self.restrict().await
    }

    async fn delete_network(&self, id: NetworkId) -> Result<(), EngineError> {
        let _naming = self.naming.lock().await;
        let network = self.network(id)?;
        if network.is_default() {
            let draft = NetworkDraft { name: network.spec.name.to_string(), ..NetworkDraft::default() };
            let (mut spec, _) = draft.validate()?;
            spec.ipv4_subnet = network.spec.ipv4_subnet;
            spec.ipv6_subnet = network.spec.ipv6_subnet;
            if spec != network.spec {
                self.change_network(&network, spec).await?;
            }
            return Ok(());
        }
        // Who comes to be on a network does so in the same turns.
        let _choosing = self.choosing.lock().await;
        let users: Vec<_> =
            self.on_network(id).iter().map(|handle| handle.snapshot().record.name().to_owned()).collect();
        if !users.is_empty() {
            return Err(NetworkFault::InUse { name: network.spec.name.to_string(), users }.into());
        }
        let name = network.spec.name.as_str();
        if network.spec.is_made() {
            self.ports.network.release(&network).await.map_err(|source| failed(name, source))?;
        }
        self.ports.network.forget(&network).await.map_err(|source| failed(name, source))?;
        self.ledger.delete_network(KnownNetwork::clone(&network)).await?;
        self.networks.remove(id);
        self.restrict().await?;
        self.bus.emit(Subject::Network, &id, name, Action::Deleted, "");
        Ok(())
    }
}

fn failed(name: &str, source: NetworkError) -> EngineError {
    EngineError::Network { name: name.to_owned(), source }
}

impl Engine {
    /// Makes a network. The host has nothing of it before the first instance is on it.
    ///
    /// # Errors
    /// The draft is invalid, the name taken, or a subnet is another's.
    pub async fn create_network(&self, draft: &NetworkDraft) -> Result<NetworkView, EngineError> {
        let checked = draft.validate()?;
        self.run(|inner| async move { inner.create_network(checked).await }).await
    }

    /// One network.
    ///
    /// # Errors
    /// There is none.
    pub async fn get_network(&self, by: By<NetworkId>) -> Result<NetworkView, EngineError> {
        let found = match &by {
            By::Id(id) => self.inner.networks.get(*id),
            By::Name(name) => self.inner.networks.find(name),
        };
        let network = found.ok_or_else(|| EngineError::not_found(Kind::Network, by))?;
        let leases = self.inner.leases(&network).await?;
        Ok(NetworkView { leases, ..self.inner.network_view(&network) })
    }

    /// All networks, by name.
    #[must_use]
    pub fn list_networks(&self) -> Vec<NetworkView> {
        self.inner.networks.all().iter().map(|network| self.inner.network_view(network)).collect()
    }

    /// Changes a network. A new subnet restarts the instances on it; all else is in place.
    ///
    /// # Errors
    /// The draft is invalid, the name taken, a subnet is another's, there is none, or an instance does not come up again.
    pub async fn update_network(
        &self,
        id: NetworkId,
        draft: &NetworkDraft,
    ) -> Result<NetworkView, EngineError> {
        let checked = draft.validate()?;
        self.run(move |inner| async move { inner.update_network(id, checked).await }).await
    }

    /// Deletes a network that no instance is on. The one named `default` stays, as it was made.
    ///
    /// # Errors
    /// There is none, or an instance is on it.
    pub async fn delete_network(&self, id: NetworkId) -> Result<(), EngineError> {
        self.run(move |inner| async move { inner.delete_network(id).await }).await
    }
}
