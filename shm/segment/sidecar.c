/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/segment/sidecar.h"

#include <errno.h>

void mr_sidecar_header_encode(uint8_t *at, uint32_t salt, const struct mr_uuid *topic_id, uint32_t partition, uint64_t base_offset)
{
    struct mr_sidecar_header header = {
        .magic = MR_SIDECAR_MAGIC,
        .version = MR_SIDECAR_VERSION,
        .salt = salt,
        .topic_id = *topic_id,
        .partition = partition,
        .base_offset = base_offset,
    };

    header.crc = mr_crc32c(0, &header, offsetof(struct mr_sidecar_header, crc));
    memcpy(at, &header, sizeof header);
}

int mr_sidecar_header_check(const uint8_t *at, struct mr_sidecar_header *header)
{
    memcpy(header, at, sizeof *header);
    if (header->magic != MR_SIDECAR_MAGIC || header->crc != mr_crc32c(0, header, offsetof(struct mr_sidecar_header, crc)))
        return -EBADMSG;
    return header->version == MR_SIDECAR_VERSION ? 0 : -ENOTSUP;
}

static uint32_t cut_chain(uint32_t previous_chain, const struct mr_sidecar_entry *entry)
{
    uint32_t words[4] = {previous_chain, entry->position, entry->batch_bytes, entry->base_offset_delta};
    return mr_crc32c(0, words, sizeof words);
}

struct mr_sidecar_entry mr_sidecar_cut_next(uint32_t previous_chain, uint32_t position, uint32_t next_offset_delta)
{
    struct mr_sidecar_entry entry = {MR_SIDECAR_CUT, position, next_offset_delta, 0};

    entry.chain = cut_chain(previous_chain, &entry);
    return entry;
}

bool mr_sidecar_check_entry(const struct mr_sidecar_entry *entry, uint32_t previous_chain, uint32_t position, const uint8_t *batch,
                            uint64_t segment_base_offset)
{
    struct mr_sidecar_entry right = mr_sidecar_entry_next(previous_chain, position, batch, segment_base_offset);

    return memcmp(entry, &right, sizeof right) == 0;
}

bool mr_sidecar_check_cut(const struct mr_sidecar_entry *entry, uint32_t previous_chain)
{
    return mr_sidecar_is_cut(entry) && entry->chain == cut_chain(previous_chain, entry);
}
