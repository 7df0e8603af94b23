/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/workloads/reader.h"

#include "shm/base/atomics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SILENCE_NS (30 * 1000000000ull)
#define SEQUENCE_MASK ((1ull << MR_VALUE_LANE_SHIFT) - 1)

int mr_bench_reader_open(struct mr_bench_reader *reader, struct millrace_client *client, const char *topic, uint32_t value_bytes, uint32_t lanes,
                         struct millrace_error *err)
{
    struct millrace_consumer_options options;

    memset(reader, 0, sizeof *reader);
    reader->value_bytes = value_bytes;
    reader->lanes = lanes;
    reader->next = calloc(lanes, sizeof reader->next[0]);
    if (reader->next == NULL)
        return mr_err(err, ENOMEM, "no memory for %u lanes", lanes);
    millrace_consumer_options_init(&options);
    options.start = MILLRACE_START_END;
    return millrace_consumer_open(&reader->consumer, client, topic, &options, err);
}

void mr_bench_reader_restart(struct mr_bench_reader *reader, uint64_t key)
{
    reader->key = key;
    reader->received = reader->skipped = 0;
    memset(reader->next, 0, reader->lanes * sizeof reader->next[0]);
}

/* Not the next of its lane. After retention has overtaken us the first of a lane may be a later one. */
static MR_COLD void judge(struct mr_bench_reader *reader, const struct millrace_record *record, bool overtaken)
{
    if (record->value_bytes == reader->value_bytes) {
        uint64_t stamp = mr_value_stamp(record->value), lane = stamp >> MR_VALUE_LANE_SHIFT, sequence = stamp & SEQUENCE_MASK;
        if (overtaken && lane < reader->lanes && sequence > reader->next[lane] &&
            mr_value_is(record->value, record->value_bytes, stamp, reader->key)) {
            reader->skipped += sequence - reader->next[lane];
            reader->next[lane] = sequence + 1;
            return;
        }
    }
    reader->wrong++;
}

uint32_t mr_bench_read(struct mr_bench_reader *reader, int timeout_ms)
{
    struct millrace_record records[MR_READER_RECORDS];
    bool overtaken = false;

    int count = millrace_consumer_poll(reader->consumer, records, MR_READER_RECORDS, timeout_ms);
    if (mr_unlikely(count == -ERANGE)) {
        overtaken = true;
        count = millrace_consumer_seek_start(reader->consumer, -1);
        if (count == 0)
            count = millrace_consumer_poll(reader->consumer, records, MR_READER_RECORDS, timeout_ms);
    }
    if (mr_unlikely(count < 0)) {
        reader->error = count;
        return 0;
    }
    uint64_t key = reader->key;
    uint32_t bytes = reader->value_bytes;
    for (int i = 0; i < count; i++) {
        const struct millrace_record *record = &records[i];
        uint64_t lane = 0;
        if (mr_likely(record->value_bytes == bytes)) {
            lane = mr_value_stamp(record->value) >> MR_VALUE_LANE_SHIFT;
            if (mr_likely(lane < reader->lanes && mr_value_is(record->value, bytes, lane << MR_VALUE_LANE_SHIFT | reader->next[lane], key))) {
                reader->next[lane]++;
                continue;
            }
        }
        judge(reader, record, overtaken);
    }
    reader->received += (uint32_t)count;
    return (uint32_t)count;
}

int mr_bench_reader_verdict(const struct mr_bench_reader *reader, uint64_t count, struct millrace_error *err)
{
    if (reader->error != 0)
        return mr_err(err, -reader->error, "reading failed: %s; look at the node's log", strerror(-reader->error));
    if (reader->wrong != 0 || reader->received + reader->skipped != count)
        return mr_err(err, EBADMSG, "%llu records were acknowledged, %llu were read (%llu more were removed by retention), %llu of them torn, "
                      "doubled or out of order: run 'millrace log verify'", (unsigned long long)count, (unsigned long long)reader->received,
                      (unsigned long long)reader->skipped, (unsigned long long)reader->wrong);
    return 0;
}

int mr_bench_read_all(struct mr_bench_reader *reader, uint64_t count, struct millrace_error *err)
{
    uint64_t heard_ns = mr_measure_now_ns();

    while (reader->received + reader->skipped < count && reader->error == 0) {
        uint64_t now_ns = mr_measure_now_ns();
        if (mr_bench_read(reader, 0) != 0)
            heard_ns = now_ns;
        else if (now_ns - heard_ns > SILENCE_NS)
            break;
        else
            mr_cpu_relax();
    }
    return mr_bench_reader_verdict(reader, count, err);
}

void mr_bench_reader_release(struct mr_bench_reader *reader)
{
    millrace_consumer_close(reader->consumer);
    free(reader->next);
    memset(reader, 0, sizeof *reader);
}
