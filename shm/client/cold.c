/* SPDX-License-Identifier: Apache-2.0 */
/* What is not in memory any more is read from its segment file, in the caller's thread, with O_DIRECT where the file system has it. The
 * daemon says how far the file is durable in place; behind that the records are in live extents, so a reader goes on there gaplessly. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/client/consumer_internal.h"

static bool make_buffer(struct mr_cold_segment *cold, uint64_t bytes)
{
    uint8_t *buffer = aligned_alloc(MR_BLOCK_BYTES, mr_align_up(bytes, MR_BLOCK_BYTES));

    if (buffer == NULL)
        return false;
    free(cold->buffer);
    cold->buffer = buffer;
    cold->buffer_bytes = mr_align_up(bytes, MR_BLOCK_BYTES);
    return true;
}

static void close_files(struct mr_cold_segment *cold)
{
    if (cold->log_fd >= 0)
        close(cold->log_fd);
    if (cold->side_fd >= 0)
        close(cold->side_fd);
    cold->log_fd = cold->side_fd = -1;
}

static void free_segment(struct mr_reader *reader)
{
    close_files(reader->cold);
    free(reader->cold->buffer);
    free(reader->cold);
    reader->cold = NULL;
}

/* Of so many partitions at a time, so that a reader of thousands needs no gigabytes and keeps to the usual limit of descriptors. A place comes free
 * when its file has been read, or enough of it, and what was read is not in the caller's hands, nor about to be. */
static struct mr_reader **cold_place(struct millrace_consumer *consumer)
{
    if (consumer->cold_count < MR_COLD_READERS_MAX)
        return &consumer->cold[consumer->cold_count++];
    for (uint32_t i = 0; i < MR_COLD_READERS_MAX; i++) {
        struct mr_reader *one = consumer->cold[i];
        bool enough = one->state != MR_READER_COLD || one->cold->given_bytes >= MR_COLD_SHARE_BYTES;
        if (!enough || one->buffer_poll == consumer->poll_count)
            continue;
        mr_reader_leave_cold(one);
        free_segment(one);
        return &consumer->cold[i];
    }
    return NULL;
}

int mr_reader_go_cold(struct millrace_consumer *consumer, struct mr_reader *reader)
{
    struct millrace_client *client = consumer->client;
    struct mr_message_segment request = {.consumer = consumer->number, .partition = reader->partition, .offset = reader->offset};
    union mr_message reply;
    int fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count;
    struct stat st;

    uint64_t now_ns = mr_client_now_ns();
    if (client->state != MR_CLIENT_ATTACHED || now_ns < reader->retry_ns)
        return 0;
    reader->retry_ns = now_ns + MR_COLD_RETRY_NS;
    struct mr_cold_segment *cold = reader->cold;
    if (cold == NULL) {
        struct mr_reader **place = cold_place(consumer);
        if (place == NULL)
            return 0; /* all are being read from: when those have gone on */
        cold = calloc(1, sizeof *cold);
        if (cold == NULL || !make_buffer(cold, MR_COLD_BUFFER_BYTES)) {
            free(cold);
            *place = consumer->cold[--consumer->cold_count];
            return -ENOMEM;
        }
        cold->log_fd = cold->side_fd = -1;
        *place = reader;
        reader->cold = cold;
    }
    int rc = mr_client_request(client, &request.header, sizeof request, MR_MESSAGE_SEGMENT, &reply, MR_MESSAGE_SEGMENT_IS,
                               sizeof reply.segment_is, fds, &fd_count, MR_CLIENT_REQUEST_MS, NULL);
    if (rc == -ENOTCONN || rc == -ENOENT || rc == -EAGAIN)
        return 0; /* away; or not in a file yet, but going there: look in memory again */
    if (rc != 0)
        return rc;
    if (fd_count != 2) {
        mr_client_close_fds(fds, fd_count);
        return -EMFILE; /* lost on their way */
    }
    close_files(cold);
    cold->log_fd = fds[0];
    cold->side_fd = fds[1];
    struct mr_segment_source log = mr_segment_source_fd(fds[0], reply.segment_is.durable_position);
    struct mr_segment_source side = mr_segment_source_fd(fds[1], fstat(fds[1], &st) == 0 ? (uint64_t)st.st_size : 0);
    for (;;) {
        mr_segment_reader_init(&cold->reader, &log, reply.segment_is.base_offset, cold->buffer, cold->buffer_bytes);
        rc = mr_segment_reader_find(&cold->reader, &side, reader->offset);
        if (rc != -EMSGSIZE)
            break;
        if (cold->reader.need_bytes <= cold->buffer_bytes || !make_buffer(cold, cold->reader.need_bytes))
            return -ENOMEM;
    }
    if (rc == 0) {
        reader->state = MR_READER_COLD;
        reader->in_batch = false;
        reader->retry_ns = 0;
        return 0;
    }
    close_files(cold);
    return rc == -ENOENT ? 0 : rc; /* behind the durable end: live by now, or soon in place */
}

int mr_reader_without_map(struct millrace_consumer *consumer, struct mr_reader *reader)
{
    uint64_t now_ns = mr_client_now_ns(), log_start, visible;

    if (consumer->client->state != MR_CLIENT_ATTACHED)
        reader->unmapped_ns = 0; /* the next daemon tells anew */
    else if (reader->unmapped_ns == 0) {
        reader->unmapped_ns = now_ns;
        reader->ask_ns = now_ns + MR_UNMAPPED_ASK_NS;
    }
    if (reader->unmapped_ns == 0 || now_ns < reader->ask_ns)
        return 0;
    reader->ask_ns = now_ns + MR_UNMAPPED_AGAIN_NS;
    reader->retry_ns = 0;
    int rc = mr_reader_go_cold(consumer, reader);
    if (rc != 0 && rc != -EMFILE && rc != -ENOMEM) /* these may pass, and are what we are here for */
        return rc;
    if (reader->state == MR_READER_COLD) {
        reader->unmapped_ns = 0;
        return -EAGAIN;
    }
    rc = mr_reader_subscribe(consumer, reader, &log_start, &visible, MR_CLIENT_GREETING_MS, NULL);
    (void)rc; /* what it brings is looked at next; a daemon that went away meanwhile, too */
    return now_ns - reader->unmapped_ns < MR_UNMAPPED_MAX_NS ? 0 : -ENOMEM;
}

int mr_reader_cold_batch(struct mr_reader *reader, const uint8_t **batch, uint32_t *batch_bytes)
{
    struct mr_cold_segment *cold = reader->cold;

    for (;;) {
        int rc = mr_segment_reader_next(&cold->reader, batch, batch_bytes);
        if (rc == 0)
            mr_reader_leave_cold(reader);
        if (rc == 1)
            cold->given_bytes += *batch_bytes;
        if (rc != -EMSGSIZE)
            return rc;
        uint64_t need_bytes = cold->reader.need_bytes;
        uint8_t *grown = need_bytes > cold->buffer_bytes ? aligned_alloc(MR_BLOCK_BYTES, mr_align_up(need_bytes, MR_BLOCK_BYTES)) : NULL;
        if (grown == NULL)
            return -ENOMEM;
        mr_segment_reader_set_buffer(&cold->reader, grown, mr_align_up(need_bytes, MR_BLOCK_BYTES));
        free(cold->buffer);
        cold->buffer = grown;
        cold->buffer_bytes = mr_align_up(need_bytes, MR_BLOCK_BYTES);
    }
}

void mr_reader_leave_cold(struct mr_reader *reader)
{
    if (reader->cold != NULL)
        close_files(reader->cold);
    if (reader->state == MR_READER_COLD)
        reader->state = MR_READER_LOOKING;
}

void mr_reader_free_cold(struct mr_reader *reader)
{
    mr_reader_leave_cold(reader);
    if (reader->cold != NULL)
        free_segment(reader);
    mr_batch_decompressed_release(&reader->decompressed);
}
