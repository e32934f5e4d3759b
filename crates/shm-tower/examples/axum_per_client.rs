//! Several worker processes limit each client, and all clients together. Run `cargo run --example axum_per_client -- 8080 4`, then
//! `curl -i localhost:8080`, and as a proxy on this host would, `curl -i -H 'X-Forwarded-For: 203.0.113.9' localhost:8080`. Each
//! worker has its own listening socket (SO_REUSEPORT), and the kernel distributes connections.

use axum::extract::ConnectInfo;
use axum::{Extension, Router, routing::get};
use shm_lib::{KeyedRateLimit, Limit, OnMismatch, Rate};
use shm_tower::{Admitted, ClientIp, Mode, OnError, ProxyHeader, RateLimitLayer};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker", port] => worker(port.parse()?).await,
        [port, workers] => supervise(port.parse()?, workers.parse()?),
        _ => Err("usage: axum_per_client PORT WORKERS".into()),
    }
}

async fn worker(port: u16) -> Result<()> {
    // All workers share the budgets. An IPv4 address may make 20 requests at once, and one every three minutes after that; so may
    // an IPv6 network of 64 bits. The networks of 64 bits within one of 48 bits have 60 together, and all clients together 500.
    let per_hour = |n| Limit::with_burst(Rate::per_hour(n)?, n);
    let limit = KeyedRateLimit::builder("axum-per-client")
        .burst(20)
        .and(per_hour(60)?)
        .in_all(per_hour(500)?)
        .capacity(100_000)
        .on_mismatch(OnMismatch::Keep)
        .open_rate(Rate::per_hour(20)?)?;

    // A proxy on this host adds the address of its peer to X-Forwarded-For.
    let client = ClientIp::from_extension(|ConnectInfo(peer): &ConnectInfo<SocketAddr>| peer.ip())
        .trusted_proxies(ProxyHeader::XForwardedFor, ["127.0.0.1", "::1"])?
        .ipv6_prefixes([64, 48]);
    let layer = RateLimitLayer::per_key(limit, client, Mode::Reject, OnError::FailClosed);

    let app = Router::new().route("/", get(hello)).layer(layer);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(bound(port)?.listen(1024)?, app).with_graceful_shutdown(end_of_supervisor()).await?;
    Ok(())
}

async fn hello(Extension(admitted): Extension<Admitted>) -> String {
    format!("worker {} admitted you at {}\n", std::process::id(), admitted.at.as_nanos())
}

/// The supervisor holds the other end of this process's stdin and never writes to it. However the supervisor ends, this reads
/// end of file.
async fn end_of_supervisor() {
    let _ = tokio::io::stdin().read_u8().await;
}

/// Starts the workers, and waits for them.
fn supervise(port: u16, workers: usize) -> Result<()> {
    // A bound socket that does not listen reserves the port; port 0 chooses a free one.
    let address = bound(port)?;
    let port = address.local_addr()?.port();
    let spawn = |_| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["worker", &port.to_string()]).stdin(Stdio::piped()).spawn()
    };
    let mut children = (0..workers).map(spawn).collect::<std::io::Result<Vec<_>>>()?;
    let pids: Vec<u32> = children.iter().map(Child::id).collect();
    println!("http://127.0.0.1:{port} served by {pids:?}");
    // Taken out of the children, because `Child::wait` would close it.
    let _inputs: Vec<_> = children.iter_mut().map(|child| child.stdin.take()).collect();
    for child in &mut children {
        child.wait()?;
    }
    Ok(())
}

fn bound(port: u16) -> Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    Ok(socket)
}
