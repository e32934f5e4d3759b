//! Nothing here: see `benches/`. `cargo bench -p shm-limit-benches` prints each figure beside its floor.
