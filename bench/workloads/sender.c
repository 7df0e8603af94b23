/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/workloads/sender.h"

#include "shm/base/atomics.h"

#include <errno.h>
#include <string.h>

#define ACKS_AT_ONCE 64
#define FINISH_NS    (60 * 1000000000ull)

int mr_bench_sender_open(struct mr_bench_sender *sender, struct millrace_client *client, const struct mr_bench_sender_options *options,
                         struct millrace_error *err)
{
    struct millrace_producer_options producer;

    memset(sender, 0, sizeof *sender);
    millrace_producer_options_init(&producer);
    producer.ring_bytes = options->ring_bytes;
    if (options->value_bytes > producer.record_bytes_max)
        producer.record_bytes_max = options->value_bytes;
    sender->key = options->key;
    sender->lane = (uint64_t)options->lane << MR_VALUE_LANE_SHIFT;
    sender->value_bytes = options->value_bytes;
    return millrace_producer_open(&sender->producer, client, options->topic, &producer, err);
}

void mr_bench_sender_restart(struct mr_bench_sender *sender, uint64_t key)
{
    sender->key = key;
    sender->sent = sender->acked = 0;
}

uint64_t mr_bench_collect(struct mr_bench_sender *sender)
{
    struct millrace_ack acks[ACKS_AT_ONCE];
    uint64_t records = 0;
    int count;

    do {
        count = millrace_producer_poll_acks(sender->producer, acks, ACKS_AT_ONCE);
        for (int i = 0; i < count; i++) {
            bool right = acks[i].error == 0 && acks[i].first_sequence == sender->ack_next;
            sender->wrong += right ? 0 : acks[i].count;
            if (!right && sender->error == 0)
                sender->error = acks[i].error != 0 ? acks[i].error : -EBADMSG;
            sender->ack_next = acks[i].first_sequence + acks[i].count;
            records += acks[i].count;
        }
    } while (count == ACKS_AT_ONCE);
    if (count < 0 && sender->error == 0)
        sender->error = count;
    sender->acked += records;
    return records;
}

static MR_COLD bool wait_for_room(struct mr_bench_sender *sender, int rc)
{
    if (rc != -EAGAIN) {
        sender->error = rc;
        return false;
    }
    if (mr_bench_collect(sender) == 0)
        mr_cpu_relax();
    return sender->error == 0;
}

bool mr_bench_send(struct mr_bench_sender *sender, uint32_t count)
{
    struct millrace_slot slots[MR_SENDER_BATCH_MAX];

    for (uint32_t i = 0; i < count;) {
        int rc = millrace_producer_claim(sender->producer, sender->value_bytes, NULL, &slots[i]);
        if (mr_likely(rc == 0)) {
            mr_value_fill(slots[i].value, sender->value_bytes, sender->lane | (sender->sent + i), sender->key);
            i++;
        } else if (!wait_for_room(sender, rc)) {
            millrace_producer_abort(sender->producer, slots, i);
            return false;
        }
    }
    int rc = millrace_producer_commit(sender->producer, slots, count);
    if (mr_unlikely(rc != (int)count)) {
        sender->error = rc < 0 ? rc : -EIO;
        return false;
    }
    sender->sent += count;
    return true;
}

bool mr_bench_send_to(struct mr_bench_sender *sender, int32_t partition, uint64_t stamp, uint64_t *sequence)
{
    struct millrace_record_options options;
    struct millrace_slot slot;

    millrace_record_options_init(&options);
    options.partition = partition;
    int rc = millrace_producer_claim(sender->producer, sender->value_bytes, &options, &slot);
    if (rc == 0) {
        mr_value_fill(slot.value, sender->value_bytes, stamp, sender->key);
        rc = millrace_producer_commit(sender->producer, &slot, 1);
        rc = rc == 1 ? 0 : rc < 0 ? rc : -EIO;
    }
    if (rc != 0) {
        sender->error = rc;
        return false;
    }
    *sequence = slot.sequence;
    sender->sent++;
    return true;
}

int mr_bench_sender_finish(struct mr_bench_sender *sender, struct millrace_error *err)
{
    uint64_t end = mr_measure_now_ns() + FINISH_NS;

    while (sender->error == 0 && sender->acked < sender->sent) {
        if (mr_bench_collect(sender) != 0)
            continue;
        if (mr_measure_now_ns() > end)
            return mr_err(err, ETIMEDOUT, "%llu of %llu records were not acknowledged within 60 s: look at the node's log",
                          (unsigned long long)(sender->sent - sender->acked), (unsigned long long)sender->sent);
        mr_cpu_relax();
    }
    if (sender->error != 0)
        return mr_err(err, -sender->error, "%llu records were refused or acknowledged out of order (%s): look at the node's log",
                      (unsigned long long)sender->wrong, strerror(-sender->error));
    return 0;
}

void mr_bench_sender_release(struct mr_bench_sender *sender)
{
    millrace_producer_close(sender->producer);
    memset(sender, 0, sizeof *sender);
}
