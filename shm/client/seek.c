/* SPDX-License-Identifier: Apache-2.0 */
/* Where to read next: an offset, an end of the log, or a time.
 *
 * A time is looked for as Kafka's offsetsForTimes does: the first record in order of offsets that is of this time or later; times need not grow. The
 * daemon names the first segment that may hold one, and gives its time index, or what it knows itself of one that is not closed; all reading, of
 * that and of the log, is done in this thread. The index is a hint (shm/segment/index.h): the batch that it names is read first, and if it is not what
 * the index said, the whole segment is. */
#include "shm/client/consumer_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "shm/segment/index.h"

#define PATIENCE_NS     (30ull * 1000000000u) /* for the daemon, or for memory that it has not told of yet */
#define NAP_NS          200000
#define TIME_INDEX_MAX  (4u << 20)

static void place(struct mr_reader *reader, uint64_t offset)
{
    reader->offset = offset;
    mr_reader_leave_cold(reader);
    reader->state = MR_READER_LOOKING; /* its pins go when the next poll begins */
    reader->in_batch = false;
    reader->error = 0;
    reader->retry_ns = 0;
    reader->unmapped_ns = 0;
}

static int seek(struct millrace_consumer *consumer, int32_t partition, enum millrace_start start, uint64_t offset)
{
    bool any = false;

    for (uint32_t i = 0; i < consumer->reader_count; i++) {
        struct mr_reader *reader = &consumer->reader[i];
        if (partition != -1 && reader->partition != (uint32_t)partition)
            continue;
        any = true;
        place(reader, start == MILLRACE_START_BEGIN ? mr_load_relaxed(&reader->head->log_start)
                      : start == MILLRACE_START_END ? mr_load_acquire(&reader->head->visible)
                                                    : offset);
    }
    return any ? 0 : -EINVAL;
}

MR_CLIENT_EXPORT int millrace_consumer_seek_offset(struct millrace_consumer *consumer, int32_t partition, uint64_t offset)
{
    return seek(consumer, partition, MILLRACE_START_OFFSET, offset);
}

MR_CLIENT_EXPORT int millrace_consumer_seek_start(struct millrace_consumer *consumer, int32_t partition)
{
    return seek(consumer, partition, MILLRACE_START_BEGIN, 0);
}

MR_CLIENT_EXPORT int millrace_consumer_seek_end(struct millrace_consumer *consumer, int32_t partition)
{
    return seek(consumer, partition, MILLRACE_START_END, 0);
}

struct search {
    struct millrace_consumer *consumer;
    struct mr_reader *reader;
    int64_t time_ms;
    uint64_t deadline_ns;
};

static int nap(struct search *search)
{
    struct timespec pause = {.tv_nsec = NAP_NS};

    if (mr_client_now_ns() > search->deadline_ns)
        return -ETIMEDOUT;
    int rc = mr_client_drive(search->consumer->client);
    if (rc != 0 || search->consumer->lost)
        return -ENOTCONN;
    if (mr_load_relaxed(&search->consumer->head->deleted) != 0)
        return -ENOENT;
    nanosleep(&pause, NULL);
    mr_consumer_begin(search->consumer); /* what the daemon told meanwhile */
    return 0;
}

/* Open the next batch, whatever it takes. @return 1; 0: there is none; -errno */
static int next_batch(struct search *search)
{
    struct mr_reader *reader = search->reader;

    for (;;) {
        reader->buffer_poll = 0; /* nothing of it is in the caller's hands */
        int rc = mr_reader_next_batch(search->consumer, reader);
        if (rc != 0)
            return rc;
        if (reader->offset >= mr_load_acquire(&reader->head->visible))
            return 0;
        rc = nap(search);
        if (rc != 0)
            return rc;
    }
}

/* Leave the batch that is open. @return false: it was overwritten while we looked */
static bool end_batch(struct mr_reader *reader)
{
    reader->in_batch = false;
    reader->buffer_poll = 0;
    reader->offset = mr_max_u64(reader->offset, reader->batch_end);
    bool intact = mr_reader_is_intact(reader);
    mr_reader_unpin(reader, false);
    return intact;
}

/* Within a search, where nothing is in the caller's hands. */
static void search_from(struct mr_reader *reader, uint64_t offset)
{
    place(reader, offset);
    mr_reader_unpin(reader, true);
}

/* Is the batch that ends with this offset what the index says? */
static int is_right(struct search *search, const struct mr_time_index_hint *hint, bool *right)
{
    struct mr_reader *reader = search->reader;
    struct mr_batch_record record;
    int64_t max_ms = INT64_MIN;

    *right = false;
    search_from(reader, hint->offset);
    int rc = next_batch(search);
    if (rc != 1)
        return rc == -EBADMSG || rc == -ERANGE ? 0 : rc;
    while ((rc = mr_batch_next(&reader->batch, &record)) == 1)
        max_ms = record.timestamp_ms > max_ms ? record.timestamp_ms : max_ms;
    uint64_t end = reader->batch_end;
    *right = end_batch(reader) && rc == 0 && max_ms == hint->timestamp_ms && end == hint->offset + 1;
    return 0;
}

/* The first record from `offset` on, and before `end`, that is late enough. @return 1; 0: none; -errno */
static int scan(struct search *search, uint64_t offset, uint64_t end, uint64_t *found)
{
    struct mr_reader *reader = search->reader;
    struct mr_batch_record record;

    search_from(reader, offset);
    while (reader->offset < end) {
        uint64_t from = reader->offset;
        int rc = next_batch(search);
        if (rc != 1)
            return rc;
        bool is_there = false;
        while (!is_there && (rc = mr_batch_next(&reader->batch, &record)) == 1)
            is_there = (uint64_t)record.offset >= from && record.timestamp_ms >= search->time_ms;
        if (!end_batch(reader)) {
            search_from(reader, from); /* once more, wherever it is now */
            continue;
        }
        if (rc < 0)
            return rc;
        *found = (uint64_t)record.offset;
        if (is_there)
            return 1;
    }
    return 0;
}

/* Ask for the next segment that may hold it. @param fd its time index, or -1 @return 0; -ENOENT: none */
static int ask(struct search *search, uint64_t offset, union mr_message *reply, int *fd)
{
    struct millrace_client *client = search->consumer->client;
    struct mr_message_find_time request = {.consumer = search->consumer->number, .partition = search->reader->partition, .offset = offset,
                                           .time_ms = search->time_ms};
    int fds[MR_MESSAGE_FDS_MAX], rc;
    uint32_t fd_count = 0;

    while ((rc = client->state == MR_CLIENT_ATTACHED
                     ? mr_client_request(client, &request.header, sizeof request, MR_MESSAGE_FIND_TIME, reply, MR_MESSAGE_TIME_IS,
                                         sizeof reply->time_is, fds, &fd_count, MR_CLIENT_REQUEST_MS, NULL)
                     : -ENOTCONN) == -ENOTCONN) {
        rc = nap(search);
        if (rc != 0)
            return rc;
        request.consumer = search->consumer->number; /* the next daemon counts anew */
    }
    *fd = rc == 0 && fd_count == 1 ? fds[0] : -1;
    if (rc == 0 && fd_count > 1)
        mr_client_close_fds(fds, fd_count);
    return rc;
}

/* @return as mr_time_index_find(); 0 also when it cannot be read */
static int read_hint(int fd, uint64_t base_offset, int64_t time_ms, struct mr_time_index_hint *hint)
{
    struct stat st;
    int rc = 0;

    if (fstat(fd, &st) != 0 || st.st_size <= 0 || st.st_size > TIME_INDEX_MAX)
        return 0;
    uint8_t *bytes = malloc((size_t)st.st_size);
    if (bytes != NULL && pread(fd, bytes, (size_t)st.st_size, 0) == (ssize_t)st.st_size)
        rc = mr_time_index_find(bytes, (size_t)st.st_size, base_offset, time_ms, hint);
    free(bytes);
    return rc == 1 ? 1 : 0;
}

/* @param found set to the offset, or to the end of the log */
static int find_time(struct search *search, uint64_t *found)
{
    struct mr_reader *reader = search->reader;
    uint64_t offset = mr_load_relaxed(&reader->head->log_start);

    for (;;) {
        struct mr_time_index_hint hint;
        union mr_message reply;
        bool right = false;
        int fd;
        uint64_t log_start = mr_load_relaxed(&reader->head->log_start);
        offset = mr_max_u64(offset, log_start);
        int rc = ask(search, offset, &reply, &fd);
        if (rc == -ENOENT && mr_load_relaxed(&search->consumer->head->deleted) == 0) {
            *found = mr_load_acquire(&reader->head->visible);
            return 0;
        }
        if (rc == -ERANGE)
            continue; /* trimmed meanwhile */
        if (rc != 0)
            return rc;
        uint64_t next_offset = reply.time_is.next_offset;
        offset = mr_max_u64(offset, reply.time_is.base_offset);
        hint = (struct mr_time_index_hint){.offset = reply.time_is.hint_offset, .timestamp_ms = reply.time_is.hint_ms};
        bool is_hinted = hint.offset != UINT64_MAX;
        if (fd >= 0) {
            is_hinted = read_hint(fd, reply.time_is.base_offset, search->time_ms, &hint) == 1;
            close(fd);
        }
        rc = is_hinted && hint.offset >= offset ? is_right(search, &hint, &right) : 0;
        if (rc != 0)
            return rc;
        if (right && hint.all_before) {
            offset = next_offset;
            continue;
        }
        rc = scan(search, right ? hint.offset + 1 : offset, next_offset, found);
        if (rc == 1)
            return 0;
        if (rc == 0 && reader->offset < next_offset) { /* what comes next is not committed yet */
            *found = reader->offset;
            return 0;
        }
        if (rc != 0 && rc != -ERANGE)
            return rc;
        offset = rc == 0 ? next_offset : offset;
    }
}

MR_CLIENT_EXPORT int millrace_consumer_seek_time(struct millrace_consumer *consumer, int32_t partition, int64_t time_ms)
{
    bool any = false;
    int rc = 0;

    mr_consumer_begin(consumer);
    for (uint32_t i = 0; i < consumer->reader_count && rc == 0; i++) {
        struct mr_reader *reader = &consumer->reader[i];
        struct search search = {.consumer = consumer, .reader = reader, .time_ms = time_ms, .deadline_ns = mr_client_now_ns() + PATIENCE_NS};
        if (partition != -1 && reader->partition != (uint32_t)partition)
            continue;
        uint64_t before = reader->offset, found = 0;
        rc = find_time(&search, &found);
        place(reader, rc == 0 ? found : before);
        any = true;
    }
    return any ? rc : -EINVAL;
}
