/* SPDX-License-Identifier: Apache-2.0
 *
 * File systems by the number that statfs(2) tells. Those that a kernel's header does not name are given as numbers.
 */
#include "file_system.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/vfs.h>

static const char in_memory[] = "it is in memory: everything is lost when the machine stops, whatever is synced";
static const char on_network[] =
    "it is on the network: a sync is as good as its server, and locks may not reach from one "
    "machine to another; run one server on it only";
static const char in_layers[] = "a container's own layer: it goes with the container; mount a volume";
static const char by_program[] = "a program makes it (FUSE): a sync is as good as that program";
static const char by_host[] = "the host makes it: a sync is as good as the host";

static const struct {
    uint64_t magic;
    const char *name, *warning;
} known[] = {
    {EXT4_SUPER_MAGIC, "ext4", NULL},
    {XFS_SUPER_MAGIC, "xfs", NULL},
    {BTRFS_SUPER_MAGIC, "btrfs", NULL},
    {0x2FC12FC1, "zfs", NULL},
    {0xCA451A4E, "bcachefs", NULL},
    {F2FS_SUPER_MAGIC, "f2fs", NULL},
    {TMPFS_MAGIC, "tmpfs", in_memory},
    {RAMFS_MAGIC, "ramfs", in_memory},
    {OVERLAYFS_SUPER_MAGIC, "overlay", in_layers},
    {NFS_SUPER_MAGIC, "nfs", on_network},
    {SMB_SUPER_MAGIC, "smb", on_network},
    {0xFF534D42, "cifs", on_network},
    {0xFE534D42, "smb2", on_network},
    {CEPH_SUPER_MAGIC, "ceph", on_network},
    {AFS_SUPER_MAGIC, "afs", on_network},
    {FUSE_SUPER_MAGIC, "fuse", by_program},
    {V9FS_MAGIC, "9p", by_host},
    {MSDOS_SUPER_MAGIC, "vfat", "it has no journal: a power loss can damage the directory itself"},
};

enum err file_system_of(const char *path, struct file_system *out, struct diag *d)
{
    struct statfs s;
    while (statfs(path, &s) != 0)
        if (errno != EINTR)
            return diag_set(d, errno == ENOENT ? ERR_NOTFOUND : errno == EACCES ? ERR_DENIED : ERR_IO, "%s: %m", path);
    const uint64_t magic = (uint64_t)s.f_type & 0xFFFFFFFFu;
    snprintf(out->name, sizeof out->name, "0x%llx", (unsigned long long)magic);
    out->warning = NULL;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].magic == magic) {
            snprintf(out->name, sizeof out->name, "%s", known[i].name);
            out->warning = known[i].warning;
        }
    return OK;
}
