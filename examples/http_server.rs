//! A small HTTP server on loopback that judges its callers, for `requests.sh`: it answers 200 to at most `MAX` requests
//! in any second and 429 to those above, and reports at the end.
//!
//! `cargo run --example http_server -- MAX REQUESTS` prints its port, serves that many requests, then its verdict.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<usize>());
    let (Some(Ok(max)), Some(Ok(requests))) = (args.next(), args.next()) else {
        return Err("usage: http_server MAX_PER_SECOND REQUESTS".into());
    };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());

    let (mut recent, mut refused, start) = (VecDeque::new(), 0, Instant::now());
    for stream in listener.incoming().take(requests) {
        let mut stream = stream?;
        let now = Instant::now();
        while recent.front().is_some_and(|&t| now - t >= Duration::from_secs(1)) {
            recent.pop_front();
        }
        let ok = recent.len() < max;
        if ok {
            recent.push_back(now);
        } else {
            refused += 1;
        }
        // Read the head, so that the client isn't cut off while it writes.
        for line in BufReader::new(&stream).lines() {
            if line?.is_empty() {
                break;
            }
        }
        let status = if ok { "200 OK" } else { "429 Too Many Requests" };
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    }
    println!("server: {requests} requests in {:.2} s, {refused} refused", start.elapsed().as_secs_f64());
    Ok(())
}
