//! Limits per key: the topic `help keys`.

/// Its name.
pub(crate) const KEYS_TOPIC: &str = "keys";

/// `help keys`.
pub(crate) const KEYS: &str = "\
Limits per key

A limiter with limits per key limits each of many keys: users, IP addresses,
tokens. Each key has a budget of its own, which all processes share:

  shm-limit create users --keyed --rate 5/s --burst 10
  shm-limit run users --key=alice -- ./serve
  shm-limit acquire users --key=bob --try

A key is any text. Several --key are the parts of one key: --key alice
--key /login is another key than --key alice/login. --key-ip brings an IP
address into the form in which programs write it; of an IPv6 address it can
take the network: --key-ip 2001:db8::7/64. In a script write --key=\"$user\",
with the equals sign, for names that begin with a dash.

A limiter can have limits of all keys as well as limits per key; a request
takes from all of them or from none. --permits is a limit of all keys.

  shm-limit create users --keyed --rate 5/s --all-rate 2000/s --all-burst 100

The table of keys has a fixed size. Its --capacity is how many keys can owe
something at the same time: those that come within the time in which a key
recovers from a full burst (of 5/s with bursts of 10: within 2 s; of a fixed
window of an hour: within the hour; of a sliding counter: within two hours).
With several limits per key, the longest of these times counts. The capacity
is rounded up to whole pages of memory. With more keys than that, no key gets
more than its limit, but new keys begin to be denied: a new key starts with
the debt of the key that recovers first, and takes its place if it is
admitted. `shm-limit list` and `shm-limit inspect` warn from 85% of the
capacity on, and `inspect` says which capacity to choose.

What a key took cannot be given back, so a key has no reservations, and `run
--settle` only charges it more. There are no permits per key. Callers that
wait for the same key are served in no particular order among processes, and
no queue shows them. --max-waiters bounds the callers of each process that
wait for one key, and the line for the limits of all keys. Each command is a
process of its own, so it bounds no commands that wait for a key: give them
--timeout or --try.

  shm-limit inspect users                 the table, and who is denied most
  shm-limit inspect users --key alice     what alice has used
  shm-limit reset users --key alice       alice starts unused (of an address
                                          with several prefixes: also the
                                          networks, with all their clients)
  shm-limit charge users --key mallory -n 3000
                                          mallory is denied for ten minutes
                                          (at 5/s)
  shm-limit set users --rate 10/s         for each key
  shm-limit set users --all-rate 3000/s   for all keys together

`shm-limit create --help` describes the policy file, which can have several
limits of all keys.";
