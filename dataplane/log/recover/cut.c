/* SPDX-License-Identifier: Apache-2.0 */
/* A segment's files are cut to their last byte, which lies amid a block. File systems then write that block again, with zeros behind the
 * end; if power goes meanwhile, durable bytes of it may come back as garbage (D1), and after a roll no journal holds them any more. So:
 *
 *   1  `<base>.cut`, durable with its name: copies of what lies in the last block of both files
 *   2  cut and sync both files
 *   3  remove `<base>.cut`; should it come back, it says what is in the files anyway
 *
 *   struct mr_cut_file; data bytes; side bytes        recovery lays them over the files, below the journal's */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/crc32c.h"

#define CUT_MAGIC 0x317475637272724dull /* "Mrrrcut1" */

struct mr_cut_file {
    uint64_t magic;
    uint64_t base_offset;
    uint64_t data_position, side_position; /* of the copies, in their files */
    uint32_t data_bytes, side_bytes;
    uint32_t salt;                         /* of the segment */
    uint32_t crc;                          /* of the bytes before, then of the copies */
};
static_assert(sizeof(struct mr_cut_file) == 48, "format");

static uint32_t cut_crc(const struct mr_cut_file *cut, const uint8_t *copies)
{
    uint32_t crc = mr_crc32c(0, cut, offsetof(struct mr_cut_file, crc));
    return mr_crc32c(crc, copies, (size_t)cut->data_bytes + cut->side_bytes);
}

static int write_copy(struct mr_disk *disk, const char *partition_path, uint64_t base_offset, const int file[2], const uint64_t end[2],
                      struct millrace_error *err)
{
    uint8_t content[sizeof(struct mr_cut_file) + 2 * MR_BLOCK_BYTES], header_bytes[MR_SIDECAR_HEADER_BYTES];
    struct mr_sidecar_header header;
    char name[64];
    uint64_t got = 0;
    struct mr_cut_file cut = {
        .magic = CUT_MAGIC,
        .base_offset = base_offset,
        .data_position = mr_align_down(end[0], MR_BLOCK_BYTES),
        .side_position = mr_align_down(end[1], MR_BLOCK_BYTES),
        .data_bytes = (uint32_t)(end[0] % MR_BLOCK_BYTES),
        .side_bytes = (uint32_t)(end[1] % MR_BLOCK_BYTES),
    };
    uint8_t *copies = content + sizeof cut;
    int rc = mr_recover_read(disk, file[0], copies, cut.data_bytes, cut.data_position, &got);
    if (rc == 0 && got == cut.data_bytes)
        rc = mr_recover_read(disk, file[1], copies + cut.data_bytes, cut.side_bytes, cut.side_position, &got);
    if (rc == 0 && got == cut.side_bytes)
        rc = mr_recover_read(disk, file[1], header_bytes, sizeof header_bytes, 0, &got);
    if (rc != 0 || got != sizeof header_bytes || mr_sidecar_header_check(header_bytes, &header) != 0)
        return mr_err(err, rc != 0 ? -rc : EBADMSG, "reading the end of segment %llu in '%s' failed", (unsigned long long)base_offset,
                      partition_path);
    cut.salt = header.salt;
    cut.crc = cut_crc(&cut, copies);
    memcpy(content, &cut, sizeof cut);
    snprintf(name, sizeof name, "%020llu.cut", (unsigned long long)base_offset);
    return mr_recover_replace_file(disk, partition_path, name, content, sizeof cut + cut.data_bytes + cut.side_bytes, err);
}

int mr_segment_cut(struct mr_disk *disk, const char *partition_path, uint64_t base_offset, uint64_t data_bytes, uint64_t side_bytes,
                   struct millrace_error *err)
{
    static const char *const suffix[2] = {".log", ".sidecar"};
    const uint64_t end[2] = {data_bytes, side_bytes};
    char path[MR_RECOVER_PATH_MAX];
    int file[2] = {-1, -1}, rc = 0;
    bool is_cut = true;

    for (uint32_t i = 0; rc == 0 && i < 2; i++) {
        mr_segment_path(path, partition_path, base_offset, suffix[i]);
        file[i] = mr_disk_open(disk, path, 0, err);
        int64_t size = file[i] < 0 ? file[i] : mr_disk_size(disk, file[i]);
        rc = size < 0 ? (int)size : 0;
        is_cut = is_cut && size == (int64_t)end[i];
        if (rc == 0 && size < (int64_t)end[i])
            rc = -EBADMSG;
    }
    if (rc == 0 && !is_cut && (data_bytes % MR_BLOCK_BYTES != 0 || side_bytes % MR_BLOCK_BYTES != 0))
        rc = write_copy(disk, partition_path, base_offset, file, end, err);
    for (uint32_t i = 0; rc == 0 && i < 2; i++) {
        rc = is_cut ? 0 : mr_disk_truncate(disk, file[i], end[i]);
        if (rc == 0)
            rc = mr_disk_sync(disk, file[i]);
    }
    for (uint32_t i = 0; i < 2; i++)
        if (file[i] >= 0)
            (void)mr_disk_close(disk, file[i]);
    mr_segment_path(path, partition_path, base_offset, ".cut");
    if (rc == 0 && !is_cut)
        rc = mr_disk_unlink(disk, path);
    if (rc == -ENOENT)
        rc = 0;
    if (rc != 0)
        return mr_err(err, -rc, "cutting segment %llu in '%s' to its end (%llu, sidecar %llu bytes) failed: %s", (unsigned long long)base_offset,
                      partition_path, (unsigned long long)data_bytes, (unsigned long long)side_bytes, strerror(-rc));
    return 0;
}

int mr_cut_load(struct mr_recovery *recovery, const char *partition_path, uint64_t base_offset, uint32_t *salt, struct mr_overlay_range *data,
                struct mr_overlay_range *side)
{
    char path[MR_RECOVER_PATH_MAX];
    struct mr_cut_file cut;
    uint64_t bytes = 0;
    int rc;
    mr_segment_path(path, partition_path, base_offset, ".cut");
    uint8_t *memory = mr_recover_read_file(recovery->disk, path, &bytes, &rc);
    if (memory == NULL)
        return rc == -ENOENT ? 0 : rc;
    if (bytes >= sizeof cut) {
        memcpy(&cut, memory, sizeof cut);
        if (cut.magic == CUT_MAGIC && cut.base_offset == base_offset && cut.data_bytes <= MR_BLOCK_BYTES && cut.side_bytes <= MR_BLOCK_BYTES &&
            bytes == sizeof cut + cut.data_bytes + cut.side_bytes && cut.crc == cut_crc(&cut, memory + sizeof cut)) {
            uint8_t *copies = mr_recover_keep(recovery, 2 * MR_BLOCK_BYTES);
            rc = copies == NULL ? -ENOMEM : 1;
            if (copies != NULL) {
                memcpy(copies, memory + sizeof cut, cut.data_bytes + cut.side_bytes);
                *data = (struct mr_overlay_range){.position = cut.data_position, .bytes = cut.data_bytes, .from = copies};
                *side = (struct mr_overlay_range){.position = cut.side_position, .bytes = cut.side_bytes, .from = copies + cut.data_bytes};
                *salt = cut.salt;
            }
        }
    }
    free(memory);
    return rc; /* damaged or torn: as if it were not there; the files say whether that matters */
}
