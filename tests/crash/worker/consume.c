/* SPDX-License-Identifier: Apache-2.0 */
/* Reading from the beginning, live or afterwards, and judging what was read.
 *
 * R1  Offsets of a partition go up by one.
 * R2  Numbers of a (producer, partition) go up by one from its first: nothing doubled, lost in the middle or out of order.
 * R3  At the end, each (producer, partition) reaches at least its last acked number.
 * R4  An acked record stands at the offset that its ack named. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/crash/worker/worker.h"

#define RECORDS_AT_ONCE 512

/* What was read of one producer in one partition, as runs of consecutive (number, offset): what R4 compares afterwards. */
struct seen {
    uint64_t next; /* the number that must come next */
    bool any;
    struct worker_ack_run *run;
    uint32_t run_count, run_capacity;
};

struct reader {
    const struct worker_options *options;
    struct worker_panel_thread *panel;
    struct millrace_client *client;
    struct millrace_consumer *consumer;
    uint32_t partition_count;
    uint64_t next_offset[WORKER_PARTITIONS_MAX];
    struct seen *seen; /* [producer * WORKER_PARTITIONS_MAX + partition] */
    uint64_t records;
};

static struct seen *seen_of(struct reader *r, uint32_t producer, uint32_t partition)
{
    return &r->seen[producer * WORKER_PARTITIONS_MAX + partition];
}

static void note(struct seen *seen, uint64_t sequence, uint64_t offset)
{
    struct worker_ack_run *run = seen->run_count > 0 ? &seen->run[seen->run_count - 1] : NULL;
    if (run != NULL && run->first_sequence + run->count == sequence && (uint64_t)run->base_offset + run->count == offset && run->count < UINT32_MAX) {
        run->count++;
        return;
    }
    if (seen->run_count == seen->run_capacity) {
        seen->run_capacity = seen->run_capacity == 0 ? 64 : seen->run_capacity * 2;
        seen->run = realloc(seen->run, seen->run_capacity * sizeof *seen->run);
        if (seen->run == NULL)
            abort();
    }
    seen->run[seen->run_count++] = (struct worker_ack_run){.first_sequence = sequence, .base_offset = (int64_t)offset, .count = 1};
}

static void take(struct reader *r, const struct millrace_record *record)
{
    struct worker_record value;
    if (record->partition < 0 || (uint32_t)record->partition >= r->partition_count) {
        worker_fail("a record of partition %d", record->partition);
        return;
    }
    uint64_t *expected = &r->next_offset[record->partition];
    if (record->offset != *expected)
        worker_fail("partition %d: offset %llu follows %llu (R1)", record->partition, (unsigned long long)record->offset,
                    (unsigned long long)*expected - 1);
    *expected = record->offset + 1;
    r->records++;
    if (!worker_whole(record->value, record->value_bytes, &value) || value.producer >= WORKER_PRODUCERS_MAX ||
        value.partition != (uint32_t)record->partition) {
        worker_fail("partition %d offset %llu: not a record that a producer wrote there (%zu bytes)", record->partition,
                    (unsigned long long)record->offset, record->value_bytes);
        return;
    }
    struct seen *seen = seen_of(r, value.producer, value.partition);
    uint64_t wanted = seen->any ? seen->next : r->options->first_sequence;
    if (r->options->allow != 0 ? value.sequence < wanted : value.sequence != wanted)
        worker_fail("partition %u offset %llu: producer %u: number %llu, expected %llu (R2: %s)", value.partition, (unsigned long long)record->offset,
                    value.producer, (unsigned long long)value.sequence, (unsigned long long)wanted, value.sequence < wanted ? "doubled" : "missing");
    seen->any = true;
    seen->next = value.sequence + 1;
    note(seen, value.sequence, record->offset);
}

static bool at_end(struct reader *r)
{
    for (uint32_t p = 0; p < r->partition_count; p++) {
        uint64_t next, end;
        int rc = millrace_consumer_position(r->consumer, (int32_t)p, &next, NULL, &end);
        if (rc != 0 || next != end)
            return false;
    }
    return true;
}

static int read_all(struct reader *r)
{
    static struct millrace_record records[RECORDS_AT_ONCE];
    uint64_t quiet_since_ns = 0;
    for (;;) {
        bool stop = atomic_load_explicit(&worker_stop, memory_order_relaxed) || !r->options->follow;
        if (r->records > 0 && worker_get(&worker_panel->hold) != 0) {
            usleep(1000);
            continue;
        }
        int count = millrace_consumer_poll(r->consumer, records, RECORDS_AT_ONCE, 20);
        if (count < 0) {
            worker_fail("poll: %s", strerror(-count));
            for (uint32_t p = 0; p < r->partition_count; p++) {
                uint64_t next = 0, start = 0, end = 0;
                (void)millrace_consumer_position(r->consumer, (int32_t)p, &next, &start, &end);
                fprintf(stderr, "worker: partition %u: next %llu, start %llu, end %llu\n", p, (unsigned long long)next, (unsigned long long)start,
                        (unsigned long long)end);
            }
            return -1;
        }
        for (int i = 0; i < count; i++)
            take(r, &records[i]);
        uint64_t now_ns = worker_now_ns();
        worker_set(&r->panel->committed, r->records);
        if (count > 0) {
            quiet_since_ns = 0;
            worker_set(&r->panel->pending, 0);
            worker_set(&r->panel->last_ack_ns, now_ns);
            uint64_t mark_ns = worker_get(&worker_panel->mark_ns);
            if (mark_ns != 0 && worker_get(&r->panel->first_after_mark) < mark_ns)
                worker_set(&r->panel->first_after_mark, now_ns);
            continue;
        }
        bool end = at_end(r);
        worker_set(&r->panel->pending, end ? 1 : 0);
        if (stop && end)
            return 0;
        quiet_since_ns = quiet_since_ns == 0 ? now_ns : quiet_since_ns;
        if (stop && now_ns - quiet_since_ns > (uint64_t)r->options->end_timeout_ms * 1000000u) {
            worker_fail("nothing came for %d ms, and the end is not reached", r->options->end_timeout_ms);
            return -1;
        }
    }
}

/* The first run of a partition that ends behind `sequence`. @return its index, or run_count */
static uint32_t find_run(const struct seen *seen, uint64_t sequence)
{
    uint32_t low = 0, high = seen->run_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (seen->run[middle].first_sequence + seen->run[middle].count <= sequence)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* @return false, having said so, when some acked record is not where it should be */
static bool compare_run(const struct seen *seen, uint32_t producer, const struct worker_ack_run *ack)
{
    uint32_t at = find_run(seen, ack->first_sequence);
    for (uint64_t s = ack->first_sequence, left = ack->count; left > 0;) {
        const struct worker_ack_run *run = at < seen->run_count ? &seen->run[at++] : NULL;
        if (run == NULL || run->first_sequence > s) {
            worker_fail("producer %u partition %u: acked number %llu was not read (R3: lost; the last read is %llu)", producer, ack->partition,
                        (unsigned long long)s, (unsigned long long)seen->next - 1);
            return false;
        }
        uint64_t stands = (uint64_t)run->base_offset + (s - run->first_sequence);
        uint64_t told = (uint64_t)ack->base_offset + (s - ack->first_sequence);
        if (ack->base_offset >= 0 && stands != told) {
            worker_fail("producer %u partition %u: number %llu stands at offset %llu, its ack said %llu (R4)", producer, ack->partition,
                        (unsigned long long)s, (unsigned long long)stands, (unsigned long long)told);
            return false;
        }
        uint64_t here = run->first_sequence + run->count - s;
        here = here < left ? here : left;
        s += here;
        left -= here;
    }
    return true;
}

static void compare(struct reader *r, const struct worker_acks *acks, uint64_t *acked, uint64_t *placed)
{
    uint64_t count = atomic_load_explicit(&acks->count, memory_order_acquire);
    for (uint64_t i = 0; i < count; i++) {
        const struct worker_ack_run *ack = &acks->run[i];
        const struct seen *seen = seen_of(r, acks->producer, ack->partition);
        if (ack->base_offset == WORKER_UNKNOWN)
            continue;
        if (ack->base_offset == WORKER_REFUSED) {
            uint32_t at = find_run(seen, ack->first_sequence);
            if (at < seen->run_count && seen->run[at].first_sequence < ack->first_sequence + ack->count) {
                worker_fail("producer %u partition %u: of %llu + %u, which were refused, some are in the log", acks->producer, ack->partition,
                            (unsigned long long)ack->first_sequence, ack->count);
                return;
            }
            continue;
        }
        *acked += ack->count;
        *placed += ack->base_offset >= 0 ? ack->count : 0;
        if (!compare_run(seen, acks->producer, ack))
            return;
    }
}

static void compare_all(struct reader *r)
{
    uint64_t acked = 0, placed = 0;
    uint32_t logs = 0;
    DIR *folder = opendir(r->options->folder);
    for (struct dirent *entry = folder != NULL ? readdir(folder) : NULL; entry != NULL; entry = readdir(folder)) {
        char path[900];
        struct stat st;
        if (strncmp(entry->d_name, "acks.", 5) != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", r->options->folder, entry->d_name);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        bool is_known = fd >= 0 && fstat(fd, &st) == 0;
        void *at = is_known && st.st_size > 0 ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
        if (fd >= 0)
            close(fd);
        if (is_known && st.st_size == 0) /* killed between its making and its sizing: nothing was acked */
            continue;
        const struct worker_acks *acks = at;
        if (at == MAP_FAILED || (acks->magic != WORKER_ACKS_MAGIC && acks->magic != 0) || acks->producer >= WORKER_PRODUCERS_MAX) {
            worker_fail("'%s' is no ack log", path);
            continue;
        }
        if (acks->magic != 0) { /* 0: killed before it had written the header: nothing was acked */
            compare(r, acks, &acked, &placed);
            logs++;
        }
        munmap(at, (size_t)st.st_size);
    }
    if (folder != NULL)
        closedir(folder);
    printf("compared logs=%u acked=%llu at_named_offset=%llu read=%llu\n", logs, (unsigned long long)acked, (unsigned long long)placed,
           (unsigned long long)r->records);
}

int worker_consume(const struct worker_options *options)
{
    static struct reader reader;
    struct reader *r = &reader;
    struct millrace_client_options client;
    struct millrace_consumer_options consumer;
    struct millrace_error err = {0};

    r->options = options;
    r->panel = &worker_panel->thread[0];
    r->seen = calloc((size_t)WORKER_PRODUCERS_MAX * WORKER_PARTITIONS_MAX, sizeof *r->seen);
    if (r->seen == NULL)
        return -1;
    millrace_client_options_init(&client);
    client.attach_timeout_ms = 10000;
    client.reattach_timeout_ms = 120000;
    millrace_consumer_options_init(&consumer);
    consumer.start = MILLRACE_START_BEGIN;
    if (millrace_attach(&r->client, options->socket, &client, &err) != 0 ||
        millrace_consumer_open(&r->consumer, r->client, options->topic, &consumer, &err) != 0) {
        worker_fail("%s", err.text);
        return -1;
    }
    r->partition_count = millrace_consumer_partition_count(r->consumer);
    if (r->partition_count > WORKER_PARTITIONS_MAX) {
        worker_fail("%u partitions are too many for this test", r->partition_count);
        return -1;
    }
    atomic_store(&worker_panel->state, WORKER_RUNNING);
    int rc = read_all(r);
    if (rc == 0)
        compare_all(r);
    millrace_detach(r->client);
    return rc;
}
