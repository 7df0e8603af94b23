/* SPDX-License-Identifier: Apache-2.0 */
/* A consumer's birth, its return after the daemon's death, where it stands, and its end. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/client/consumer_internal.h"

/* The slot file grows while we read; a mapping may reach beyond the end of a file, and what is behind it is not touched. */
#define SLOTS_MAP_BYTES_MAX (8ull << 30)

MR_CLIENT_EXPORT void millrace_consumer_options_init(struct millrace_consumer_options *options)
{
    *options = (struct millrace_consumer_options){.size_bytes = sizeof *options, .start = MILLRACE_START_END};
}

static int map_slots(struct millrace_consumer *consumer, int fd, struct millrace_error *err)
{
    struct stat st;

    consumer->slots = NULL;
    consumer->slots_map_bytes = consumer->slots_bytes = 0;
    consumer->slots_fd = fd;
    if (fstat(fd, &st) != 0)
        return mr_err(err, errno, "a topic's slot file: %s", strerror(errno));
    uint64_t sizes[] = {SLOTS_MAP_BYTES_MAX, mr_align_up((uint64_t)st.st_size, MR_BLOCK_BYTES)};
    for (uint32_t i = 0; i < MR_COUNT_OF(sizes) && consumer->slots == NULL && sizes[i] > 0; i++) {
        void *base = mmap(NULL, sizes[i], PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
        if (base != MAP_FAILED) {
            consumer->slots = base;
            consumer->slots_map_bytes = sizes[i];
        }
    }
    consumer->slots_bytes = mr_min_u64((uint64_t)st.st_size, consumer->slots_map_bytes);
    return consumer->slots != NULL || st.st_size == 0 ? 0 : mr_err(err, ENOMEM, "mapping a topic's slot file: %s", strerror(errno));
}

static int map_pins(struct millrace_consumer *consumer, int fd, struct millrace_error *err)
{
    struct stat st;

    consumer->pins_bytes = mr_pins_bytes(consumer->partition_count);
    if (fstat(fd, &st) != 0 || (uint64_t)st.st_size < consumer->pins_bytes)
        return mr_err(err, EPROTO, "the broker's memory for pins is too small");
    void *base = mmap(NULL, consumer->pins_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (base == MAP_FAILED)
        return mr_err(err, errno, "mapping a consumer's pins: %s", strerror(errno));
    consumer->pins = base;
    return 0;
}

/* OPEN_CONSUMER, first or again: maps everything into the consumer, over whatever was there. */
static int introduce(struct millrace_consumer *consumer, int timeout_ms, struct millrace_error *err)
{
    struct mr_message_open_consumer request;
    union mr_message reply;
    int fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count;

    memset(&request, 0, sizeof request);
    strcpy(request.topic, consumer->topic);
    int rc = mr_client_request(consumer->client, &request.header, sizeof request, MR_MESSAGE_OPEN_CONSUMER, &reply,
                               MR_MESSAGE_CONSUMER_OPENED, sizeof reply.consumer_opened, fds, &fd_count, timeout_ms, err);
    if (rc != 0)
        return rc;
    const struct mr_message_consumer_opened *opened = &reply.consumer_opened;
    consumer->head = NULL;
    consumer->pins = NULL;
    consumer->slots = NULL;
    consumer->slots_fd = -1;
    if (fd_count != 3 || (uint64_t)opened->handle_first + opened->partition_count > UINT16_MAX + 1u || opened->slot_bytes == 0) {
        mr_client_close_fds(fds, fd_count);
        return mr_err(err, EPROTO, "the broker opened a consumer on '%s' in a way that this library does not know", consumer->topic);
    }
    consumer->number = opened->consumer;
    consumer->handle_first = opened->handle_first;
    consumer->rings_end = consumer->client->ring_next;
    consumer->partition_count = opened->partition_count;
    consumer->slot_bytes = opened->slot_bytes;
    consumer->topic_id = opened->topic_id;
    rc = mr_head_map(fds[0], opened->partition_count, &consumer->head, &consumer->head_bytes, err);
    if (rc == 0)
        rc = map_pins(consumer, fds[1], err);
    if (rc == 0)
        rc = map_slots(consumer, fds[2], err); /* keeps its descriptor */
    else
        close(fds[2]);
    mr_client_close_fds(fds, 2);
    return rc;
}

static void unmap(struct millrace_consumer *consumer)
{
    mr_head_unmap(consumer->head, consumer->head_bytes);
    if (consumer->pins != NULL) {
        mr_store_release(&consumer->pins[mr_pins_left_index(consumer->partition_count)], 1);
        munmap(consumer->pins, consumer->pins_bytes);
    }
    if (consumer->slots != NULL)
        munmap((void *)(uintptr_t)consumer->slots, consumer->slots_map_bytes);
    if (consumer->slots_fd >= 0)
        close(consumer->slots_fd);
}

int mr_reader_subscribe(struct millrace_consumer *consumer, struct mr_reader *reader, uint64_t *log_start, uint64_t *visible, int timeout_ms,
                        struct millrace_error *err)
{
    struct mr_message_subscribe request = {.consumer = consumer->number, .partition = reader->partition};
    union mr_message reply;
    int fds[MR_MESSAGE_FDS_MAX];
    uint32_t fd_count;

    reader->head = mr_head_partition_at(consumer->head, reader->partition);
    reader->pin = consumer->pins + (uint64_t)reader->partition * MR_PINS_PER_PARTITION;
    int rc = mr_client_request(consumer->client, &request.header, sizeof request, MR_MESSAGE_SUBSCRIBE, &reply, MR_MESSAGE_SUBSCRIBED,
                               sizeof reply.subscribed, fds, &fd_count, timeout_ms, err);
    if (rc != 0)
        return rc;
    mr_client_close_fds(fds, fd_count);
    *log_start = reply.subscribed.log_start;
    *visible = reply.subscribed.visible;
    return 0;
}

static void free_consumer(struct millrace_consumer *consumer)
{
    for (uint32_t i = 0; i < consumer->reader_count; i++) {
        struct mr_reader *reader = &consumer->reader[i];
        mr_reader_free_cold(reader);
        for (uint32_t m = 0; m < reader->map_count; m++)
            munmap((void *)(uintptr_t)reader->maps[m].base, reader->maps[m].bytes);
        free(reader->maps);
    }
    mr_consumer_dig(consumer);
    unmap(consumer);
    free(consumer->reader);
    free(consumer->graves);
    free(consumer);
}

static int choose(struct millrace_consumer *consumer, const struct millrace_consumer_options *options, struct millrace_error *err)
{
    uint32_t count = options->partitions != NULL ? options->partition_count : consumer->partition_count;

    if (count == 0)
        return mr_err(err, EINVAL, "options.partitions is empty: NULL means all");
    consumer->reader = calloc(count, sizeof *consumer->reader);
    if (consumer->reader == NULL)
        return mr_err(err, ENOMEM, "no memory for a consumer of %u partitions", count);
    consumer->reader_count = count;
    for (uint32_t i = 0; i < count; i++) {
        int64_t partition = options->partitions != NULL ? options->partitions[i] : (int64_t)i;
        if (partition < 0 || partition >= consumer->partition_count)
            return mr_err(err, EINVAL, "topic '%s' has partitions 0 to %u, not %lld", consumer->topic, consumer->partition_count - 1,
                          (long long)partition);
        for (uint32_t k = 0; k < i; k++)
            if (consumer->reader[k].partition == (uint32_t)partition)
                return mr_err(err, EINVAL, "options.partitions names partition %lld twice", (long long)partition);
        consumer->reader[i].partition = (uint32_t)partition;
    }
    return 0;
}

static void unlist(struct millrace_consumer *consumer)
{
    struct millrace_consumer **at = &consumer->client->consumers;

    while (*at != consumer)
        at = &(*at)->next;
    *at = consumer->next;
}

MR_CLIENT_EXPORT int millrace_consumer_open(struct millrace_consumer **result, struct millrace_client *client, const char *topic,
                                            const struct millrace_consumer_options *given, struct millrace_error *err)
{
    struct millrace_consumer_options options;
    const char *verify = getenv("MILLRACE_VERIFY");

    *result = NULL;
    if (err != NULL)
        *err = (struct millrace_error){0};
    millrace_consumer_options_init(&options);
    if (given != NULL) {
        if (given->size_bytes < offsetof(struct millrace_consumer_options, partition_count) + sizeof given->partition_count)
            return mr_err(err, EINVAL, "options.size_bytes is %zu: use millrace_consumer_options_init()", given->size_bytes);
        memcpy(&options, given, given->size_bytes < sizeof options ? given->size_bytes : sizeof options);
    }
    if (strlen(topic) == 0 || strlen(topic) > MR_TOPIC_NAME_MAX)
        return mr_err(err, EINVAL, "a topic's name has 1 to %d characters", MR_TOPIC_NAME_MAX);
    if (mr_client_drive(client) != 0)
        return mr_err(err, ENOTCONN, "the broker is gone: attach anew");
    struct millrace_consumer *consumer = calloc(1, sizeof *consumer);
    if (consumer == NULL)
        return mr_err(err, ENOMEM, "no memory for a consumer");
    consumer->client = client;
    consumer->slots_fd = -1;
    consumer->verify = verify != NULL && verify[0] != 0 && strcmp(verify, "0") != 0;
    strcpy(consumer->topic, topic);
    int rc = introduce(consumer, MR_CLIENT_REQUEST_MS, err);
    if (rc == 0)
        rc = choose(consumer, &options, err);
    if (rc != 0) {
        free_consumer(consumer);
        return rc;
    }
    consumer->next = client->consumers; /* from here on it gets its extents */
    client->consumers = consumer;
    for (uint32_t i = 0; i < consumer->reader_count && rc == 0; i++) {
        uint64_t log_start = 0, visible = 0;
        rc = mr_reader_subscribe(consumer, &consumer->reader[i], &log_start, &visible, MR_CLIENT_REQUEST_MS, err);
        consumer->reader[i].offset = options.start == MILLRACE_START_BEGIN    ? log_start
                                     : options.start == MILLRACE_START_OFFSET ? options.start_offset
                                                                              : visible;
    }
    if (rc != 0) {
        unlist(consumer);
        free_consumer(consumer);
        return rc;
    }
    *result = consumer;
    return 0;
}

MR_CLIENT_EXPORT void millrace_consumer_close(struct millrace_consumer *consumer)
{
    if (consumer == NULL)
        return;
    struct millrace_client *client = consumer->client;
    for (uint32_t i = 0; i < consumer->reader_count; i++)
        mr_reader_unpin(&consumer->reader[i], true);
    if (client->state == MR_CLIENT_ATTACHED && !consumer->lost) {
        struct mr_message_close request = {.index = consumer->number};
        union mr_message reply;
        int fds[MR_MESSAGE_FDS_MAX];
        uint32_t fd_count;
        int rc = mr_client_request(client, &request.header, sizeof request, MR_MESSAGE_CLOSE_CONSUMER, &reply, MR_MESSAGE_DONE,
                                   sizeof reply.done, fds, &fd_count, MR_CLIENT_GREETING_MS, NULL);
        (void)rc; /* a daemon that is gone has closed it too */
    }
    unlist(consumer);
    free_consumer(consumer);
}

/* The reader that a push is for; NULL: its consumer was closed meanwhile. */
static struct mr_reader *find_reader(const struct millrace_client *client, const struct mr_message_extent *message,
                                     struct millrace_consumer **consumer)
{
    for (*consumer = client->consumers; *consumer != NULL; *consumer = (*consumer)->next)
        for (uint32_t i = 0; (*consumer)->number == message->consumer && !(*consumer)->lost && i < (*consumer)->reader_count; i++)
            if ((*consumer)->reader[i].partition == message->partition)
                return &(*consumer)->reader[i];
    return NULL;
}

void mr_consumers_expect_extents(struct millrace_client *client, const struct mr_message_extent *message)
{
    struct millrace_consumer *consumer;
    struct mr_reader *reader = find_reader(client, message, &consumer);

    if (reader != NULL)
        mr_reader_expect_extents(consumer, reader, message->file_id);
}

void mr_consumers_take_extent(struct millrace_client *client, const struct mr_message_extent *message, int fd)
{
    struct millrace_consumer *consumer;
    struct mr_reader *reader = find_reader(client, message, &consumer);

    if (reader != NULL)
        mr_reader_add_extent(consumer, reader, message->file_id, message->bytes, fd);
    else if (fd >= 0)
        close(fd);
}

void mr_consumers_drop_extent(struct millrace_client *client, const struct mr_message_extent *message)
{
    struct millrace_consumer *consumer;
    struct mr_reader *reader = find_reader(client, message, &consumer);

    if (reader != NULL)
        mr_reader_drop_extent(consumer, reader, message->file_id);
}

void mr_consumers_lose(struct millrace_client *client)
{
    /* Nothing to do for what is being read: the memory stays, and so does what the head says. */
    for (struct millrace_consumer *consumer = client->consumers; consumer != NULL; consumer = consumer->next) {
        consumer->number = UINT32_MAX;
        for (uint32_t i = 0; i < consumer->reader_count; i++)
            consumer->reader[i].armed = false;
    }
}

/* The new daemon's memory takes the place of the old one's; where we stand is an offset. */
static int resume(struct millrace_consumer *consumer, struct millrace_error *err)
{
    struct millrace_consumer old = *consumer;
    int rc = introduce(consumer, MR_CLIENT_GREETING_MS, err);

    if (rc == 0 &&
        (memcmp(&old.topic_id, &consumer->topic_id, sizeof old.topic_id) != 0 || consumer->partition_count < old.partition_count))
        rc = mr_err(err, ESTALE, "topic '%s' was deleted and made anew: open a new consumer", consumer->topic);
    if (rc != 0) {
        if (consumer->head != old.head)
            unmap(consumer);
        *consumer = old;
        consumer->number = UINT32_MAX;
        return rc;
    }
    mr_consumer_bury(consumer, old.head, old.head_bytes); /* K4; a cursor of this poll may still look at it */
    mr_consumer_bury_pins(consumer, old.pins, old.partition_count);
    mr_consumer_bury(consumer, old.slots, old.slots_map_bytes);
    if (old.slots_fd >= 0)
        close(old.slots_fd);
    for (uint32_t i = 0; i < consumer->reader_count; i++) {
        struct mr_reader *reader = &consumer->reader[i];
        for (uint32_t m = 0; m < reader->map_count; m++)
            mr_consumer_bury(consumer, reader->maps[m].base, reader->maps[m].bytes);
        reader->map_count = 0;
        memset(reader->pinned, 0, sizeof reader->pinned); /* what is held stays noted, until the next poll (K5) */
        reader->head = mr_head_partition_at(consumer->head, reader->partition);
        reader->pin = consumer->pins + (uint64_t)reader->partition * MR_PINS_PER_PARTITION;
        mr_reader_leave_cold(reader);
        reader->state = MR_READER_LOOKING;
        reader->in_batch = false;
        reader->extent = NULL;
        reader->visible = 0;
        reader->retry_ns = 0;
        reader->unmapped_ns = 0;
    }
    for (uint32_t i = 0; i < consumer->reader_count && rc == 0; i++) {
        uint64_t log_start, visible;
        rc = mr_reader_subscribe(consumer, &consumer->reader[i], &log_start, &visible, MR_CLIENT_GREETING_MS, err);
    }
    return rc;
}

int mr_consumers_resume(struct millrace_client *client)
{
    for (struct millrace_consumer *consumer = client->consumers; consumer != NULL; consumer = consumer->next) {
        struct millrace_error err = {0};
        int rc = consumer->lost ? 0 : resume(consumer, &err);
        if (rc == -ENOTCONN || rc == -ETIMEDOUT || rc == -ENOMEM || rc == -EAGAIN)
            return rc;
        if (rc != 0) {
            client->last_error = err;
            consumer->lost = true;
        }
    }
    return 0;
}

MR_CLIENT_EXPORT int millrace_consumer_position(struct millrace_consumer *consumer, int32_t partition, uint64_t *next, uint64_t *log_start,
                                                uint64_t *end)
{
    for (uint32_t i = 0; i < consumer->reader_count; i++) {
        struct mr_reader *reader = &consumer->reader[i];
        if (reader->partition != (uint32_t)partition)
            continue;
        if (next != NULL)
            *next = reader->offset;
        if (log_start != NULL)
            *log_start = mr_load_relaxed(&reader->head->log_start);
        if (end != NULL)
            *end = mr_load_acquire(&reader->head->visible);
        return 0;
    }
    return -EINVAL;
}

MR_CLIENT_EXPORT uint32_t millrace_consumer_partition_count(const struct millrace_consumer *consumer)
{
    return consumer->partition_count;
}
