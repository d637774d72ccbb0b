"""Is a folder on a disk of this machine? Some ways of sharing files between programs work there alone."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

# File systems that Linux keeps on a device or in memory of this machine; what is not listed counts as remote.
_DISKS = {"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "jfs", "reiserfs", "nilfs2", "squashfs", "iso9660", "udf"}
_OTHERS = {"tmpfs", "ramfs", "overlay", "overlayfs", "aufs", "ecryptfs", "vfat", "exfat", "ntfs", "ntfs3", "fuseblk", "hfsplus", "apfs"}
_LOCAL = _DISKS | _OTHERS
_DRIVE_REMOTE = 4


def is_local(folder: Path) -> bool:
    """Tell whether `folder` is known to lie on a disk of this machine; in doubt it does not."""
    if os.name == "nt":
        return _is_local_drive(folder)
    return file_system_of(folder) in _LOCAL  # beside Linux there is no list of mounts, so that nothing counts as local


def file_system_of(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the type of the file system that holds a folder, such as "ext4" or "nfs4"; "" when it cannot be told."""
    with suppress(OSError):
        resolved = folder.resolve()
        best, kind = -1, ""
        for line in mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
            fields = line.split(" ")
            if len(fields) < 3:
                continue
            place = Path(_unescaped(fields[1]))
            if resolved.is_relative_to(place) and len(place.parts) >= best:  # a later mount covers an earlier one
                best, kind = len(place.parts), fields[2]
        return kind
    return ""


def _unescaped(text: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def _is_local_drive(folder: Path) -> bool:
    import ctypes

    anchor = folder.resolve().anchor
    if anchor.startswith("\\\\"):
        return False
    return bool(ctypes.windll.kernel32.GetDriveTypeW(anchor) != _DRIVE_REMOTE)  # type: ignore[attr-defined,unused-ignore]
