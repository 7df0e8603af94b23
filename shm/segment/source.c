/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/segment/source.h"

#include <errno.h>
#include <string.h>

#include "shm/base/bits.h"

static int64_t read_memory(const struct mr_segment_source *source, uint64_t position, void *buffer, size_t bytes)
{
    if (position >= source->bytes)
        return 0;
    bytes = mr_min_u64(bytes, source->bytes - position);
    memcpy(buffer, (const uint8_t *)source->context + position, bytes);
    return (int64_t)bytes;
}

struct mr_segment_source mr_segment_source_memory(const void *memory, uint64_t bytes)
{
    return (struct mr_segment_source){.read = read_memory, .context = (void *)(uintptr_t)memory, .bytes = bytes};
}

int mr_segment_window_need(struct mr_segment_window *window, uint64_t position, size_t bytes, const uint8_t **at)
{
    const struct mr_segment_source *source = window->source;

    if (position > source->bytes || bytes > source->bytes - position)
        return 0;
    if (position < window->position || position + bytes > window->position + window->bytes) {
        uint64_t from = mr_align_down(position, MR_BLOCK_BYTES);
        size_t want = mr_min_u64(window->buffer_bytes, mr_align_up(source->bytes - from, MR_BLOCK_BYTES));
        if (position - from + bytes > window->buffer_bytes)
            return -EMSGSIZE;
        window->bytes = 0;
        int64_t got = source->read(source, from, window->buffer, want);
        if (got < 0)
            return (int)got;
        window->position = from;
        window->bytes = mr_min_u64((uint64_t)got, source->bytes - from);
        if (position + bytes > window->position + window->bytes)
            return 0;
    }
    *at = window->buffer + (position - window->position);
    return 1;
}
