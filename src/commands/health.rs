//! `tidegate health`: asks the daemon on the same machine whether it is alive, for container health checks. Plain
//! blocking I/O, so that a probe every few seconds costs next to nothing.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::{CommandError, Exit, HealthArgs};
use crate::config::Config;

/// Time limit of the whole probe.
const WITHIN: Duration = Duration::from_secs(3);
/// Enough for the status line.
const RESPONSE_BYTES_MAX: usize = 1_024;

pub(crate) fn run(config_path: &Path, env: &BTreeMap<String, String>, args: &HealthArgs) -> anyhow::Result<Exit> {
    let address = reachable(match args.listen {
        Some(listen) => listen,
        None => configured(config_path, env)?,
    });
    let problem = match ask(address, Instant::now() + WITHIN) {
        Ok(response) if response.starts_with("HTTP/1.1 200") => return Ok(Exit::Done),
        Ok(_) => "the response does not have status 200".to_owned(),
        Err(error) => error.kind().to_string(),
    };
    let hint = "check that `tidegate run` is running, and that `server.listen` is the same for both";
    Err(CommandError::failed(format!("the daemon does not respond at http://{address}/healthz: {problem}"), hint)
        .into())
}

/// The configured address. If the files have an error, the environment and the defaults are used: the daemon continues
/// with its previous configuration and must not be reported as dead.
fn configured(config_path: &Path, env: &BTreeMap<String, String>) -> anyhow::Result<SocketAddr> {
    let config = Config::load(config_path, env).or_else(|faults| Config::without_files(env).map_err(|_| faults))?;
    Ok(config.server.listen)
}

/// The address at which a server that listens on all interfaces can be reached from its own machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let host = match listen.ip() {
        IpAddr::V4(host) if host.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(host) if host.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    SocketAddr::new(host, listen.port())
}

fn ask(address: SocketAddr, deadline: Instant) -> io::Result<String> {
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let mut stream = TcpStream::connect_timeout(&address, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    write!(stream, "GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut response = Vec::new();
    while !response.contains(&b'\n') && response.len() < RESPONSE_BYTES_MAX {
        stream.set_read_timeout(Some(left()?))?;
        let mut piece = [0; RESPONSE_BYTES_MAX];
        match stream.read(&mut piece)? {
            0 => break,
            read => response.extend_from_slice(&piece[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&response).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_on_all_interfaces_is_asked_on_loopback() {
        for (listen, asked) in
            [("0.0.0.0:8080", "127.0.0.1:8080"), ("[::]:8080", "[::1]:8080"), ("10.0.0.7:9", "10.0.0.7:9")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }
}
