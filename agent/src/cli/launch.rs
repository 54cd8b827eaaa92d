//! `berth instance launch`

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use berth_proto::agent as wire;

use super::args::{Format, Launch};
use super::error::CliError;
use super::instance::{Client, follow};
use super::volume_flag::{self, Made};
use super::{Cli, output, show};

pub(super) async fn run(cli: &Cli, client: &mut Client, launch: Launch) -> Result<(), CliError> {
    let spec = spec(launch)?;
    let volumes = Made::of(cli, &spec.mounts).await?;
    let instance = match create(client, spec).await {
        Ok(instance) => instance,
        Err(error) => {
            volumes.undo().await?;
            return Err(error);
        }
    };
    match cli.format {
        Format::Json => output::json(&show::instance(&instance)),
        Format::Table => output::line(&instance.id),
    }
}

async fn create(client: &mut Client, spec: wire::InstanceSpec) -> Result<wire::Instance, CliError> {
    let request = wire::CreateInstanceRequest { spec: Some(spec) };
    let events = client.create_instance(request).await?.into_inner();
    follow(events).await?.ok_or(CliError::CutOff)
}

fn spec(launch: Launch) -> Result<wire::InstanceSpec, CliError> {
    let mut environment = HashMap::new();
    for variable in &launch.env {
        let (name, value) = variable
            .split_once('=')
            .ok_or_else(|| CliError::Usage(format!("--env takes KEY=VALUE, not \"{variable}\"")))?;
        environment.insert(name.to_owned(), wire::EnvironmentValue { value: Some(value.to_owned()) });
    }
    let mut ports = HashMap::new();
    for text in &launch.publish {
        let port = publish(text)?;
        let name = format!("{}-{}", port.protocol, port.container_port);
        // One port of an instance may be published on several of the host.
        let name = if ports.contains_key(&name) { format!("{name}-{}", port.host_port) } else { name };
        if ports.insert(name, port).is_some() {
            return Err(CliError::Usage(format!("--publish {text} is given twice")));
        }
    }
    let list = |values: Vec<String>| Some(wire::StringList { values });
    Ok(wire::InstanceSpec {
        name: launch.name,
        r#type: launch.kind,
        image: launch.reference,
        entrypoint: launch.entrypoint.and_then(|program| list(vec![program])),
        command: if launch.args.is_empty() { None } else { list(launch.args) },
        environment,
        ports,
        mounts: volume_flag::mounts(&launch.volume)?,
        networks: networks(&launch.network)?,
        running: true,
        ..wire::InstanceSpec::default()
    })
}

/// `NAME[:ADDRESS]`, an interface each; `none` is none.
fn networks(texts: &[String]) -> Result<Option<wire::InstanceNetworks>, CliError> {
    match texts {
        [] => return Ok(None),
        [none] if none == "none" => return Ok(Some(wire::InstanceNetworks::default())),
        texts if texts.iter().any(|text| text == "none") => {
            return Err(CliError::Usage("--network none goes with no other network".to_owned()));
        }
        _ => {}
    }
    let interface = |(index, text): (usize, &String)| {
        let (network, address) = text.split_once(':').unwrap_or((text, ""));
        let (network, ipv4_address) = (network.to_owned(), address.to_owned());
        let on = wire::InstanceNetwork { network, ipv4_address, ..wire::InstanceNetwork::default() };
        (format!("eth{index}"), on)
    };
    Ok(Some(wire::InstanceNetworks { interfaces: texts.iter().enumerate().map(interface).collect() }))
}

/// `[HOST:]PORT:PORT[/udp]`; the host's port may be 0, and one is chosen.
fn publish(text: &str) -> Result<wire::Port, CliError> {
    let bad = || CliError::Usage(format!("--publish takes [HOST:]PORT:PORT, not \"{text}\""));
    let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (rest, container_port) = rest.rsplit_once(':').ok_or_else(bad)?;
    let (host, host_port) = match rest.rsplit_once(':') {
        Some((host, port)) => {
            // Brackets tell an IPv6 address's own colons from the others.
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let address = match bare {
                Some(v6) => v6.parse::<Ipv6Addr>().map(IpAddr::V6),
                None => host.parse::<Ipv4Addr>().map(IpAddr::V4),
            };
            (address.map_err(|_| bad())?, port)
        }
        None => (Ipv4Addr::LOCALHOST.into(), rest),
    };
    let port = |text: &str| text.parse::<u16>().map_err(|_| bad());
    Ok(wire::Port {
        container_port: port(container_port)?.into(),
        host_port: port(host_port)?.into(),
        host_address: host.to_string(),
        protocol: match protocol {
            "tcp" | "udp" => protocol.to_owned(),
            _ => return Err(bad()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_network_is_an_interface_and_none_is_none() {
        let given = |texts: &[&str]| networks(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert_eq!(given(&[]).unwrap(), None);
        assert!(given(&["none"]).unwrap().unwrap().interfaces.is_empty());
        assert!(given(&["none", "web"]).unwrap_err().is_usage());
        let two = given(&["default", "web:10.1.2.3"]).unwrap().unwrap().interfaces;
        assert_eq!(
            (two["eth0"].network.as_str(), two["eth1"].ipv4_address.as_str()),
            ("default", "10.1.2.3")
        );
    }

    #[test]
    fn a_port_is_published_on_loopback_unless_it_says_where() {
        let port = publish("8080:80").unwrap();
        assert_eq!(
            (port.host_address.as_str(), port.host_port, port.container_port),
            ("127.0.0.1", 8080, 80)
        );
        let port = publish("0.0.0.0:53:5353/udp").unwrap();
        assert_eq!((port.host_address.as_str(), port.host_port, port.container_port), ("0.0.0.0", 53, 5353));
        assert_eq!(port.protocol, "udp");
        let port = publish("[::1]:8080:80").unwrap();
        assert_eq!((port.host_address.as_str(), port.host_port), ("::1", 8080));
        for bad in ["80", "a:80", "1:2:3", "8080:80/icmp", "127.0.0.1:99999:80", "::1:1:2", ""] {
            assert!(publish(bad).unwrap_err().is_usage(), "{bad}");
        }
    }
}
