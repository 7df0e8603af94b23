/* SPDX-License-Identifier: Apache-2.0 */
/* Idempotence (RELIABILITY.md R16): per producer id one last sequence decides, and the last MR_LOG_RUNS runs say where a duplicate lies.
 * Sequences are mod 2^31, as a batch stores them; what is less than 2^30 behind is a duplicate. A run grows while both sequence and offset
 * go on, so that a busy producer alone on its partition has one.
 *
 * X  Expiry (Kafka's producer.id.expiration.ms). A producer that nobody uses is forgotten when its last append is longer ago than that, never
 *    sooner: a duplicate within that time is known. So each doubt makes it later. What counts is the time of the append, not the timestamps
 *    of records, which are the client's and may be years old. An append does not read the time: it takes the date away (-1), and the next
 *    look, at most a MR_LOG_EXPIRE_LOOKS th of the time later, gives the date of that look. A date that a start cannot know (batches tell
 *    none, only snapshots do) is that of the start. In between, time is what passed on the monotonic clock: a step of the wall clock
 *    forgets nobody. The list is in the order of dates: first those without, then the latest first. */
#include "dataplane/log/log_internal.h"

#include <errno.h>

#define SEQUENCE_MASK    0x7fffffffu
#define SEQUENCE_HALF    0x40000000u
#define BUCKETS_FIRST    16u
#define FREES_MAX        256u /* in one look; more are left, and soon looked at again */

static uint32_t hash(int64_t producer_id, uint32_t buckets)
{
    return (uint32_t)(((uint64_t)producer_id * 0x9e3779b97f4a7c15ull) >> 32) & (buckets - 1);
}

static int grow(struct mr_partition *p)
{
    uint32_t buckets = p->producer_buckets == 0 ? BUCKETS_FIRST : p->producer_buckets * 2;
    struct mr_producer **table = log_allocate(p->log, buckets * sizeof(struct mr_producer *));

    if (table == NULL)
        return -ENOMEM;
    for (uint32_t i = 0; i < p->producer_buckets; i++) {
        while (p->producer_table[i] != NULL) {
            struct mr_producer *producer = p->producer_table[i];
            uint32_t to = hash(producer->producer_id, buckets);
            p->producer_table[i] = producer->next_hash;
            producer->next_hash = table[to];
            table[to] = producer;
        }
    }
    log_free(p->log, p->producer_table);
    p->producer_table = table;
    p->producer_buckets = buckets;
    return 0;
}

static struct mr_producer *find(const struct mr_partition *p, int64_t producer_id)
{
    if (p->producer_buckets == 0)
        return NULL;
    struct mr_producer *producer = p->producer_table[hash(producer_id, p->producer_buckets)];
    while (producer != NULL && producer->producer_id != producer_id)
        producer = producer->next_hash;
    return producer;
}

struct mr_producer *mr_log_producer_make(struct mr_partition *p, int64_t producer_id)
{
    struct mr_producer *producer = find(p, producer_id);

    if (producer != NULL)
        return producer;
    /* A table that cannot grow serves on with longer chains; only the first one must be. */
    if (p->producer_count >= p->producer_buckets && grow(p) != 0 && p->producer_buckets == 0)
        return NULL;
    producer = log_allocate(p->log, sizeof *producer);
    if (producer == NULL)
        return NULL;
    uint32_t to = hash(producer_id, p->producer_buckets);
    producer->partition = p;
    producer->producer_id = producer_id;
    producer->epoch = -1;
    producer->last_offset = -1;
    producer->active_ms = -1;
    producer->next_hash = p->producer_table[to];
    p->producer_table[to] = producer;
    p->producer_count++;
    p->log->counters.producers++;
    list_prepend(&p->producers, &producer->recent);
    if (p->log->options.producer_expiration_ms != 0 && !list_is_linked(&p->expiring))
        mr_log_timer(&p->log->expiring, &p->expiring, &p->expiring_due_ns, p->log->now_ns + mr_log_expire_look_ns(p->log));
    return producer;
}

static void use(struct mr_producer *producer)
{
    producer->active_ms = -1;
    if (producer->partition->producers.next != &producer->recent) {
        list_remove(&producer->recent);
        list_prepend(&producer->partition->producers, &producer->recent);
    }
}

static void forget(struct mr_producer *producer)
{
    struct mr_partition *p = producer->partition;
    struct mr_producer **at = &p->producer_table[hash(producer->producer_id, p->producer_buckets)];

    while (*at != producer)
        at = &(*at)->next_hash;
    *at = producer->next_hash;
    p->producer_count--;
    p->log->counters.producers--;
    list_remove(&producer->recent);
    log_free(p->log, producer);
}

static void date(struct mr_producer *producer)
{
    use(producer);
    producer->active_ms = producer->partition->log->clock_ms;
}

/* Timer, while there are producers. */
void mr_log_producers_expire(struct mr_partition *p)
{
    struct mr_log *log = p->log;
    uint32_t left = FREES_MAX;

    for (struct list_node *node = p->producers.next; node != &p->producers; node = node->next) {
        struct mr_producer *producer = list_entry(node, struct mr_producer, recent);
        if (producer->active_ms >= 0)
            break;
        producer->active_ms = log->clock_ms;
    }
    for (; left > 0 && !list_is_empty(&p->producers); left--) {
        struct mr_producer *producer = list_entry(p->producers.previous, struct mr_producer, recent);
        if (producer->active_ms <= log->clock_ms && log->clock_ms - producer->active_ms < (int64_t)log->options.producer_expiration_ms)
            break;
        if (producer->users > 0 || producer->open != NULL || producer->active_ms > log->clock_ms) /* the wall clock was set back before this start */
            date(producer);
        else
            forget(producer);
    }
    if (left == 0) {
        p->expiring_due_ns = log->now_ns; /* more are left: in the next step */
        list_prepend(&log->expiring, &p->expiring);
    } else if (p->producer_count > 0) {
        mr_log_timer(&log->expiring, &p->expiring, &p->expiring_due_ns, log->now_ns + mr_log_expire_look_ns(log));
    }
}

int mr_partition_producer(struct mr_partition *p, int64_t producer_id, int16_t epoch, struct mr_producer **producer)
{
    struct mr_producer *found = mr_log_producer_make(p, producer_id);

    if (found == NULL)
        return -ENOMEM;
    if (epoch < found->epoch)
        return -EPERM;
    if (epoch > found->epoch) { /* sequences start anew */
        found->epoch = epoch;
        found->known = false;
        found->run_count = 0;
        found->run_next = 0;
    }
    found->users++;
    *producer = found;
    return 0;
}

void mr_producer_release(struct mr_producer *producer)
{
    if (producer == NULL)
        return;
    mr_assert(producer->users > 0);
    producer->users--;
    use(producer);
}

static uint32_t next_sequence(const struct mr_producer *producer)
{
    uint32_t open_count = producer->open != NULL ? producer->open->count : 0;
    return (producer->next_sequence + open_count) & SEQUENCE_MASK;
}

enum mr_sequence_verdict mr_producer_judge(const struct mr_producer *producer, uint64_t sequence)
{
    if (mr_unlikely(!producer->known))
        return MR_SEQUENCE_NEXT;
    uint32_t ahead = ((uint32_t)sequence - next_sequence(producer)) & SEQUENCE_MASK;
    if (mr_likely(ahead == 0))
        return MR_SEQUENCE_NEXT;
    return ahead >= SEQUENCE_HALF ? MR_SEQUENCE_DUPLICATE : MR_SEQUENCE_OUT_OF_ORDER;
}

int64_t mr_producer_next_sequence(const struct mr_producer *producer)
{
    return producer->known ? (int64_t)next_sequence(producer) : -1;
}

void mr_producer_duplicate(const struct mr_partition *p, const struct mr_producer *producer, uint64_t sequence, int64_t *base_offset,
                           uint64_t *end_offset)
{
    uint32_t wanted = (uint32_t)sequence & SEQUENCE_MASK;

    if (producer->open != NULL) {
        uint32_t delta = (wanted - producer->next_sequence) & SEQUENCE_MASK;
        if (delta < producer->open->count) {
            *base_offset = producer->open->base_offset + delta;
            *end_offset = (uint64_t)*base_offset + 1;
            return;
        }
    }
    for (uint32_t i = 0; i < producer->run_count; i++) {
        const struct log_run *run = &producer->run[(producer->run_next - 1 - i) % MR_LOG_RUNS];
        uint32_t delta = (wanted - run->sequence) & SEQUENCE_MASK;
        if (delta < run->count) {
            *base_offset = (int64_t)(run->offset + delta);
            *end_offset = run->offset + delta + 1;
            return;
        }
    }
    /* Older than what is remembered, so it lies below the oldest run. Not the log's end: acks of a resumed producer, whose last record alone
     * is remembered, would come out of order. */
    *base_offset = -1;
    *end_offset = producer->run_count > 0 ? producer->run[(producer->run_next - producer->run_count) % MR_LOG_RUNS].offset : p->end_offset;
}

void mr_log_producer_append(struct mr_producer *producer, uint64_t base_offset, uint32_t base_sequence, uint32_t count)
{
    struct log_run *run = &producer->run[(producer->run_next - 1) % MR_LOG_RUNS];

    if (producer->run_count > 0 && run->offset + run->count == base_offset && ((run->sequence + run->count) & SEQUENCE_MASK) == base_sequence &&
        run->count < SEQUENCE_HALF) {
        run->count += count;
    } else {
        run = &producer->run[producer->run_next++ % MR_LOG_RUNS];
        *run = (struct log_run){.offset = base_offset, .sequence = base_sequence, .count = count};
        if (producer->run_count < MR_LOG_RUNS)
            producer->run_count++;
    }
    producer->known = true;
    producer->next_sequence = (base_sequence + count) & SEQUENCE_MASK;
    producer->last_offset = (int64_t)(base_offset + count - 1);
    use(producer);
}

uint32_t mr_log_producers_snapshot(const struct mr_partition *p, struct mr_log_producer_state *states, uint32_t max)
{
    uint32_t count = 0;

    for (struct list_node *node = p->producers.next; node != &p->producers && count < max; node = node->next) {
        const struct mr_producer *producer = list_entry(node, struct mr_producer, recent);
        if (!producer->known)
            continue;
        if (producer->last_offset < 0) /* known by its open batch alone */
            continue;
        states[count++] = (struct mr_log_producer_state){
            .producer_id = producer->producer_id,
            .last_offset = producer->last_offset,
            .active_ms = producer->active_ms < 0 ? -1 : (int64_t)p->log->wall_ms - (p->log->clock_ms - producer->active_ms),
            .last_sequence = (int32_t)((producer->next_sequence - 1) & SEQUENCE_MASK),
            .epoch = producer->epoch,
        };
    }
    return count;
}

void mr_log_producers_release(struct mr_partition *p)
{
    while (!list_is_empty(&p->producers)) {
        struct mr_producer *producer = list_entry(p->producers.next, struct mr_producer, recent);
        list_remove(&producer->recent);
        log_free(p->log, producer);
    }
    log_free(p->log, p->producer_table);
    p->log->counters.producers -= p->producer_count;
    p->producer_table = NULL;
    p->producer_buckets = 0;
    p->producer_count = 0;
}
