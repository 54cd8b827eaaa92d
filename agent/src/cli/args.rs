//! The flags and arguments of `berth`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args as Arguments, Parser, Subcommand, ValueEnum};

use super::volume::VolumeVerb;

/// Berth's command line: images and instances of an agent.
#[derive(Debug, Parser)]
#[command(name = "berth", version, arg_required_else_help = true)]
pub struct Args {
    /// Where the agent is: unix:///PATH, https://HOST:PORT or ssh://[USER@]HOST[:PORT]
    /// [default: unix:///run/berth/agent.sock]
    #[arg(long, value_name = "ADDRESS", env = "BERTH_HOST", global = true, hide_env_values = true)]
    pub(super) host: Option<String>,
    /// How things are printed
    #[arg(long, value_enum, default_value = "table", global = true)]
    pub(super) format: Format,
    #[command(subcommand)]
    pub(super) noun: Noun,
}

/// How things are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Noun {
    /// Images of the host
    #[command(subcommand)]
    Image(ImageVerb),
    /// Instances: containers of the host
    #[command(subcommand)]
    Instance(InstanceVerb),
    /// Registries known by a name
    #[command(subcommand)]
    Remote(RemoteVerb),
    /// Networks of the host
    #[command(subcommand)]
    Network(NetworkVerb),
    /// Volumes of the host
    #[command(subcommand)]
    Volume(VolumeVerb),
    /// Follow what happens
    Events,
    /// What the host can do, and what is missing
    Check,
    /// Connect standard input and output to the agent: what ssh:// addresses run
    Proxy,
}

#[derive(Debug, Subcommand)]
pub(super) enum ImageVerb {
    /// List images
    Ls,
    /// Pull an image from its registry
    Pull {
        /// [REMOTE:|REGISTRY_HOST/]REPOSITORY[:TAG][@DIGEST]
        reference: String,
        /// Such as linux/arm64/v8; the host's own if left out
        #[arg(long, default_value = "", hide_default_value = true)]
        platform: String,
    },
    /// Show an image
    Inspect {
        /// Its id, at least 8 digits of it, or its reference
        image: String,
    },
    /// Take an image from an OCI archive, or from what docker save writes
    Import {
        /// A tar file (gzip or zstd or not), the directory of an OCI layout, or - for standard input
        archive: String,
        /// What the image is called from now on, and which image, where the archive holds several
        #[arg(long, default_value = "", hide_default_value = true)]
        reference: String,
        /// Such as linux/arm64/v8; the host's own if left out
        #[arg(long, default_value = "", hide_default_value = true)]
        platform: String,
    },
    /// Write an image into an OCI archive
    Export {
        /// Its id, at least 8 digits of it, or its reference
        image: String,
        /// The file; standard output if left out
        #[arg(long, short)]
        output: Option<std::path::PathBuf>,
        /// Fetch the original manifest and layers from the registry
        #[arg(long)]
        refetch: bool,
    },
    /// Verify what is stored against the digests that name it
    Check {
        /// Ids, at least 8 digits of them, or references; all images if left out
        images: Vec<String>,
        /// Fetch again what is damaged
        #[arg(long)]
        repair: bool,
    },
    /// Remove images that nothing pins or uses
    Prune {
        /// Only say what would go, and how much
        #[arg(long)]
        dry_run: bool,
    },
    /// List the tags of a repository
    Tags {
        /// [REMOTE:|REGISTRY_HOST/]REPOSITORY
        repository: String,
    },
    /// List the repositories of a registry
    Search {
        /// A remote's name, or a registry's host
        remote: String,
    },
    /// Remove an image, unless something else still needs it
    Rm {
        /// Their ids, at least 8 digits of them, or their references
        #[arg(required = true)]
        images: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum InstanceVerb {
    /// List instances
    Ls,
    /// Show instances
    Inspect {
        /// The instance
        name: String,
    },
    /// Make an instance of an image and start it
    Launch(Launch),
    /// Start instances
    Start {
        /// The instances
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Stop instances
    Stop {
        /// Kill them at once
        #[arg(long)]
        force: bool,
        /// The instances
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Stop and start instances
    Restart {
        /// Kill them at once
        #[arg(long)]
        force: bool,
        /// The instances
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Run a command inside a running instance
    Exec(Exec),
    /// Put a file into a running instance
    Push(Push),
    /// Get a file out of a running instance
    Pull(Pull),
    /// Print what an instance wrote
    Logs(Logs),
    /// Show what instances use: CPU, memory, disks, networks and processes
    Stats {
        /// The instances; all that run if left out
        names: Vec<String>,
    },
    /// Remove instances and their files
    Rm {
        /// Kill those that run; without, they are refused
        #[arg(long)]
        force: bool,
        /// The instances
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Arguments)]
pub(super) struct Launch {
    /// The image: an id, or a reference, which is pulled if it is not there
    pub(super) reference: String,
    /// The instance's name
    #[arg(long, short, value_name = "NAME")]
    pub(super) name: String,
    /// What kind of instance
    #[arg(long = "type", value_name = "TYPE", default_value = "container")]
    pub(super) kind: String,
    /// A variable of the environment; may be given more than once
    #[arg(long, short, value_name = "KEY=VALUE")]
    pub(super) env: Vec<String>,
    /// The program, instead of the image's own
    #[arg(long, value_name = "PROGRAM")]
    pub(super) entrypoint: Option<String>,
    /// Lead a port of the host to one of the instance; without HOST it is 127.0.0.1; may be given more than once
    #[arg(long, short, value_name = "[HOST:]PORT:PORT[/udp]")]
    pub(super) publish: Vec<String>,
    /// A network, and an address on it; may be given more than once. Default: the network default; "none" is none
    #[arg(long, short, value_name = "NAME[:ADDRESS]")]
    pub(super) network: Vec<String>,
    /// Mount a volume, which is made if it is not there, or a path of the host; may be given more than once
    #[arg(long, short, value_name = "NAME:TARGET[:ro]")]
    pub(super) volume: Vec<String>,
    /// Arguments, instead of the image's own
    #[arg(last = true)]
    pub(super) args: Vec<String>,
}

#[derive(Debug, Arguments)]
pub(super) struct Exec {
    /// Pass standard input on
    #[arg(short)]
    pub(super) interactive: bool,
    /// Run it on a terminal
    #[arg(short)]
    pub(super) terminal: bool,
    /// The instance
    pub(super) name: String,
    /// The command
    #[arg(last = true, required = true)]
    pub(super) command: Vec<OsString>,
}

#[derive(Debug, Arguments)]
pub(super) struct Push {
    /// Who owns it inside: a number
    #[arg(long, default_value_t = 0)]
    pub(super) uid: u32,
    /// Its group inside: a number
    #[arg(long, default_value_t = 0)]
    pub(super) gid: u32,
    /// Its permissions, such as 0600; the file's own if left out
    #[arg(long, value_name = "OCTAL", value_parser = mode)]
    pub(super) mode: Option<u32>,
    /// The file; - is standard input
    pub(super) source: PathBuf,
    /// The instance and where; after a last slash it has its own name
    #[arg(value_name = "NAME:PATH")]
    pub(super) target: String,
}

#[derive(Debug, Arguments)]
pub(super) struct Pull {
    /// The instance and the file in it
    #[arg(value_name = "NAME:PATH")]
    pub(super) source: String,
    /// A file or a directory; - is standard output
    pub(super) target: PathBuf,
}

fn mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| "permissions are octal digits such as 0644".to_owned())
}

#[derive(Debug, Arguments)]
pub(super) struct Logs {
    /// Go on with what comes
    #[arg(long, short)]
    pub(super) follow: bool,
    /// Not before this: a moment such as 2026-01-31T12:00:00Z, or an age such as 10m
    #[arg(long, value_name = "TIME")]
    pub(super) since: Option<String>,
    /// The last so many lines
    #[arg(long, value_name = "LINES")]
    pub(super) tail: Option<u32>,
    /// The instance
    pub(super) name: String,
}

#[derive(Debug, Subcommand)]
pub(super) enum RemoteVerb {
    /// List registries
    Ls,
    /// Give a registry a name
    Add {
        /// The name
        name: String,
        /// https://HOST[:PORT][/PATH], or http:// with --insecure
        address: String,
        /// Plain HTTP
        #[arg(long)]
        insecure: bool,
        /// Who logs in
        #[arg(long, value_name = "USER")]
        username: Option<String>,
        /// Read the password from standard input
        #[arg(long, requires = "username")]
        password_stdin: bool,
    },
    /// Forget registries
    Rm {
        /// The names
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum NetworkVerb {
    /// List networks
    Ls,
    /// Show a network
    Inspect {
        /// The network
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn exec_takes_both_flags_in_one_and_everything_after_the_dashes() {
        let args = Args::try_parse_from(["berth", "instance", "exec", "-it", "web", "--", "sh", "-c", "x"]);
        let Noun::Instance(InstanceVerb::Exec(exec)) = args.unwrap().noun else { panic!() };
        assert!(exec.interactive && exec.terminal);
        assert_eq!((exec.name.as_str(), exec.command.len()), ("web", 3));
    }

    #[test]
    fn wrong_usage_is_told_from_help() {
        for wrong in [
            &["berth", "image", "pull"][..],
            &["berth", "instance", "launch", "x"],
            &["berth", "instance", "exec", "web"],
            &["berth", "remote", "add", "a", "https://b", "--password-stdin"],
            &["berth", "--format", "yaml", "check"],
        ] {
            assert!(Args::try_parse_from(wrong).unwrap_err().use_stderr(), "{wrong:?}");
        }
        assert!(!Args::try_parse_from(["berth", "--help"]).unwrap_err().use_stderr());
    }
}
