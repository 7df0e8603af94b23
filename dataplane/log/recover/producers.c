/* SPDX-License-Identifier: Apache-2.0 */
/* R16: which sequence each producer reached, from a snapshot and the headers of the batches behind it. */
#include "dataplane/log/recover/recover_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t first_slot(const struct mr_producer_table *table, int64_t producer_id)
{
    return (uint32_t)(((uint64_t)producer_id * 0x9e3779b97f4a7c15u) >> 32) & (table->slot_count - 1);
}

/** Where the producer is, or where it would go: slot_count is a power of two and never full. */
static uint32_t *find_slot(struct mr_producer_table *table, int64_t producer_id)
{
    uint32_t at = first_slot(table, producer_id);
    while (table->slot[at] != 0 && table->state[table->slot[at] - 1].producer_id != producer_id)
        at = (at + 1) & (table->slot_count - 1);
    return &table->slot[at];
}

static int make_room(struct mr_producer_table *table)
{
    int rc = mr_recover_grow((void **)&table->state, table->count, &table->room, sizeof *table->state);
    if (rc != 0 || table->slot_count > 2 * table->count)
        return rc;
    uint32_t slot_count = table->slot_count == 0 ? 64 : table->slot_count * 2;
    uint32_t *slot = calloc(slot_count, sizeof *slot);
    if (slot == NULL)
        return -ENOMEM;
    free(table->slot);
    table->slot = slot;
    table->slot_count = slot_count;
    for (uint32_t i = 0; i < table->count; i++)
        *find_slot(table, table->state[i].producer_id) = i + 1;
    return 0;
}

int mr_producer_table_put(struct mr_producer_table *table, const struct mr_log_producer_state *state)
{
    int rc = make_room(table);
    if (rc != 0)
        return rc;
    uint32_t *slot = find_slot(table, state->producer_id);
    if (*slot == 0)
        *slot = ++table->count;
    table->state[*slot - 1] = *state;
    return 0;
}

int mr_producer_table_apply(struct mr_producer_table *table, const uint8_t *header)
{
    int64_t producer_id = mr_batch_producer_id(header);
    if (producer_id < 0 || mr_batch_base_sequence(header) < 0) /* no idempotence, or a control batch */
        return 0;
    struct mr_log_producer_state state = {
        .producer_id = producer_id,
        .last_offset = mr_batch_last_offset(header),
        .active_ms = -1, /* its records' timestamps are what a client said */
        .last_sequence = mr_batch_last_sequence(header),
        .epoch = mr_batch_producer_epoch(header),
    };
    return mr_producer_table_put(table, &state);
}

void mr_producer_table_release(struct mr_producer_table *table)
{
    free(table->state);
    free(table->slot);
    memset(table, 0, sizeof *table);
}
