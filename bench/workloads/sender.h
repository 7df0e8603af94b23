/* SPDX-License-Identifier: Apache-2.0 */
/* A producer whose every record and every ack is accounted for. One thread. */
#ifndef MR_BENCH_WORKLOADS_SENDER_H
#define MR_BENCH_WORKLOADS_SENDER_H

#include "bench/workloads/node.h"
#include "bench/workloads/value.h"

#define MR_SENDER_BATCH_MAX 1024u

struct mr_bench_sender {
    struct millrace_producer *producer;
    uint64_t key;   /* of the run: mr_value_fill() */
    uint64_t lane;  /* shifted into place */
    uint64_t sent;  /* records committed, also the sequence of the next */
    uint64_t acked;
    uint64_t wrong; /* acks that are errors, or not contiguous */
    uint64_t ack_next; /* first_sequence of the next ack, when all goes to one partition */
    uint32_t value_bytes;
    int error;      /* of the first that went wrong */
};

struct mr_bench_sender_options {
    const char *topic;
    uint32_t value_bytes;
    uint32_t ring_bytes; /* 0: the library's default */
    uint64_t key;
    uint32_t lane;
};

int mr_bench_sender_open(struct mr_bench_sender *sender, struct millrace_client *client, const struct mr_bench_sender_options *options,
                         struct millrace_error *err) MR_MUST_USE;

/** Begin a new run of sequences under a new key; nothing may be pending. */
void mr_bench_sender_restart(struct mr_bench_sender *sender, uint64_t key);

/**
 * Claim, fill and commit `count` records together. Waits, collecting acks, while the ring is full.
 * @return false: the producer has failed (sender->error)
 */
bool mr_bench_send(struct mr_bench_sender *sender, uint32_t count);

/** As mr_bench_send(), of one record, to one partition. @param sequence set to what its ack will say */
bool mr_bench_send_to(struct mr_bench_sender *sender, int32_t partition, uint64_t stamp, uint64_t *sequence);

/** Collect acks. @return how many records they acknowledged. */
uint64_t mr_bench_collect(struct mr_bench_sender *sender);

/** Wait until everything is acknowledged. @return 0; -ETIMEDOUT, -EIO and so on with a message. */
int mr_bench_sender_finish(struct mr_bench_sender *sender, struct millrace_error *err) MR_MUST_USE;

/** Accepts what is zeroed. */
void mr_bench_sender_release(struct mr_bench_sender *sender);

#endif
