/* SPDX-License-Identifier: Apache-2.0 */
/* Publishing: each thread is one producer with a client of its own. It claims a batch over several partitions, gives some claims back,
 * fills in the rest, commits, and writes down each ack. The library is expected to ride through every restart of the broker: any result
 * but success and -EAGAIN fails the test.
 *
 * P1  A record's number is the library's own sequence: first_sequence + how many were committed to that partition before it.
 * P2  Acks of a partition come in the order of its sequences, each record once. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/crash/worker/worker.h"

#define ACKS_AT_ONCE 256
#define GROUP        16u /* records in a row for one partition: batches of some size, and several partitions in a commit */
#define FLUSH_MS     30000

struct publisher {
    const struct worker_options *options;
    struct worker_panel_thread *panel;
    uint32_t index, number;
    pthread_t thread;
    struct millrace_client *client;
    struct millrace_producer *producer;
    struct worker_acks *acks;
    uint32_t partition_count;
    uint64_t next[WORKER_PARTITIONS_MAX];      /* sequence of the next record */
    uint64_t acked_next[WORKER_PARTITIONS_MAX]; /* P2 */
    uint64_t last_run[WORKER_PARTITIONS_MAX];  /* index + 1 in the ack log of the partition's last run */
    uint64_t committed, acked, refused, random;
    uint64_t idle;
    bool failed;
};

static uint64_t random_next(struct publisher *p)
{
    p->random ^= p->random << 13;
    p->random ^= p->random >> 7;
    p->random ^= p->random << 17;
    return p->random;
}

static int open_acks(struct publisher *p)
{
    char path[600];
    snprintf(path, sizeof path, "%s/acks.%u", p->options->folder, p->number);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, (off_t)p->options->acks_bytes) != 0) {
        worker_fail("cannot make '%s': %s", path, strerror(errno));
        return -1;
    }
    void *at = mmap(NULL, p->options->acks_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED) {
        worker_fail("cannot map '%s': %s", path, strerror(errno));
        return -1;
    }
    p->acks = at;
    p->acks->producer = p->number;
    p->acks->partition_count = p->partition_count;
    p->acks->first_sequence = p->options->first_sequence;
    p->acks->capacity = (p->options->acks_bytes - sizeof *p->acks) / sizeof p->acks->run[0];
    p->acks->magic = WORKER_ACKS_MAGIC;
    return 0;
}

/* Lengthen the partition's last run when offsets go on too, else begin another. The count moves last: a kill leaves whole runs. */
static void write_down(struct publisher *p, const struct millrace_ack *ack)
{
    uint32_t partition = (uint32_t)ack->partition;
    struct worker_ack_run *run = p->last_run[partition] > 0 ? &p->acks->run[p->last_run[partition] - 1] : NULL;
    if (run != NULL && run->first_sequence + run->count == ack->first_sequence && run->count + ack->count > run->count &&
        (run->base_offset < 0 ? ack->base_offset < 0 : ack->base_offset == run->base_offset + run->count)) {
        atomic_store_explicit((_Atomic uint32_t *)&run->count, run->count + ack->count, memory_order_release);
        return;
    }
    uint64_t count = atomic_load_explicit(&p->acks->count, memory_order_relaxed);
    if (count == p->acks->capacity) {
        worker_fail("the ack log of producer %u is full after %llu runs: --acks-bytes", p->number, (unsigned long long)count);
        p->failed = true;
        return;
    }
    p->acks->run[count] = (struct worker_ack_run){ack->first_sequence, ack->base_offset, ack->count, partition};
    p->last_run[partition] = count + 1;
    atomic_store_explicit(&p->acks->count, count + 1, memory_order_release);
}

static void take_ack(struct publisher *p, const struct millrace_ack *ack)
{
    if (ack->partition < 0 || (uint32_t)ack->partition >= p->partition_count || ack->count == 0) {
        worker_fail("producer %u: an ack for partition %d, %u records", p->number, ack->partition, ack->count);
        p->failed = true;
        return;
    }
    uint64_t *expected = &p->acked_next[ack->partition], end = ack->first_sequence + ack->count;
    bool allowed = -ack->error == p->options->allow || (p->options->allow != 0 && ack->error == -ETIMEDOUT);
    if (ack->error != 0 && allowed) { /* may overtake those that wait for the disk */
        struct millrace_ack refused = *ack;
        refused.base_offset = ack->error == -ETIMEDOUT ? WORKER_UNKNOWN : WORKER_REFUSED; /* all others: never stored */
        p->refused += ack->count;
        p->last_run[ack->partition] = 0;
        write_down(p, &refused);
        p->last_run[ack->partition] = 0;
        return;
    }
    bool in_order = p->options->allow != 0 ? ack->first_sequence >= *expected : ack->first_sequence == *expected;
    if (!in_order || end > p->next[ack->partition]) {
        worker_fail("producer %u partition %d: ack of %llu + %u at offset %lld, expected from %llu, committed up to %llu (P2)", p->number,
                    ack->partition, (unsigned long long)ack->first_sequence, ack->count, (long long)ack->base_offset,
                    (unsigned long long)*expected, (unsigned long long)p->next[ack->partition]);
        p->failed = true;
        return;
    }
    if (ack->error != 0) {
        worker_fail("producer %u partition %d: record %llu + %u failed: %s", p->number, ack->partition, (unsigned long long)ack->first_sequence,
                    ack->count, strerror(-ack->error));
        p->failed = true;
        return;
    }
    *expected = end;
    p->acked += ack->count;
    write_down(p, ack);
}

static int collect(struct publisher *p)
{
    struct millrace_ack acks[ACKS_AT_ONCE];
    int count = millrace_producer_poll_acks(p->producer, acks, ACKS_AT_ONCE);
    if (count < 0) {
        worker_fail("producer %u: poll_acks: %s", p->number, strerror(-count));
        p->failed = true;
        return 0;
    }
    for (int i = 0; i < count; i++)
        take_ack(p, &acks[i]);
    if (count > 0) {
        uint64_t now_ns = worker_now_ns(), mark_ns = worker_get(&worker_panel->mark_ns);
        worker_set(&p->panel->last_ack_ns, now_ns);
        worker_set(&p->panel->acked, p->acked);
        worker_set(&p->panel->refused, p->refused);
        if (mark_ns != 0 && now_ns > mark_ns && worker_get(&p->panel->first_after_mark) < mark_ns)
            worker_set(&p->panel->first_after_mark, now_ns);
    }
    worker_set(&p->panel->pending, millrace_producer_pending(p->producer));
    return count;
}

static void linger(struct publisher *p)
{
    if (p->options->linger_us != 0 && random_next(p) % 64 == 0)
        usleep(p->options->linger_us);
}

/* @return how many were committed */
static uint32_t publish_batch(struct publisher *p, uint32_t wanted)
{
    struct millrace_slot slots[64], keep[64], give_back[64];
    uint32_t count = 0, kept = 0, given = 0;
    uint32_t partition = (uint32_t)(random_next(p) % p->partition_count);
    struct millrace_record_options record;
    millrace_record_options_init(&record);

    for (; count < wanted; count++) {
        if (count > 0 && count % GROUP == 0)
            partition = (partition + 1) % p->partition_count;
        record.partition = (int32_t)partition;
        int rc = millrace_producer_claim(p->producer, p->options->value_bytes, &record, &slots[count]);
        if (rc == -EAGAIN) {
            worker_set(&p->panel->again, worker_get(&p->panel->again) + 1);
            break;
        }
        if (rc != 0) {
            worker_fail("producer %u: claim: %s", p->number, strerror(-rc));
            p->failed = true;
            break;
        }
        linger(p);
    }
    /* Give back one claim in 32 batches or so, anywhere among them: no gap may come of it. */
    uint32_t victim = count > 0 && random_next(p) % 32 == 0 ? (uint32_t)(random_next(p) % count) : UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        if (i == victim) {
            give_back[given++] = slots[i];
            continue;
        }
        worker_fill(slots[i].value, slots[i].value_bytes, p->number, (uint32_t)slots[i].partition, p->next[slots[i].partition]++);
        keep[kept++] = slots[i];
    }
    if (given > 0)
        millrace_producer_abort(p->producer, give_back, given);
    linger(p);
    if (kept == 0)
        return 0;
    int rc = millrace_producer_commit(p->producer, keep, kept);
    if (rc != (int)kept) {
        worker_fail("producer %u: commit of %u: %d (%s)", p->number, kept, rc, rc < 0 ? strerror(-rc) : "too few");
        p->failed = true;
        return 0;
    }
    uint64_t expected[WORKER_PARTITIONS_MAX];
    memcpy(expected, p->next, sizeof expected);
    for (uint32_t i = kept; i-- > 0;)
        if (keep[i].sequence != --expected[keep[i].partition]) {
            worker_fail("producer %u partition %d: commit gave sequence %llu, expected %llu (P1)", p->number, keep[i].partition,
                        (unsigned long long)keep[i].sequence, (unsigned long long)expected[keep[i].partition]);
            p->failed = true;
        }
    p->committed += kept;
    worker_set(&p->panel->committed, p->committed);
    return kept;
}

/* Two cores and more threads than that: spinning would keep the broker from starting. */
static void wait_a_little(struct publisher *p)
{
    if (++p->idle < 50)
        sched_yield();
    else
        usleep(100);
}

static atomic_uint opened; /* producers: the worker runs when all are; whoever is at it when the broker is killed gets an error, as it must */

static void *publisher_run(void *context)
{
    struct publisher *p = context;
    const struct worker_options *o = p->options;
    struct millrace_client_options client;
    struct millrace_producer_options producer;
    struct millrace_error err = {0};

    millrace_client_options_init(&client);
    client.attach_timeout_ms = 10000;
    client.reattach_timeout_ms = 120000; /* on a busy disk some starts in a row may take long */
    millrace_producer_options_init(&producer);
    producer.first_sequence = o->first_sequence;
    producer.acks = o->leader_acks ? MILLRACE_ACKS_LEADER : MILLRACE_ACKS_ALL;
    if (millrace_attach(&p->client, o->socket, &client, &err) != 0 || millrace_producer_open(&p->producer, p->client, o->topic, &producer, &err) != 0) {
        worker_fail("producer %u: %s", p->number, err.text);
        return NULL;
    }
    p->partition_count = millrace_producer_partition_count(p->producer);
    for (uint32_t i = 0; i < WORKER_PARTITIONS_MAX; i++)
        p->next[i] = p->acked_next[i] = o->first_sequence;
    if (p->partition_count > WORKER_PARTITIONS_MAX || open_acks(p) != 0)
        return NULL;
    if (atomic_fetch_add(&opened, 1) + 1 == o->producers)
        atomic_store(&worker_panel->state, WORKER_RUNNING);
    uint64_t begin_ns = worker_now_ns(), rate = o->rate / o->producers;

    while (!p->failed && !atomic_load_explicit(&worker_stop, memory_order_relaxed) && (o->count_max == 0 || p->committed < o->count_max)) {
        uint32_t wanted = o->batch;
        if (rate != 0) {
            uint64_t due = (worker_now_ns() - begin_ns) / 1000u * rate / 1000000u;
            wanted = due <= p->committed ? 0 : due - p->committed < wanted ? (uint32_t)(due - p->committed) : wanted;
        }
        if (worker_get(&worker_panel->pause) != 0)
            wanted = 0;
        uint32_t done = wanted > 0 ? publish_batch(p, wanted) : 0;
        if (collect(p) + (int)done > 0)
            p->idle = 0;
        else
            wait_a_little(p);
    }
    int rc = p->failed ? 0 : millrace_producer_flush(p->producer, FLUSH_MS);
    if (rc != 0 && !(rc == -EIO && p->options->allow != 0))
        worker_fail("producer %u: flush with %llu pending: %s", p->number, (unsigned long long)millrace_producer_pending(p->producer), strerror(-rc));
    while (!p->failed && collect(p) > 0)
        continue;
    if (!p->failed && p->acked + p->refused != p->committed)
        worker_fail("producer %u: %llu committed, %llu acked and %llu refused after the flush", p->number, (unsigned long long)p->committed,
                    (unsigned long long)p->acked, (unsigned long long)p->refused);
    return NULL;
}

int worker_produce(const struct worker_options *options)
{
    static struct publisher publishers[WORKER_THREADS_MAX];
    uint64_t begin_ns = worker_now_ns(), committed = 0, acked = 0, refused = 0;
    for (uint32_t i = 0; i < options->producers; i++) {
        struct publisher *p = &publishers[i];
        p->options = options;
        p->panel = &worker_panel->thread[i];
        p->index = i;
        p->number = options->first_producer + i;
        p->random = options->seed * 0x9e3779b97f4a7c15u + p->number + 1;
        if (pthread_create(&p->thread, NULL, publisher_run, p) != 0) {
            worker_fail("no thread");
            return -1;
        }
    }
    for (uint32_t i = 0; i < options->producers; i++) {
        pthread_join(publishers[i].thread, NULL);
        committed += publishers[i].committed;
        acked += publishers[i].acked;
        refused += publishers[i].refused;
        millrace_detach(publishers[i].client);
    }
    double seconds = (double)(worker_now_ns() - begin_ns) / 1e9;
    printf("produced committed=%llu acked=%llu refused=%llu seconds=%.3f rate=%.0f\n", (unsigned long long)committed, (unsigned long long)acked,
           (unsigned long long)refused, seconds, (double)acked / seconds);
    return 0;
}
