/* SPDX-License-Identifier: Apache-2.0 */
/* A consumer that checks every record it is given: both ends of its value, and that it is the next of its lane. One thread. */
#ifndef MR_BENCH_WORKLOADS_READER_H
#define MR_BENCH_WORKLOADS_READER_H

#include "bench/workloads/node.h"
#include "bench/workloads/value.h"

#define MR_READER_RECORDS 256

struct mr_bench_reader {
    struct millrace_consumer *consumer;
    uint64_t key;
    uint32_t value_bytes;
    uint32_t lanes;
    uint64_t *next;    /* sequence expected in each lane */
    uint64_t received;
    uint64_t wrong;    /* torn, doubled, out of order, of another run */
    uint64_t skipped;  /* removed by retention before they were read */
    int error;         /* of poll */
};

/** Open at the end of the topic. @param lanes 1..MR_VALUE_LANES_MAX */
int mr_bench_reader_open(struct mr_bench_reader *reader, struct millrace_client *client, const char *topic, uint32_t value_bytes, uint32_t lanes,
                         struct millrace_error *err) MR_MUST_USE;

/** Begin a new run: sequences from 0 under this key. */
void mr_bench_reader_restart(struct mr_bench_reader *reader, uint64_t key);

/** Take and check what is there. @param timeout_ms as millrace_consumer_poll()  @return how many; 0 also after an error (reader->error) */
uint32_t mr_bench_read(struct mr_bench_reader *reader, int timeout_ms);

/** Read until `count` records of this run were seen. @return 0; -ETIMEDOUT, -EBADMSG (lost, torn or out of order) with a message. */
int mr_bench_read_all(struct mr_bench_reader *reader, uint64_t count, struct millrace_error *err) MR_MUST_USE;

/** 0 if everything read so far was right, -EBADMSG with a message otherwise. */
int mr_bench_reader_verdict(const struct mr_bench_reader *reader, uint64_t count, struct millrace_error *err) MR_MUST_USE;

/** Accepts what is zeroed. */
void mr_bench_reader_release(struct mr_bench_reader *reader);

#endif
