//! One message is one write(2): the messages of processes that share a stream, such as those of `xargs -P`, do not
//! interleave. A datagram socket in the stream's place keeps the writes apart.

mod common;

use common::Sandbox;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

/// Runs the command with a socket as its standard output and another as its standard error: what each write held.
fn writes(sandbox: &Sandbox, args: &[&str], env: &[(&str, &str)]) -> [Vec<String>; 2] {
    let pair = || UnixDatagram::pair().unwrap();
    let ((out, to_out), (err, to_err)) = (pair(), pair());
    let mut command = sandbox.command(args);
    command.env_remove("CLICOLOR_FORCE").env_remove("NO_COLOR").envs(env.iter().copied());
    command.stdout(OwnedFd::from(to_out)).stderr(OwnedFd::from(to_err)).status().unwrap();
    // Its copies of the sockets.
    drop(command);
    [out, err].map(|socket| {
        socket.set_nonblocking(true).unwrap();
        let mut messages = Vec::new();
        let mut room = vec![0; 1 << 20];
        loop {
            match socket.recv(&mut room) {
                Ok(length) => messages.push(String::from_utf8(room[..length].to_vec()).unwrap()),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return messages,
                Err(e) => panic!("{e}"),
            }
        }
    })
}

#[test]
fn each_message_is_one_write() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["create", "api", "--rate", "1/h"]);
    sandbox.ok(&["create", "p", "--permits", "1"]);
    sandbox.ok(&["acquire", "api"]);
    std::fs::write(sandbox.path().join("junk"), "junk").unwrap();
    // Arguments, and how many messages there are on standard output and on standard error.
    for (args, counts) in [
        (&["list"][..], [1, 1]),
        (&["list", "--json"], [1, 0]),
        (&["inspect", "api"], [1, 0]),
        (&["inspect", "api", "--json"], [1, 0]),
        (&["inspect", "missing"], [0, 1]),
        (&["set", "api", "--rate", "2/h"], [1, 0]),
        (&["acquire", "api", "--try"], [1, 0]),
        (&["acquire", "api", "--try", "--json"], [1, 0]),
        (&["run", "api", "--try", "--", "true"], [0, 1]),
        (&["run", "missing", "--", "true"], [0, 1]),
        (&["run", "p", "--", "/no/such/command"], [0, 1]),
        (&["create", "x", "--from", "/dev/null"], [0, 1]),
        (&["no-such-command"], [0, 1]),
        (&["run", "api", "--tyr", "--", "true"], [0, 1]),
        (&["create", "x", "--rate", "5"], [0, 1]),
        (&["--help"], [1, 0]),
        (&["help", "run"], [1, 0]),
        (&["completions", "bash"], [1, 0]),
    ] {
        for colours in [&[][..], &[("CLICOLOR_FORCE", "1")]] {
            let [out, err] = writes(&sandbox, args, colours);
            assert_eq!([out.len(), err.len()], counts, "{args:?}: {out:?} {err:?}");
            assert!(out.iter().chain(&err).all(|message| message.ends_with('\n')), "{args:?}");
        }
    }
}
