/* SPDX-License-Identifier: Apache-2.0 */
/* Contents and size of one simulated file. Each written block has two copies: what readers see (now) and what the medium holds (durable).
 *
 * F1  A sector whose two copies differ is unsynced or lost, or lies at or past cut_bytes.
 * F2  Bytes at or past now_bytes are zero in the now copy, so that a file that grows again reads as zeros there.
 * F3  At or past cut_bytes the durable copy is the content that belongs to the durable size: it returns whole, or not at all.
 * F4  A block with a page that readers can reach is backed. */
#include "drivers/disk/sim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shm/base/crc32c.h"

#define CHUNK_BYTES  ((uint64_t)MR_SIM_CHUNK_BLOCKS * MR_BLOCK_BYTES)
#define SECTOR_BYTES MR_SIM_DISK_SECTOR_BYTES

static uint32_t block_in_chunk(uint64_t block)
{
    return (uint32_t)(block % MR_SIM_CHUNK_BLOCKS);
}

static void page_release(struct mr_sim_page *page)
{
    if (page != NULL && --page->references == 0)
        free(page);
}

static void chunk_release(struct mr_sim_chunk *chunk)
{
    if (chunk == NULL || --chunk->references > 0)
        return;
    for (uint32_t i = 0; i < MR_SIM_CHUNK_BLOCKS; i++)
        page_release(chunk->page[i]);
    free(chunk);
}

/** The chunk to change: made when missing, copied when a clone shares it. */
static struct mr_sim_chunk *own_chunk(struct mr_sim_inode *inode, uint64_t index)
{
    if (index >= inode->chunk_count) {
        uint32_t room = inode->chunk_count;
        inode->chunk = mr_sim_grow(inode->chunk, (uint32_t)index + 1, &room, sizeof *inode->chunk);
        memset(inode->chunk + inode->chunk_count, 0, (room - inode->chunk_count) * sizeof *inode->chunk);
        inode->chunk_count = room;
    }
    struct mr_sim_chunk *chunk = inode->chunk[index];
    if (chunk != NULL && chunk->references == 1)
        return chunk;
    struct mr_sim_chunk *own = mr_sim_take(sizeof *own);
    if (chunk != NULL) {
        *own = *chunk;
        for (uint32_t i = 0; i < MR_SIM_CHUNK_BLOCKS; i++)
            if (own->page[i] != NULL)
                own->page[i]->references++;
        chunk->references--;
    }
    own->references = 1;
    inode->chunk[index] = own;
    return own;
}

/** The page to change, in a chunk that is ours. */
static struct mr_sim_page *own_page(struct mr_sim_chunk *chunk, uint32_t block)
{
    struct mr_sim_page *page = chunk->page[block];
    if (page != NULL && page->references == 1)
        return page;
    struct mr_sim_page *own = mr_sim_take(sizeof *own);
    if (page != NULL) {
        *own = *page;
        page->references--;
    }
    own->references = 1;
    chunk->page[block] = own;
    return own;
}

static void note_dirty(struct mr_sim_chunk *chunk, uint32_t block)
{
    uint64_t bit = (uint64_t)1 << block;
    struct mr_sim_page *page = chunk->page[block];
    if (page != NULL && (page->unsynced | page->lost) != 0)
        chunk->dirty |= bit;
    else
        chunk->dirty &= ~bit;
}

static bool size_is_pending(const struct mr_sim_inode *inode)
{
    return inode->now_bytes != inode->durable_bytes || inode->cut_bytes != UINT64_MAX;
}

/** Give back blocks from this one on. */
static void unback_from(struct mr_sim_disk_machine *machine, struct mr_sim_inode *inode, uint64_t block)
{
    for (uint64_t c = block / MR_SIM_CHUNK_BLOCKS; c < inode->chunk_count; c++) {
        if (inode->chunk[c] == NULL || inode->chunk[c]->backed == 0)
            continue;
        uint64_t first = c * MR_SIM_CHUNK_BLOCKS;
        uint64_t keep = block > first ? ((uint64_t)1 << (block - first)) - 1 : 0;
        uint64_t gone = inode->chunk[c]->backed & ~keep;
        if (gone == 0)
            continue;
        own_chunk(inode, c)->backed &= keep;
        uint64_t count = (uint64_t)__builtin_popcountll(gone);
        inode->backed_blocks -= count;
        machine->used_blocks -= count;
    }
}

/** The journal of the file system commits: the size, and with it the loss of what was cut off. */
static void commit_size(struct mr_sim_inode *inode)
{
    for (uint64_t c = inode->cut_bytes / CHUNK_BYTES; c < inode->chunk_count; c++) {
        for (uint32_t i = 0; inode->chunk[c] != NULL && i < MR_SIM_CHUNK_BLOCKS; i++) {
            uint64_t start = c * CHUNK_BYTES + (uint64_t)i * MR_BLOCK_BYTES;
            if (inode->chunk[c]->page[i] == NULL || start + MR_BLOCK_BYTES <= inode->cut_bytes)
                continue;
            struct mr_sim_chunk *chunk = own_chunk(inode, c);
            if (start >= inode->cut_bytes && start >= inode->now_bytes) {
                page_release(chunk->page[i]);
                chunk->page[i] = NULL;
                note_dirty(chunk, i);
                continue;
            }
            struct mr_sim_page *page = own_page(chunk, i);
            uint32_t from = start >= inode->cut_bytes ? 0 : (uint32_t)(inode->cut_bytes - start);
            memset(page->durable + from, 0, MR_BLOCK_BYTES - from);
        }
    }
    inode->durable_bytes = inode->now_bytes;
    inode->cut_bytes = UINT64_MAX;
}

int mr_sim_file_back(struct mr_sim_disk_machine *machine, struct mr_sim_inode *inode, uint64_t position, uint64_t bytes)
{
    if (bytes == 0)
        return 0;
    uint64_t first = position / MR_BLOCK_BYTES, end = (position + bytes - 1) / MR_BLOCK_BYTES + 1, missing = 0;
    for (uint64_t block = first; block < end; block++) {
        uint64_t c = block / MR_SIM_CHUNK_BLOCKS;
        bool is_backed = c < inode->chunk_count && inode->chunk[c] != NULL && (inode->chunk[c]->backed >> block_in_chunk(block) & 1) != 0;
        missing += !is_backed;
    }
    uint64_t capacity = machine->options.capacity_bytes;
    if (missing == 0)
        return 0;
    if (capacity != 0 && (machine->used_blocks + missing) * MR_BLOCK_BYTES > capacity)
        return -ENOSPC;
    for (uint64_t block = first; block < end; block++)
        own_chunk(inode, block / MR_SIM_CHUNK_BLOCKS)->backed |= (uint64_t)1 << block_in_chunk(block);
    inode->backed_blocks += missing;
    machine->used_blocks += missing;
    return 0;
}

/* The system may have written an unsynced sector back by itself before it is overwritten or dropped: then that is the old content. */
static void maybe_write_back(struct mr_sim_disk_machine *machine, struct mr_sim_page *page, uint32_t sector)
{
    uint32_t at = sector * SECTOR_BYTES;
    if ((page->unsynced >> sector & 1) != 0 && mr_random_chance(&machine->random, 1, 2))
        memcpy(page->durable + at, page->now + at, SECTOR_BYTES);
}

void mr_sim_file_write(struct mr_sim_disk_machine *machine, struct mr_sim_inode *inode, uint64_t position, const uint8_t *data, uint64_t bytes)
{
    /* The journal may commit an earlier change of size by itself: before this write, or it would take this one's blocks for cut off. */
    if (position + bytes > inode->now_bytes && size_is_pending(inode) && mr_random_chance(&machine->random, 1, 8))
        commit_size(inode);
    for (uint64_t done = 0; done < bytes;) {
        uint64_t block = (position + done) / MR_BLOCK_BYTES;
        uint32_t at = (uint32_t)((position + done) % MR_BLOCK_BYTES);
        uint32_t count = (uint32_t)mr_min_u64(MR_BLOCK_BYTES - at, bytes - done);
        struct mr_sim_chunk *chunk = own_chunk(inode, block / MR_SIM_CHUNK_BLOCKS);
        struct mr_sim_page *page = own_page(chunk, block_in_chunk(block));
        mr_assert((chunk->backed >> block_in_chunk(block) & 1) != 0); /* F4 */
        for (uint32_t s = at / SECTOR_BYTES; s <= (at + count - 1) / SECTOR_BYTES; s++) {
            if (block * MR_BLOCK_BYTES + s * SECTOR_BYTES < inode->cut_bytes)
                maybe_write_back(machine, page, s);
            page->unsynced |= (uint8_t)(1u << s);
            page->lost &= (uint8_t)~(1u << s);
        }
        if (data != NULL)
            memcpy(page->now + at, data + done, count);
        else
            memset(page->now + at, 0, count);
        note_dirty(chunk, block_in_chunk(block));
        done += count;
    }
    inode->now_bytes = mr_max_u64(inode->now_bytes, position + bytes);
}

void mr_sim_file_make_durable(struct mr_sim_inode *inode, uint64_t position, uint64_t bytes)
{
    /* W3: the write cannot be found after a cut without the size, or the new blocks, that it lies in. */
    if (position + bytes > mr_min_u64(inode->durable_bytes, inode->cut_bytes))
        commit_size(inode);
    for (uint64_t block = position / MR_BLOCK_BYTES; block * MR_BLOCK_BYTES < position + bytes; block++) {
        struct mr_sim_chunk *chunk = own_chunk(inode, block / MR_SIM_CHUNK_BLOCKS);
        struct mr_sim_page *page = own_page(chunk, block_in_chunk(block));
        for (uint32_t s = 0; s < MR_SIM_BLOCK_SECTORS; s++) {
            uint64_t start = block * MR_BLOCK_BYTES + s * SECTOR_BYTES;
            if (start + SECTOR_BYTES <= position || start >= position + bytes || (page->lost >> s & 1) != 0)
                continue;
            memcpy(page->durable + s * SECTOR_BYTES, page->now + s * SECTOR_BYTES, SECTOR_BYTES);
            page->unsynced &= (uint8_t)~(1u << s);
        }
        note_dirty(chunk, block_in_chunk(block));
    }
}

static void drop_now_from(struct mr_sim_disk_machine *machine, struct mr_sim_inode *inode, uint64_t bytes)
{
    for (uint64_t c = bytes / CHUNK_BYTES; c < inode->chunk_count; c++) {
        for (uint32_t i = 0; inode->chunk[c] != NULL && i < MR_SIM_CHUNK_BLOCKS; i++) {
            uint64_t start = c * CHUNK_BYTES + (uint64_t)i * MR_BLOCK_BYTES;
            if (inode->chunk[c]->page[i] == NULL || start + MR_BLOCK_BYTES <= bytes)
                continue;
            struct mr_sim_chunk *chunk = own_chunk(inode, c);
            struct mr_sim_page *page = own_page(chunk, i);
            for (uint32_t s = 0; s < MR_SIM_BLOCK_SECTORS; s++) {
                uint64_t from = start + s * SECTOR_BYTES;
                if (from + SECTOR_BYTES <= bytes)
                    continue;
                if (from < inode->cut_bytes)
                    maybe_write_back(machine, page, s);
                if (from >= bytes)
                    page->unsynced &= (uint8_t)~(1u << s); /* from now on F3 speaks for it */
                else
                    page->unsynced |= (uint8_t)(1u << s);
                page->lost &= (uint8_t)~(1u << s);
            }
            uint32_t from = start >= bytes ? 0 : (uint32_t)(bytes - start);
            memset(page->now + from, 0, MR_BLOCK_BYTES - from);
            note_dirty(chunk, i);
        }
    }
}

void mr_sim_file_resize(struct mr_sim_disk_machine *machine, struct mr_sim_inode *inode, uint64_t bytes)
{
    if (bytes == inode->now_bytes)
        return;
    if (size_is_pending(inode) && mr_random_chance(&machine->random, 1, 2))
        commit_size(inode);
    if (bytes < inode->now_bytes) {
        drop_now_from(machine, inode, bytes);
        unback_from(machine, inode, (bytes + MR_BLOCK_BYTES - 1) / MR_BLOCK_BYTES);
        inode->cut_bytes = mr_min_u64(inode->cut_bytes, bytes);
    }
    inode->now_bytes = bytes;
}

void mr_sim_file_sync(struct mr_sim_inode *inode)
{
    commit_size(inode);
    for (uint64_t c = 0; c < inode->chunk_count; c++) {
        if (inode->chunk[c] == NULL || inode->chunk[c]->dirty == 0)
            continue;
        struct mr_sim_chunk *chunk = own_chunk(inode, c);
        for (uint64_t left = chunk->dirty; left != 0; left &= left - 1) {
            uint32_t i = (uint32_t)__builtin_ctzll(left);
            struct mr_sim_page *page = own_page(chunk, i);
            for (uint32_t s = 0; s < MR_SIM_BLOCK_SECTORS; s++)
                if ((page->unsynced >> s & 1) != 0)
                    memcpy(page->durable + s * SECTOR_BYTES, page->now + s * SECTOR_BYTES, SECTOR_BYTES);
            page->unsynced = 0;
            note_dirty(chunk, i);
        }
    }
}

void mr_sim_file_fail_sync(struct mr_sim_inode *inode, struct mr_random *random)
{
    for (uint64_t c = 0; c < inode->chunk_count; c++) {
        if (inode->chunk[c] == NULL || inode->chunk[c]->dirty == 0)
            continue;
        struct mr_sim_chunk *chunk = own_chunk(inode, c);
        for (uint64_t left = chunk->dirty; left != 0; left &= left - 1) {
            struct mr_sim_page *page = own_page(chunk, (uint32_t)__builtin_ctzll(left));
            page->lost |= page->unsynced;
            page->unsynced = 0;
        }
    }
    if (size_is_pending(inode) && mr_random_chance(random, 1, 2))
        commit_size(inode);
}

static enum mr_sim_fate draw_fate(const struct mr_sim_disk_options *options, struct mr_random *random)
{
    uint64_t draw = mr_random_below(random, 4);
    if (draw == 0 && options->tear_old > 0)
        return MR_SIM_ALL_OLD;
    if (draw == 1 && options->tear_new > 0)
        return MR_SIM_ALL_NEW;
    return MR_SIM_MIX;
}

/** `old` becomes old, `new` or garbage. */
static void settle_sector(const struct mr_sim_disk_options *options, enum mr_sim_fate fate, uint8_t *old, const uint8_t *new,
                          struct mr_random *random)
{
    uint64_t weights = (uint64_t)options->tear_old + options->tear_new + options->tear_garbage;
    uint64_t draw = weights > 0 ? mr_random_below(random, weights) : 0;
    if (fate == MR_SIM_ALL_OLD || (fate == MR_SIM_MIX && draw < options->tear_old))
        return;
    if (fate == MR_SIM_ALL_NEW || draw < (uint64_t)options->tear_old + options->tear_new) {
        memcpy(old, new, SECTOR_BYTES);
        return;
    }
    switch (mr_random_below(random, 3)) {
    case 0:
        memset(old, 0, SECTOR_BYTES);
        break;
    case 1:
        memcpy(old, new, 1 + mr_random_below(random, SECTOR_BYTES - 1));
        break;
    default:
        for (uint32_t i = 0; i < SECTOR_BYTES; i += 8) {
            uint64_t noise = mr_random_next(random);
            memcpy(old + i, &noise, sizeof noise);
        }
    }
}

void mr_sim_file_tear(struct mr_sim_disk_machine *machine, struct mr_sim_inode *inode, uint64_t position, const uint8_t *data, uint64_t bytes,
                      struct mr_random *random)
{
    static const uint8_t zeros[SECTOR_BYTES];
    enum mr_sim_fate fate = draw_fate(&machine->options, random);
    uint64_t end = position + bytes;
    if (end > inode->now_bytes && mr_random_chance(random, 1, 2))
        end = mr_max_u64(inode->now_bytes, position); /* the size stays; what lies past it is not seen */
    if (end <= position || mr_sim_file_back(machine, inode, position, end - position) != 0)
        return;
    inode->now_bytes = mr_max_u64(inode->now_bytes, end);
    for (uint64_t at = mr_align_down(position, SECTOR_BYTES); at < end; at += SECTOR_BYTES) {
        uint64_t block = at / MR_BLOCK_BYTES;
        uint32_t s = (uint32_t)(at % MR_BLOCK_BYTES / SECTOR_BYTES);
        struct mr_sim_chunk *chunk = own_chunk(inode, block / MR_SIM_CHUNK_BLOCKS);
        struct mr_sim_page *page = own_page(chunk, block_in_chunk(block));
        uint8_t next[SECTOR_BYTES];
        memcpy(next, page->now + s * SECTOR_BYTES, SECTOR_BYTES);
        uint64_t from = mr_max_u64(at, position), to = mr_min_u64(at + SECTOR_BYTES, end);
        memcpy(next + (from - at), data != NULL ? data + (from - position) : zeros, to - from);
        if (at < inode->cut_bytes) {
            settle_sector(&machine->options, fate, page->durable + s * SECTOR_BYTES, next, random);
            memcpy(page->now + s * SECTOR_BYTES, page->durable + s * SECTOR_BYTES, SECTOR_BYTES);
            page->unsynced &= (uint8_t)~(1u << s);
        } else { /* F3: the durable copy is not of this block */
            settle_sector(&machine->options, fate, page->now + s * SECTOR_BYTES, next, random);
            page->unsynced |= (uint8_t)(1u << s);
        }
        page->lost &= (uint8_t)~(1u << s);
        if (at + SECTOR_BYTES > inode->now_bytes && at < inode->now_bytes) { /* F2: garbage stays below the size */
            uint32_t keep = (uint32_t)(inode->now_bytes - at);
            memset(page->now + s * SECTOR_BYTES + keep, 0, SECTOR_BYTES - keep);
            if (at < inode->cut_bytes)
                memset(page->durable + s * SECTOR_BYTES + keep, 0, SECTOR_BYTES - keep);
        }
        note_dirty(chunk, block_in_chunk(block));
    }
}

static void power_cut_page(const struct mr_sim_disk_options *options, struct mr_sim_inode *inode, uint64_t start, struct mr_sim_page *page,
                           enum mr_sim_fate fate, bool is_size_committed, struct mr_random *random)
{
    uint8_t pending = page->unsynced | page->lost;
    for (uint32_t s = 0; s < MR_SIM_BLOCK_SECTORS; s++)
        if ((pending >> s & 1) != 0 && (is_size_committed || start + s * SECTOR_BYTES < inode->cut_bytes)) /* F3 */
            settle_sector(options, fate, page->durable + s * SECTOR_BYTES, page->now + s * SECTOR_BYTES, random);
    uint64_t size = inode->durable_bytes;
    if (start + MR_BLOCK_BYTES > size) {
        uint32_t keep = start < size ? (uint32_t)(size - start) : 0;
        memset(page->durable + keep, 0, MR_BLOCK_BYTES - keep);
    }
    page->unsynced = page->lost = 0;
    memcpy(page->now, page->durable, MR_BLOCK_BYTES);
}

void mr_sim_file_power_cut(struct mr_sim_disk_machine *machine, struct mr_sim_inode *inode, struct mr_random *random)
{
    bool is_pending = size_is_pending(inode), is_size_committed = true;
    enum mr_sim_fate fate = draw_fate(&machine->options, random);
    if (is_pending) {
        is_size_committed = mr_random_chance(random, 1, 2);
        if (is_size_committed)
            commit_size(inode);
    }
    uint64_t backed_to = mr_align_up(inode->durable_bytes, MR_BLOCK_BYTES);
    for (uint64_t c = 0; c < inode->chunk_count; c++) {
        if (inode->chunk[c] == NULL || (!is_pending && inode->chunk[c]->dirty == 0))
            continue;
        struct mr_sim_chunk *chunk = own_chunk(inode, c);
        for (uint32_t i = 0; i < MR_SIM_CHUNK_BLOCKS; i++) {
            uint64_t start = c * CHUNK_BYTES + (uint64_t)i * MR_BLOCK_BYTES;
            if (chunk->page[i] == NULL)
                continue;
            if (start >= backed_to) {
                page_release(chunk->page[i]);
                chunk->page[i] = NULL;
                continue;
            }
            if (is_pending || (chunk->dirty >> i & 1) != 0)
                power_cut_page(&machine->options, inode, start, own_page(chunk, i), fate, is_size_committed, random);
            if ((chunk->backed >> i & 1) == 0) { /* cut off, but the cut did not happen */
                chunk->backed |= (uint64_t)1 << i;
                inode->backed_blocks++;
                machine->used_blocks++;
            }
        }
        chunk->dirty = 0;
    }
    inode->now_bytes = inode->durable_bytes;
    inode->cut_bytes = UINT64_MAX;
    unback_from(machine, inode, backed_to / MR_BLOCK_BYTES);
}

int64_t mr_sim_file_read(const struct mr_sim_inode *inode, void *buffer, size_t bytes, uint64_t position, bool durable)
{
    if (position >= inode->now_bytes)
        return 0;
    uint64_t count = mr_min_u64(bytes, inode->now_bytes - position);
    for (uint64_t done = 0; done < count;) {
        uint64_t block = (position + done) / MR_BLOCK_BYTES, c = block / MR_SIM_CHUNK_BLOCKS;
        uint32_t at = (uint32_t)((position + done) % MR_BLOCK_BYTES);
        uint64_t step = mr_min_u64(MR_BLOCK_BYTES - at, count - done);
        const struct mr_sim_chunk *chunk = c < inode->chunk_count ? inode->chunk[c] : NULL;
        const struct mr_sim_page *page = chunk != NULL ? chunk->page[block_in_chunk(block)] : NULL;
        if (page == NULL)
            memset((uint8_t *)buffer + done, 0, step);
        else
            memcpy((uint8_t *)buffer + done, (durable ? page->durable : page->now) + at, step);
        done += step;
    }
    return (int64_t)count;
}

void mr_sim_file_flip(struct mr_sim_inode *inode, uint64_t position, uint32_t bit)
{
    uint64_t block = position / MR_BLOCK_BYTES;
    struct mr_sim_page *page = own_page(own_chunk(inode, block / MR_SIM_CHUNK_BLOCKS), block_in_chunk(block));
    page->now[position % MR_BLOCK_BYTES] ^= (uint8_t)(1u << bit);
    page->durable[position % MR_BLOCK_BYTES] ^= (uint8_t)(1u << bit);
}

uint32_t mr_sim_file_digest(const struct mr_sim_inode *inode, uint32_t crc)
{
    static const uint8_t zeros[MR_BLOCK_BYTES];
    crc = mr_crc32c(crc, &inode->now_bytes, sizeof inode->now_bytes);
    for (uint64_t c = 0; c < inode->chunk_count; c++) {
        for (uint32_t i = 0; inode->chunk[c] != NULL && i < MR_SIM_CHUNK_BLOCKS; i++) {
            const struct mr_sim_page *page = inode->chunk[c]->page[i];
            uint64_t block = c * MR_SIM_CHUNK_BLOCKS + i;
            if (page == NULL || memcmp(page->now, zeros, MR_BLOCK_BYTES) == 0)
                continue; /* readers cannot tell a page of zeros from none */
            crc = mr_crc32c(crc, &block, sizeof block);
            crc = mr_crc32c(crc, page->now, MR_BLOCK_BYTES);
        }
    }
    return crc;
}

void mr_sim_file_copy(struct mr_sim_inode *to, const struct mr_sim_inode *from)
{
    to->chunk = NULL;
    if (from->chunk_count > 0)
        to->chunk = mr_sim_take(from->chunk_count * sizeof *to->chunk);
    for (uint32_t c = 0; c < from->chunk_count; c++) {
        to->chunk[c] = from->chunk[c];
        if (to->chunk[c] != NULL)
            to->chunk[c]->references++;
    }
}

void mr_sim_file_drop(struct mr_sim_inode *inode)
{
    for (uint32_t c = 0; c < inode->chunk_count; c++)
        chunk_release(inode->chunk[c]);
    free(inode->chunk);
    inode->chunk = NULL;
    inode->chunk_count = 0;
}
