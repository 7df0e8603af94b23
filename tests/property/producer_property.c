/* SPDX-License-Identifier: Apache-2.0 */
/* A producer against a door that refuses, moves partitions, dies and comes back: in the end each partition's log holds exactly the
 * committed records that were not reported as failed or gone, in the order of their sequences, once; and each ack names its records and
 * offsets. */
#include <time.h>

#include "millrace/millrace.h"
#include "tests/support/fake_door.h"
#include "tests/support/property.h"

#define RECORDS  4000u
#define OPEN_MAX 40u
#define UNACKED  INT64_MIN
#define FAILED   (INT64_MIN + 1)
#define GONE     (INT64_MIN + 2) /* acked, then told that it is not there any more */

static struct {
    uint64_t value[RECORDS + 1]; /* by sequence */
    int64_t offset[RECORDS + 1]; /* or UNACKED, FAILED, GONE */
    uint64_t count;
} sent[FAKE_PARTITIONS];

static uint64_t first_sequence;

static void take(struct millrace_producer *producer)
{
    struct millrace_ack ack[7];
    int count = millrace_producer_poll_acks(producer, ack, 7);

    fake_must(count >= 0);
    if (count == 0)
        sched_yield();
    for (int i = 0; i < count; i++) {
        fake_must(ack[i].partition >= 0 && (uint32_t)ack[i].partition < FAKE_PARTITIONS && ack[i].count > 0);
        fake_must(ack[i].error == 0 || ((ack[i].error == -ENOSPC || ack[i].error == -ESTALE) && ack[i].base_offset == -1));
        for (uint32_t k = 0; k < ack[i].count; k++) {
            uint64_t number = ack[i].first_sequence - first_sequence + k;
            fake_must(number < sent[ack[i].partition].count);
            int64_t *offset = &sent[ack[i].partition].offset[number];
            if (ack[i].error == -ESTALE) {
                fake_must(*offset >= 0);
                *offset = GONE;
                continue;
            }
            fake_must(*offset == UNACKED); /* once */
            *offset = ack[i].error != 0 ? FAILED : ack[i].base_offset + (int64_t)k;
        }
    }
}

static void run(uint64_t seed)
{
    static struct fake_door door;
    struct millrace_client *client;
    struct millrace_producer *producer;
    struct millrace_producer_options options;
    struct millrace_error err;
    struct mr_random random;
    struct millrace_slot slot[OPEN_MAX];
    uint64_t slot_value[OPEN_MAX];
    uint32_t open = 0, committed = 0, again = 0;

    memset(sent, 0, sizeof sent);
    mr_random_init(&random, seed, 1);
    fake_door_start(&door, seed);
    door.hold_one_in = 2 + (uint32_t)mr_random_below(&random, 4);
    door.kill_one_in = mr_random_chance(&random, 2, 3) ? 20 + (uint32_t)mr_random_below(&random, 400) : 0;
    door.refuse_one_in = mr_random_chance(&random, 2, 3) ? 50 + (uint32_t)mr_random_below(&random, 500) : 0;
    door.move_one_in = mr_random_chance(&random, 1, 2) ? 5 + (uint32_t)mr_random_below(&random, 100) : 0;
    if (door.kill_one_in != 0 && mr_random_chance(&random, 1, 2)) {
        door.lose_one_in = 3;
        door.refuse_one_in = 0; /* what becomes of the numbers of refused records is forgotten in time: then those that are gone are only counted */
    }
    first_sequence = mr_random_chance(&random, 1, 2) ? 0 : INT32_MAX - mr_random_below(&random, RECORDS / 4);
    for (uint32_t p = 0; p < FAKE_PARTITIONS; p++)
        door.expected[p] = first_sequence & INT32_MAX;
    fake_door_run(&door);

    fake_must(millrace_attach(&client, door.path, NULL, &err) == 0);
    millrace_producer_options_init(&options);
    options.record_bytes_max = 4096;
    options.ring_bytes = 64 << 10;
    options.first_sequence = first_sequence;
    fake_must(millrace_producer_open(&producer, client, "topic", &options, &err) == 0);
    while (committed < RECORDS) {
        uint64_t what = mr_random_below(&random, 100);
        if (what < 60 && open < OPEN_MAX) {
            struct millrace_record_options record;
            millrace_record_options_init(&record);
            record.partition = (int32_t)mr_random_below(&random, FAKE_PARTITIONS);
            if (mr_random_chance(&random, 1, 3)) {
                record.key = "key";
                record.key_bytes = 3;
            }
            size_t bytes = 8 + mr_random_below(&random, mr_random_chance(&random, 1, 30) ? 4000 : 60);
            int rc = millrace_producer_claim(producer, bytes, mr_random_chance(&random, 1, 4) ? NULL : &record, &slot[open]);
            fake_must(rc == 0 || rc == -EAGAIN);
            if (rc == 0) {
                slot_value[open] = mr_random_next(&random);
                memcpy(slot[open].value, &slot_value[open], 8);
                open++;
            } else {
                again++;
                take(producer);
            }
        } else if (what < 65 && open > 0) { /* abort any, of any age */
            uint32_t k = (uint32_t)mr_random_below(&random, open);
            millrace_producer_abort(producer, &slot[k], 1);
            memmove(&slot[k], &slot[k + 1], (open - k - 1) * sizeof slot[0]);
            memmove(&slot_value[k], &slot_value[k + 1], (open - k - 1) * sizeof slot_value[0]);
            open--;
        } else if (what < 90 && open > 0) {
            uint32_t first = 0, count = 1 + (uint32_t)mr_random_below(&random, open);
            if (open > 1 && mr_random_chance(&random, 1, 5)) { /* any one: in order if none of its partition is older */
                first = 1 + (uint32_t)mr_random_below(&random, open - 1);
                count = 1;
            }
            bool may = true, must = false; /* be taken; be refused: a partition that has moved meanwhile has claims in two rings, whose order nobody knows */
            for (uint32_t i = 0; i < first; i++) {
                may &= slot[i].partition != slot[first].partition;
                must |= slot[i].internal[0] == slot[first].internal[0];
            }
            int taken = millrace_producer_commit(producer, &slot[first], count);
            fake_must(taken == (int)count || (taken == -EINVAL && !may));
            fake_must(taken == -EINVAL || !must);
            if (taken < 0)
                continue;
            for (uint32_t i = first; i < first + count; i++) {
                uint32_t p = (uint32_t)slot[i].partition;
                fake_must(slot[i].sequence == first_sequence + sent[p].count); /* contiguous, in claim order: aborts leave no gap */
                sent[p].value[sent[p].count] = slot_value[i];
                sent[p].offset[sent[p].count++] = UNACKED;
                committed++;
                if (sent[p].count == RECORDS)
                    committed = RECORDS;
            }
            fake_must(millrace_producer_commit(producer, &slot[first], count) == -EINVAL); /* not twice */
            fake_must(millrace_producer_publish(producer, NULL, 0) == (open > count ? -EINVAL : 0));
            open -= count;
            memmove(slot + first, slot + first + count, (open - first) * sizeof slot[0]);
            memmove(slot_value + first, slot_value + first + count, (open - first) * sizeof slot_value[0]);
        } else {
            take(producer);
        }
    }
    millrace_producer_abort(producer, slot, open);
    mr_store_relaxed(&door.calm, 1);
    for (uint32_t p = 0; p < FAKE_PARTITIONS; p++) { /* a last one each: what is gone is found out by what comes behind it */
        struct millrace_record last = {.value = &sent[p].value[sent[p].count], .value_bytes = 8, .timestamp_ms = -1, .partition = (int32_t)p};
        int rc;
        sent[p].value[sent[p].count] = p;
        while ((rc = millrace_producer_publish(producer, &last, 1)) == -EAGAIN)
            take(producer);
        fake_must(rc == 1);
        sent[p].offset[sent[p].count++] = UNACKED;
    }
    int rc = millrace_producer_flush(producer, 20000);
    if (rc == -ETIMEDOUT)
        fprintf(stderr, "pending %llu\n", (unsigned long long)millrace_producer_pending(producer));
    fake_must(rc == 0 || rc == -EIO);
    fake_must(millrace_producer_pending(producer) == 0);
    for (int i = 0; i < 100000; i++) {
        uint64_t unacked = 0;
        take(producer);
        for (uint32_t p = 0; p < FAKE_PARTITIONS; p++)
            unacked += sent[p].count > 0 && sent[p].offset[sent[p].count - 1] == UNACKED;
        if (unacked == 0)
            break;
    }
    millrace_detach(client);
    mr_store_relaxed(&door.stop, true);
    pthread_join(door.thread, NULL);
    fake_must(pthread_create(&door.thread, NULL, fake_main, &door) == 0); /* joined again by stop */
    for (uint32_t p = 0; p < FAKE_PARTITIONS; p++) {
        uint64_t stored = 0;
        for (uint64_t i = 0; i < sent[p].count; i++) {
            fake_must(sent[p].offset[i] != UNACKED);
            if (sent[p].offset[i] == FAILED || sent[p].offset[i] == GONE)
                continue;
            fake_must(stored < door.log_end[p] && door.log[p][stored] == sent[p].value[i]);
            fake_must(sent[p].offset[i] == (int64_t)stored);
            stored++;
        }
        fake_must(stored == door.log_end[p]);
    }
    printf("kills %llu refusals %llu moves %llu duplicates %llu out of order %llu not owner %llu lost %llu full %u\n", (unsigned long long)door.kills,
           (unsigned long long)door.refusals, (unsigned long long)door.moves, (unsigned long long)door.duplicates,
           (unsigned long long)door.out_of_order, (unsigned long long)door.not_owner, (unsigned long long)door.lost, again);
    fflush(stdout);
    fake_door_stop(&door);
}

int main(void)
{
    uint64_t seed = property_seed();

    for (uint64_t i = 0; i < 6; i++)
        run(seed + i);
    return 0;
}
