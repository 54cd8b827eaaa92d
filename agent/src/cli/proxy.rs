//! `berth proxy`: what an `ssh://` address runs on the other host.

use tokio::io::{AsyncWriteExt, copy};
use tokio::net::UnixStream;

use super::Cli;
use super::error::CliError;
use crate::dial::{Address, DialError};

/// Connects standard input and output to the agent's socket, until either side ends.
pub(super) async fn run(cli: &Cli) -> Result<(), CliError> {
    let Address::Unix(path) = &cli.address else {
        return Err(CliError::Usage("proxy connects to a unix:// address only".to_owned()));
    };
    let stream = UnixStream::connect(path).await.map_err(|source| CliError::Dial {
        address: cli.address.clone(),
        source: DialError::Socket { path: path.clone(), source },
    })?;
    let (mut from_agent, mut to_agent) = stream.into_split();
    let (mut stdin, mut stdout) = (tokio::io::stdin(), tokio::io::stdout());
    let up = async {
        copy(&mut stdin, &mut to_agent).await?;
        to_agent.shutdown().await
    };
    let down = async {
        copy(&mut from_agent, &mut stdout).await?;
        stdout.flush().await
    };
    tokio::pin!(up, down);
    // When the client has said all, the agent's last answers are still passed on.
    let ended = tokio::select! {
        ended = &mut down => ended,
        sent = &mut up => match sent {
            Ok(()) => down.await,
            failed => failed,
        },
    };
    ended.map_err(CliError::Output)
}
