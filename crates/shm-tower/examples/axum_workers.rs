//! Several worker processes share a port and a limit. Run `cargo run --example axum_workers -- 8080 4`, then
//! `curl -i localhost:8080`. With `wait` as a third argument, requests wait up to a second for their turn, and the request of a
//! client that hangs up leaves the line. Each worker has its own listening socket (SO_REUSEPORT), and the kernel distributes
//! connections.

use axum::{Extension, Router, routing::get};
use shm_lib::{OnMismatch, RateLimit};
use shm_tower::{Admitted, Mode, OnError, RateLimitLayer};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["worker", port] => worker(port.parse()?, Mode::Reject).await,
        ["worker", port, "wait"] => worker(port.parse()?, Mode::WaitUpTo(Duration::from_secs(1))).await,
        [port, workers] => supervise(port.parse()?, workers.parse()?, None),
        [port, workers, mode @ "wait"] => supervise(port.parse()?, workers.parse()?, Some(mode)),
        _ => Err("usage: axum_workers PORT WORKERS [wait]".into()),
    }
}

async fn worker(port: u16, mode: Mode) -> Result<()> {
    // All workers share the budget of this name: 100 requests per second together, and bursts of 20. A worker that starts after
    // an operator has changed the limiter (`shm-limit set axum-workers --rate 50/s`) accepts that change.
    let limit = RateLimit::builder("axum-workers").burst(20).on_mismatch(OnMismatch::Keep);
    let limit = limit.open(100, Duration::from_secs(1))?;
    let layer = RateLimitLayer::new(limit, mode, OnError::FailClosed);
    let app = Router::new().route("/", get(hello)).layer(layer);
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
fn supervise(port: u16, workers: usize, mode: Option<&str>) -> Result<()> {
    // A bound socket that does not listen reserves the port; port 0 chooses a free one.
    let address = bound(port)?;
    let port = address.local_addr()?.port();
    let spawn = |_| {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["worker", &port.to_string()]).args(mode).stdin(Stdio::piped()).spawn()
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
