//! `shm-limit man DIR`.

use crate::exit::{DONE, Failure};
use crate::man;
use crate::output::{self, printable};
use std::fs;
use std::path::Path;

/// Writes one page for the program and one for each command.
pub(crate) fn man(dir: &Path) -> Result<u8, Failure> {
    let mut names = Vec::new();
    for page in man::pages() {
        let file = dir.join(&page.file);
        fs::write(&file, page.text)
            .map_err(|e| Failure::new(format!("cannot write {}: {e}", printable::path(&file))))?;
        names.push(format!("{}\n", printable::path(&file)));
    }
    output::print(&names.concat())?;
    Ok(DONE)
}
