/* SPDX-License-Identifier: Apache-2.0 */
/* Reading. A consumer belongs to one thread, the one that attached its client. Records are read in place from the broker's log; a record is
 * never seen before it is committed as its topic's durability says. The memory behind a batch of records is pinned until the next poll.
 * While the broker is down, reading goes on to the last committed record, if what comes next is in memory still (millrace.memory.bytes); a reader
 * further behind goes on to the end of what it was last told that the file holds, and from there when the broker is back. */
#ifndef MILLRACE_CONSUMER_H
#define MILLRACE_CONSUMER_H

#include <stddef.h>
#include <stdint.h>

#include <millrace/error.h>
#include <millrace/producer.h> /* struct millrace_record */

#ifdef __cplusplus
extern "C" {
#endif

struct millrace_consumer;

enum millrace_start {
    MILLRACE_START_END = 0,    /* only what comes from now on */
    MILLRACE_START_BEGIN = 1,  /* everything that is still there */
    MILLRACE_START_OFFSET = 2, /* start_offset, in every partition read */
};

struct millrace_consumer_options {
    size_t size_bytes;
    enum millrace_start start; /* MILLRACE_START_END */
    uint64_t start_offset;
    const int32_t *partitions; /* NULL: all; copied */
    uint32_t partition_count;
};

void millrace_consumer_options_init(struct millrace_consumer_options *options);

/** @return 0; -ENOENT (no such topic), -EACCES, -EINVAL, -ENOTCONN, -ENOMEM, with a message. Blocks until the broker answers. */
int millrace_consumer_open(struct millrace_consumer **consumer, struct millrace_client *client, const char *topic,
                           const struct millrace_consumer_options *options, struct millrace_error *err);

/**
 * Take the next records, in offset order within each partition. Keys and values lie in the log, unaligned, until the next poll, copy, seek
 * or close of this consumer.
 * @param timeout_ms how long to wait for the first one: 0 not at all, -1 for ever. What has left memory is read from its file, in this call and
 *         this thread: one request to the broker a segment (some 100 us; 30 s with one that hangs, then -ETIMEDOUT) and reads of the disk, whatever
 *         the time-out. Readers of the live tail do neither. And see millrace_client_options.reattach_timeout_ms
 * @return how many, 0 after the time-out; -EBADMSG (a damaged batch: partition and offset by millrace_consumer_position());
 *         -ERANGE (the position was removed by retention: seek); -ENOTCONN; and these, which stay until a seek, to the position told at least:
 *         -ESTALE (what the poll before gave out was looked at for so long, seconds, that the broker had to use its memory for others: it may
 *         have changed meanwhile); -ENOMEM (for 5 s the memory of the log could not be mapped, and its file does not hold the next record: see
 *         the limits of address space, of mappings (vm.max_map_count) and of open files); -EMFILE (no descriptor left for that file)
 */
int millrace_consumer_poll(struct millrace_consumer *consumer, struct millrace_record *records, uint32_t max, int timeout_ms);

struct millrace_meta {
    uint64_t offset;
    int64_t timestamp_ms;
    int32_t partition;
    uint32_t value_bytes;
};

/**
 * Copy values of records of one size into an array: values[i] at i * value_bytes. A record of another size ends the batch before it, and
 * alone gives -EMSGSIZE. Waits for no record, as a poll with time-out 0. @param meta NULL, or max entries. @return how many
 */
int millrace_consumer_copy(struct millrace_consumer *consumer, void *values, size_t value_bytes, struct millrace_meta *meta, uint32_t max);

/** Header `index` of a polled record. @return 0; -ENOENT; pointers live as long as the record. */
int millrace_record_header(const struct millrace_record *record, uint32_t index, struct millrace_header *header);

/** @param partition -1: all. Takes effect at the next poll. @return 0; -EINVAL */
int millrace_consumer_seek_offset(struct millrace_consumer *consumer, int32_t partition, uint64_t offset);
int millrace_consumer_seek_start(struct millrace_consumer *consumer, int32_t partition);
int millrace_consumer_seek_end(struct millrace_consumer *consumer, int32_t partition);

/**
 * Go to the first record, in order of offsets, whose timestamp is at least time_ms (milliseconds since 1970), or to the end if there is none: Kafka's
 * offsetsForTimes. Blocks: it reads what it must of the log, in this thread, the files of old records among it; with a time index that is some
 * hundred KiB a partition; of a segment without one (it was begun before the last start of the broker), all of it. What a poll gave out is the
 * caller's no more.
 * @param partition -1: all, each for itself
 * @return 0; -EINVAL; -ENOTCONN, -ETIMEDOUT (30 s without an answer), -ENOENT (the topic was deleted), -EBADMSG and others as poll; then the position of
 *         that partition is as before
 */
int millrace_consumer_seek_time(struct millrace_consumer *consumer, int32_t partition, int64_t time_ms);

/** Where the next record comes from, the first offset that still exists, and the first not yet committed. Any pointer may be NULL. */
int millrace_consumer_position(struct millrace_consumer *consumer, int32_t partition, uint64_t *next, uint64_t *log_start, uint64_t *end);

uint32_t millrace_consumer_partition_count(const struct millrace_consumer *consumer);

/** Accepts NULL. */
void millrace_consumer_close(struct millrace_consumer *consumer);

#ifdef __cplusplus
}
#endif
#endif
