//! File system types, by their `statfs` magic numbers.

/// Who can modify a file on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Only programs on this kernel, through one page cache.
    Kernel,
    /// Other hosts, each with memory of its own.
    Hosts,
    /// Whoever the program behind it lets in, and whoever accesses the same data another way (the mirrored directory,
    /// another host, the other side of a virtual machine) through another page cache.
    Program,
}

use Reach::{Hosts, Kernel, Program};

const KINDS: [(u64, &str, Reach); 37] = [
    (0x0102_1994, "tmpfs", Kernel),
    (0x8584_58f6, "ramfs", Kernel),
    (0x9584_58f6, "hugetlbfs", Kernel),
    (0xef53, "ext4", Kernel),
    (0x5846_5342, "xfs", Kernel),
    (0x9123_683e, "btrfs", Kernel),
    (0xf2f5_2010, "f2fs", Kernel),
    (0x2fc1_2fc1, "zfs", Kernel),
    (0xca45_1a4e, "bcachefs", Kernel),
    (0x794c_7630, "overlayfs", Kernel),
    (0x6175_6673, "aufs", Kernel),
    (0x6573_5546, "FUSE", Program),
    (0xf15f, "ecryptfs", Kernel),
    (0x4d44, "vfat", Kernel),
    (0x2011_bab0, "exfat", Kernel),
    (0x5346_544e, "ntfs", Kernel),
    (0x7366_746e, "ntfs3", Kernel),
    (0x7371_7368, "squashfs", Kernel),
    (0xe0f5_e1e2, "erofs", Kernel),
    (0x6969, "NFS", Hosts),
    (0x517b, "SMB", Hosts),
    (0xff53_4d42, "CIFS", Hosts),
    (0xfe53_4d42, "SMB", Hosts),
    (0x5346_414f, "AFS", Hosts),
    (0x6b41_4653, "AFS", Hosts),
    (0x7375_7245, "Coda", Hosts),
    (0x00c3_6400, "Ceph", Hosts),
    (0x0102_1997, "9P", Hosts),
    (0x0bd0_0bd0, "Lustre", Hosts),
    (0x4750_4653, "GPFS", Hosts),
    (0x7461_636f, "OCFS2", Hosts),
    (0x0116_1970, "GFS2", Hosts),
    (0x2003_0528, "OrangeFS", Hosts),
    (0x1983_0326, "BeeGFS", Hosts),
    (0xaad7_aaea, "PanFS", Hosts),
    (0x564c, "NCP", Hosts),
    (0x786f_4256, "a VirtualBox shared folder", Hosts),
];

fn find(kind: u64) -> Option<&'static (u64, &'static str, Reach)> {
    KINDS.iter().find(|(number, ..)| *number == kind)
}

/// The common name.
pub(crate) fn name(kind: u64) -> Option<&'static str> {
    find(kind).map(|&(_, name, _)| name)
}

/// Who can modify its files. An unknown type counts as local; the rest is proved.
pub(crate) fn reach(kind: u64) -> Reach {
    find(kind).map_or(Kernel, |&(.., reach)| reach)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_and_local_file_systems_are_distinguished() {
        for (kind, called) in
            [(libc::NFS_SUPER_MAGIC, "NFS"), (libc::SMB_SUPER_MAGIC, "SMB"), (0x0102_1997, "9P")]
        {
            assert_eq!(name(kind as u64), Some(called));
            assert_eq!(reach(kind as u64), Hosts, "{called}");
        }
        for (kind, called) in [
            (libc::TMPFS_MAGIC, "tmpfs"),
            (libc::EXT4_SUPER_MAGIC, "ext4"),
            (libc::OVERLAYFS_SUPER_MAGIC, "overlayfs"),
        ] {
            assert_eq!(name(kind as u64), Some(called));
            assert_eq!(reach(kind as u64), Kernel, "{called}");
        }
        assert_eq!(
            (name(libc::FUSE_SUPER_MAGIC as u64), reach(libc::FUSE_SUPER_MAGIC as u64)),
            (Some("FUSE"), Program)
        );
        assert_eq!((name(1), reach(1)), (None, Kernel));
    }
}
