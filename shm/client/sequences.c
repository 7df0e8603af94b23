/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of one partition of one producer. In good times there is no shift and nothing early: settle is one comparison. */
#include <stdlib.h>
#include <string.h>

#include "shm/client/producer_internal.h"

uint64_t mr_sequences_of_wire(const struct mr_sequences *numbers, uint64_t wire, uint64_t count, uint64_t *same)
{
    uint64_t delta = numbers->old_delta;

    *same = count;
    for (uint32_t i = 0; i < numbers->shift_count; i++) {
        if (numbers->shift[i].from > wire) {
            *same = mr_min_u64(count, numbers->shift[i].from - wire);
            break;
        }
        delta = numbers->shift[i].delta;
    }
    return wire + delta;
}

bool mr_sequences_is_settled(const struct mr_sequences *numbers, uint64_t wire)
{
    if (wire < numbers->settled)
        return true;
    for (uint32_t i = 0; i < numbers->early_count; i++)
        if (wire >= numbers->early[i].first && wire - numbers->early[i].first < numbers->early[i].count)
            return true;
    return false;
}

static void forget_below(struct mr_sequences *numbers)
{
    uint32_t done = 0;

    while (numbers->early_count > 0 && numbers->early[0].first <= numbers->settled) {
        numbers->settled = mr_max_u64(numbers->settled, numbers->early[0].first + numbers->early[0].count);
        numbers->early_count--;
        memmove(numbers->early, numbers->early + 1, numbers->early_count * sizeof *numbers->early);
    }
    while (done < numbers->shift_count && numbers->shift[done].from <= numbers->settled)
        numbers->old_delta = numbers->shift[done++].delta;
    numbers->shift_count -= done;
    if (done > 0)
        memmove(numbers->shift, numbers->shift + done, numbers->shift_count * sizeof *numbers->shift);
}

static MR_COLD bool settle_early(struct mr_sequences *numbers, uint64_t wire, uint64_t count)
{
    uint32_t at = 0;

    while (at < numbers->early_count && numbers->early[at].first + numbers->early[at].count < wire)
        at++;
    if (at < numbers->early_count && numbers->early[at].first + numbers->early[at].count == wire) {
        numbers->early[at].count += count;
        if (at + 1 < numbers->early_count && numbers->early[at + 1].first == wire + count) { /* the gap between two is closed */
            numbers->early[at].count += numbers->early[at + 1].count;
            numbers->early_count--;
            memmove(numbers->early + at + 1, numbers->early + at + 2, (numbers->early_count - at - 1) * sizeof *numbers->early);
        }
        return true;
    }
    if (at < numbers->early_count && numbers->early[at].first == wire + count) {
        numbers->early[at].first = wire;
        numbers->early[at].count += count;
        return true;
    }
    if (numbers->early_count == numbers->early_room) {
        uint32_t room = numbers->early_room == 0 ? 8 : 2 * numbers->early_room;
        struct mr_sequence_range *grown = realloc(numbers->early, room * sizeof *grown);
        if (grown == NULL)
            return false;
        numbers->early = grown;
        numbers->early_room = room;
    }
    memmove(numbers->early + at + 1, numbers->early + at, (numbers->early_count - at) * sizeof *numbers->early);
    numbers->early[at] = (struct mr_sequence_range){.first = wire, .count = count};
    numbers->early_count++;
    return true;
}

bool mr_sequences_settle(struct mr_sequences *numbers, uint64_t wire, uint64_t count)
{
    if (mr_unlikely(wire != numbers->settled))
        return wire < numbers->settled || settle_early(numbers, wire, count);
    numbers->settled = wire + count;
    if (mr_unlikely(numbers->early_count > 0 || numbers->shift_count > 0))
        forget_below(numbers);
    return true;
}

bool mr_sequences_shift(struct mr_sequences *numbers, uint64_t wire, uint64_t sequence)
{
    uint64_t delta = sequence - wire;
    uint64_t last = numbers->shift_count > 0 ? numbers->shift[numbers->shift_count - 1].delta : numbers->old_delta;

    if (delta == last)
        return true;
    if (numbers->shift_count == numbers->shift_room) {
        uint32_t room = numbers->shift_room == 0 ? 8 : 2 * numbers->shift_room;
        struct mr_sequence_shift *grown = realloc(numbers->shift, room * sizeof *grown);
        if (grown == NULL)
            return false;
        numbers->shift = grown;
        numbers->shift_room = room;
    }
    numbers->shift[numbers->shift_count++] = (struct mr_sequence_shift){.from = wire, .delta = delta};
    forget_below(numbers);
    return true;
}

void mr_sequences_rewind(struct mr_sequences *numbers, uint64_t wire)
{
    while (numbers->shift_count > 0 && numbers->shift[numbers->shift_count - 1].from >= wire)
        numbers->shift_count--;
    while (numbers->early_count > 0) {
        struct mr_sequence_range *last = &numbers->early[numbers->early_count - 1];
        if (last->first < wire) {
            last->count = mr_min_u64(last->count, wire - last->first);
            break;
        }
        numbers->early_count--;
    }
    numbers->settled = mr_min_u64(numbers->settled, wire);
}

void mr_sequences_release(struct mr_sequences *numbers)
{
    free(numbers->shift);
    free(numbers->early);
    numbers->shift = NULL;
    numbers->early = NULL;
}
