//! Kinds of file systems by the number that `statfs` gives them.

/// (number, name, whether several hosts can have it mounted at the same time)
const KINDS: [(u64, &str, bool); 37] = [
    (0x0102_1994, "tmpfs", false),
    (0x8584_58f6, "ramfs", false),
    (0x9584_58f6, "hugetlbfs", false),
    (0xef53, "ext4", false),
    (0x5846_5342, "xfs", false),
    (0x9123_683e, "btrfs", false),
    (0xf2f5_2010, "f2fs", false),
    (0x2fc1_2fc1, "zfs", false),
    (0xca45_1a4e, "bcachefs", false),
    (0x794c_7630, "overlayfs", false),
    (0x6175_6673, "aufs", false),
    (0x6573_5546, "FUSE", false),
    (0xf15f, "ecryptfs", false),
    (0x4d44, "vfat", false),
    (0x2011_bab0, "exfat", false),
    (0x5346_544e, "ntfs", false),
    (0x7366_746e, "ntfs3", false),
    (0x7371_7368, "squashfs", false),
    (0xe0f5_e1e2, "erofs", false),
    (0x6969, "NFS", true),
    (0x517b, "SMB", true),
    (0xff53_4d42, "CIFS", true),
    (0xfe53_4d42, "SMB", true),
    (0x5346_414f, "AFS", true),
    (0x6b41_4653, "AFS", true),
    (0x7375_7245, "Coda", true),
    (0x00c3_6400, "Ceph", true),
    (0x0102_1997, "9P", true),
    (0x0bd0_0bd0, "Lustre", true),
    (0x4750_4653, "GPFS", true),
    (0x7461_636f, "OCFS2", true),
    (0x0116_1970, "GFS2", true),
    (0x2003_0528, "OrangeFS", true),
    (0x1983_0326, "BeeGFS", true),
    (0xaad7_aaea, "PanFS", true),
    (0x564c, "NCP", true),
    (0x786f_4256, "a VirtualBox shared folder", true),
];

fn find(kind: u64) -> Option<&'static (u64, &'static str, bool)> {
    KINDS.iter().find(|(number, ..)| *number == kind)
}

/// What people call it.
pub(crate) fn name(kind: u64) -> Option<&'static str> {
    find(kind).map(|&(_, name, _)| name)
}

/// Whether several hosts can have it mounted. (FUSE doesn't say what is behind it.)
pub(crate) fn is_shared_by_hosts(kind: u64) -> bool {
    find(kind).is_some_and(|&(.., shared)| shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_file_systems_are_told_from_local_ones() {
        for (kind, called) in
            [(libc::NFS_SUPER_MAGIC, "NFS"), (libc::SMB_SUPER_MAGIC, "SMB"), (0x0102_1997, "9P")]
        {
            assert_eq!(name(kind as u64), Some(called));
            assert!(is_shared_by_hosts(kind as u64), "{called}");
        }
        for (kind, called) in [
            (libc::TMPFS_MAGIC, "tmpfs"),
            (libc::EXT4_SUPER_MAGIC, "ext4"),
            (libc::OVERLAYFS_SUPER_MAGIC, "overlayfs"),
            (libc::FUSE_SUPER_MAGIC, "FUSE"),
        ] {
            assert_eq!(name(kind as u64), Some(called));
            assert!(!is_shared_by_hosts(kind as u64), "{called}");
        }
        assert_eq!(name(1), None);
    }
}
