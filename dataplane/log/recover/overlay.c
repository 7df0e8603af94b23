/* SPDX-License-Identifier: Apache-2.0 */
/* A stream as it would stand in its file had everything in the journal been brought in place. */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int by_position(const void *a, const void *b)
{
    uint64_t left = ((const struct mr_overlay_range *)a)->position, right = ((const struct mr_overlay_range *)b)->position;
    return left < right ? -1 : left > right;
}

/** The range that ends last among those that begin at or before a position. @return its index, or range_count */
static uint32_t find_range(const struct mr_view *view, uint64_t position)
{
    uint32_t low = 0, high = view->range_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (view->range[middle].position + view->range[middle].bytes <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

int mr_view_init(struct mr_view *view, struct mr_disk *disk, int file, uint64_t file_bytes, const struct mr_overlay_range *ranges,
                 uint32_t count)
{
    *view = (struct mr_view){.disk = disk, .file = file, .file_bytes = file_bytes, .bytes = file_bytes};
    if (count == 0)
        return 0;
    struct mr_overlay_range *sorted = malloc(count * sizeof *sorted);
    view->range = calloc(count, sizeof *view->range);
    if (sorted == NULL || view->range == NULL) {
        free(sorted);
        mr_view_release(view);
        return -ENOMEM;
    }
    memcpy(sorted, ranges, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_position);
    for (uint32_t i = 0; i < count; i++) { /* the union first ... */
        struct mr_overlay_range *last = view->range_count == 0 ? NULL : &view->range[view->range_count - 1];
        if (sorted[i].bytes == 0)
            continue;
        if (last != NULL && sorted[i].position <= last->position + last->bytes)
            last->bytes = mr_max_u64(last->bytes, sorted[i].position + sorted[i].bytes - last->position);
        else
            view->range[view->range_count++] = (struct mr_overlay_range){.position = sorted[i].position, .bytes = sorted[i].bytes};
    }
    free(sorted);
    for (uint32_t i = 0; i < view->range_count; i++) {
        view->range[i].memory = malloc(view->range[i].bytes);
        if (view->range[i].memory == NULL) {
            mr_view_release(view);
            return -ENOMEM;
        }
        view->bytes = mr_max_u64(view->bytes, view->range[i].position + view->range[i].bytes);
    }
    for (uint32_t i = 0; i < count; i++) { /* ... then its bytes, in the order given */
        if (ranges[i].bytes == 0)
            continue;
        const struct mr_overlay_range *to = &view->range[find_range(view, ranges[i].position)];
        memcpy(to->memory + (ranges[i].position - to->position), ranges[i].from, ranges[i].bytes);
    }
    return 0;
}

int mr_view_read(const struct mr_view *view, void *buffer, uint64_t bytes, uint64_t position)
{
    uint64_t got = 0;
    if (view->file >= 0 && position < view->file_bytes) {
        int rc = mr_recover_read(view->disk, view->file, buffer, mr_min_u64(bytes, view->file_bytes - position), position, &got);
        if (rc != 0)
            return rc;
    }
    memset((uint8_t *)buffer + got, 0, bytes - got);
    for (uint32_t i = find_range(view, position); i < view->range_count && view->range[i].position < position + bytes; i++) {
        const struct mr_overlay_range *range = &view->range[i];
        uint64_t from = mr_max_u64(position, range->position), to = mr_min_u64(position + bytes, range->position + range->bytes);
        memcpy((uint8_t *)buffer + (from - position), range->memory + (from - range->position), to - from);
    }
    return 0;
}

void mr_view_release(struct mr_view *view)
{
    for (uint32_t i = 0; i < view->range_count; i++)
        free(view->range[i].memory);
    free(view->range);
    view->range = NULL;
    view->range_count = 0;
}
