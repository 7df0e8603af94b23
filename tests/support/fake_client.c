/* SPDX-License-Identifier: Apache-2.0 */
/* libmillrace's face over one small log in memory that forked processes share: what the commands do with it is tested without a node.
 * One topic, "t", two partitions. A ring of 8: every ninth record without a poll of acks finds it full. Not a model of delivery. */
#include "tests/support/fake_client.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING 8

struct stored {
    int32_t partition;
    uint64_t offset;
    int64_t timestamp_ms;
    int64_t key_bytes, value_bytes; /* -1: null */
    uint32_t header_count;
    char bytes[FAKE_BYTES_MAX]; /* key, value */
    char header[4][2][32];
};

struct log {
    pthread_mutex_t lock;
    struct fake_faults faults;
    uint32_t count;
    uint64_t end[FAKE_PARTITIONS], start[FAKE_PARTITIONS];
    struct stored record[FAKE_RECORDS_MAX];
};

struct millrace_client {
    int unused;
};

struct millrace_producer {
    uint64_t sequence[FAKE_PARTITIONS];
    struct millrace_ack ack[RING];
    uint32_t pending, robin;
    struct stored claimed;
};

struct millrace_consumer {
    uint32_t at; /* index of the next record of the log */
    int32_t partition;
    uint64_t next[FAKE_PARTITIONS];
};

static struct log *the_log;

struct fake_faults *fake_reset(void)
{
    pthread_mutexattr_t attributes;

    if (the_log != NULL)
        munmap(the_log, sizeof *the_log);
    the_log = mmap(NULL, sizeof *the_log, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (the_log == MAP_FAILED)
        abort();
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&the_log->lock, &attributes);
    return &the_log->faults;
}

static int refuse(struct millrace_error *err, int code, const char *text)
{
    err->code = code;
    snprintf(err->text, sizeof err->text, "%s", text);
    return -code;
}

void millrace_client_options_init(struct millrace_client_options *options)
{
    *options = (struct millrace_client_options){.size_bytes = sizeof *options, .reattach_timeout_ms = 30000};
}

int millrace_attach(struct millrace_client **client, const char *socket_path, const struct millrace_client_options *options,
                    struct millrace_error *err)
{
    if (the_log->faults.no_node)
        return refuse(err, ENOENT, "no node at /run/x.sock: start one with 'millrace up'");
    *client = calloc(1, sizeof **client);
    return 0;
}

void millrace_detach(struct millrace_client *client)
{
    free(client);
}

int millrace_topic_create(struct millrace_client *client, const char *topic, uint32_t partitions, const char *config, struct millrace_error *err)
{
    snprintf(the_log->faults.created, sizeof the_log->faults.created, "%s %u %s", topic, partitions, config != NULL ? config : "");
    return 0;
}

int millrace_topic_alter(struct millrace_client *client, const char *topic, const char *config, struct millrace_error *err)
{
    snprintf(the_log->faults.created, sizeof the_log->faults.created, "alter %s %s", topic, config);
    return 0;
}

int millrace_topic_add_partitions(struct millrace_client *client, const char *topic, uint32_t partitions, struct millrace_error *err)
{
    snprintf(the_log->faults.created, sizeof the_log->faults.created, "partitions %s %u", topic, partitions);
    return 0;
}

int millrace_topic_delete(struct millrace_client *client, const char *topic, struct millrace_error *err)
{
    snprintf(the_log->faults.created, sizeof the_log->faults.created, "delete %s", topic);
    return 0;
}

int millrace_topic_trim(struct millrace_client *client, const char *topic, uint32_t partition, uint64_t before_offset, struct millrace_error *err)
{
    size_t used = strlen(the_log->faults.created);
    snprintf(the_log->faults.created + used, sizeof the_log->faults.created - used, "trim %s-%u %lld;", topic, partition, (long long)before_offset);
    return 0;
}

int millrace_topic_describe(struct millrace_client *client, const char *topic, char **json, struct millrace_error *err)
{
    *json = strdup("{\"name\":\"t\",\"id\":\"0f\",\"partitions\":2,\"config\":\"segment.bytes=64MiB\\nretention.bytes=1GiB\\n\",\"durability\":\"disk\","
                   "\"segment.bytes\":67108864,\"retention.bytes\":1073741824,\"max.message.bytes\":1048588,\"log\":["
                   "{\"partition\":0,\"state\":\"online\",\"reactor\":0,\"directory\":\"/d\",\"log.start\":5,\"committed\":70,\"durable\":60,\"log.end\":80},"
                   "{\"partition\":1,\"state\":\"offline\",\"reactor\":1,\"directory\":\"/e\",\"log.start\":0,\"committed\":0,\"durable\":0,\"log.end\":0}]}");
    return 0;
}

int millrace_topic_list(struct millrace_client *client, char **json, struct millrace_error *err)
{
    *json = strdup("[{\"name\":\"t\",\"partitions\":2,\"durability\":\"disk\"},{\"name\":\"longer-name\",\"partitions\":16,\"durability\":\"leader\"}]");
    return 0;
}

const char *millrace_version(void)
{
    return "0.1.0";
}

void millrace_producer_options_init(struct millrace_producer_options *options)
{
    *options = (struct millrace_producer_options){.size_bytes = sizeof *options, .acks = MILLRACE_ACKS_ALL, .record_bytes_max = 65536, .idempotent = 1};
}

void millrace_record_options_init(struct millrace_record_options *options)
{
    *options = (struct millrace_record_options){.size_bytes = sizeof *options, .partition = MILLRACE_PARTITION_ANY, .timestamp_ms = -1};
}

int millrace_producer_open(struct millrace_producer **producer, struct millrace_client *client, const char *topic,
                           const struct millrace_producer_options *options, struct millrace_error *err)
{
    if (strcmp(topic, "t") != 0)
        return refuse(err, ENOENT, "no topic 'x': millrace topic create x");
    *producer = calloc(1, sizeof **producer);
    return 0;
}

static int fill(struct millrace_producer *producer, const struct millrace_record_options *options, int64_t value_bytes)
{
    struct stored *s = &producer->claimed;

    if (producer->pending == RING)
        return -EAGAIN;
    if (options->partition >= FAKE_PARTITIONS)
        return -EINVAL;
    if ((value_bytes > 0 ? value_bytes : 0) + options->key_bytes > FAKE_BYTES_MAX)
        return -EMSGSIZE;
    memset(s, 0, sizeof *s);
    s->partition = options->partition;
    if (s->partition < 0)
        s->partition = (int32_t)((options->key != NULL ? options->key_bytes : producer->robin++) % FAKE_PARTITIONS);
    s->timestamp_ms = options->timestamp_ms >= 0 ? options->timestamp_ms : 1000;
    s->key_bytes = options->key != NULL ? (int64_t)options->key_bytes : -1;
    s->value_bytes = value_bytes;
    if (options->key != NULL)
        memcpy(s->bytes, options->key, options->key_bytes);
    s->header_count = options->header_count > 4 ? 4 : options->header_count;
    for (uint32_t i = 0; i < s->header_count; i++) {
        snprintf(s->header[i][0], 32, "%.*s", (int)options->headers[i].key_bytes, options->headers[i].key);
        snprintf(s->header[i][1], 32, "%.*s", (int)options->headers[i].value_bytes, (const char *)options->headers[i].value);
    }
    return 0;
}

static void store(struct millrace_producer *producer)
{
    const struct stored *s = &producer->claimed;
    struct millrace_ack *ack = &producer->ack[producer->pending++];
    uint64_t number = producer->sequence[0] + producer->sequence[1];

    *ack = (struct millrace_ack){.first_sequence = producer->sequence[s->partition]++, .count = 1, .partition = s->partition};
    if (the_log->faults.fail_every != 0 && number % the_log->faults.fail_every == the_log->faults.fail_every - 1) {
        ack->error = -ENOSPC;
        return;
    }
    pthread_mutex_lock(&the_log->lock);
    for (uint32_t copies = the_log->faults.doubled ? 2 : 1; copies > 0 && !the_log->faults.dropped; copies--) {
        if (the_log->count == FAKE_RECORDS_MAX)
            abort();
        the_log->record[the_log->count] = *s;
        the_log->record[the_log->count++].offset = the_log->end[s->partition]++;
    }
    pthread_mutex_unlock(&the_log->lock);
}

int millrace_producer_claim(struct millrace_producer *producer, size_t value_bytes, const struct millrace_record_options *options,
                            struct millrace_slot *slot)
{
    int rc = fill(producer, options, (int64_t)value_bytes);

    if (rc != 0)
        return rc;
    slot->value = producer->claimed.bytes + (producer->claimed.key_bytes > 0 ? producer->claimed.key_bytes : 0);
    slot->value_bytes = (uint32_t)value_bytes;
    slot->partition = producer->claimed.partition;
    return 0;
}

int millrace_producer_commit(struct millrace_producer *producer, struct millrace_slot *slots, uint32_t count)
{
    slots[0].sequence = producer->sequence[producer->claimed.partition];
    store(producer);
    return 1;
}

void millrace_producer_abort(struct millrace_producer *producer, struct millrace_slot *slots, uint32_t count)
{
}

int millrace_producer_publish(struct millrace_producer *producer, const struct millrace_record *records, uint32_t count)
{
    struct millrace_record_options options = {.partition = records->partition, .timestamp_ms = records->timestamp_ms, .key = records->key,
                                              .key_bytes = (uint32_t)records->key_bytes, .headers = records->headers,
                                              .header_count = records->header_count};
    int rc = fill(producer, &options, -1); /* the commands publish nothing but nulls this way */

    if (rc != 0)
        return rc;
    store(producer);
    return 1;
}

int millrace_producer_poll_acks(struct millrace_producer *producer, struct millrace_ack *acks, uint32_t max)
{
    uint32_t count = producer->pending < max ? producer->pending : max;

    memcpy(acks, producer->ack, count * sizeof *acks);
    memmove(producer->ack, producer->ack + count, (producer->pending - count) * sizeof *acks);
    producer->pending -= count;
    return (int)count;
}

int millrace_producer_flush(struct millrace_producer *producer, int timeout_ms)
{
    return 0;
}

uint64_t millrace_producer_pending(const struct millrace_producer *producer)
{
    return producer->pending;
}

uint32_t millrace_producer_partition_count(const struct millrace_producer *producer)
{
    return FAKE_PARTITIONS;
}

void millrace_producer_close(struct millrace_producer *producer)
{
    free(producer);
}

void millrace_consumer_options_init(struct millrace_consumer_options *options)
{
    *options = (struct millrace_consumer_options){.size_bytes = sizeof *options};
}

int millrace_consumer_open(struct millrace_consumer **consumer, struct millrace_client *client, const char *topic,
                           const struct millrace_consumer_options *options, struct millrace_error *err)
{
    if (strcmp(topic, "t") != 0)
        return refuse(err, ENOENT, "no topic 'x': millrace topic create x");
    struct millrace_consumer *c = *consumer = calloc(1, sizeof **consumer);
    c->partition = options->partition_count > 0 ? options->partitions[0] : -1;
    for (int i = 0; i < FAKE_PARTITIONS; i++)
        c->next[i] = options->start == MILLRACE_START_END ? the_log->end[i] : options->start == MILLRACE_START_OFFSET ? options->start_offset : 0;
    return 0;
}

int millrace_consumer_poll(struct millrace_consumer *consumer, struct millrace_record *records, uint32_t max, int timeout_ms)
{
    uint32_t count = 0;

    pthread_mutex_lock(&the_log->lock);
    for (int i = 0; i < FAKE_PARTITIONS; i++) {
        if (consumer->next[i] < the_log->faults.log_start[i] && (consumer->partition < 0 || consumer->partition == i)) {
            pthread_mutex_unlock(&the_log->lock);
            return -ERANGE;
        }
    }
    for (; consumer->at < the_log->count && count < max; consumer->at++) {
        const struct stored *s = &the_log->record[consumer->at];
        if ((consumer->partition >= 0 && s->partition != consumer->partition) || s->offset < consumer->next[s->partition])
            continue;
        consumer->next[s->partition] = s->offset + 1;
        size_t key_bytes = s->key_bytes > 0 ? (size_t)s->key_bytes : 0;
        records[count++] = (struct millrace_record){
            .key = s->key_bytes >= 0 ? s->bytes : NULL, .key_bytes = key_bytes, .value = s->value_bytes >= 0 ? s->bytes + key_bytes : NULL,
            .value_bytes = s->value_bytes > 0 ? (size_t)s->value_bytes : 0, .partition = s->partition, .offset = s->offset,
            .timestamp_ms = s->timestamp_ms, .header_count = s->header_count, .internal = s,
        };
    }
    pthread_mutex_unlock(&the_log->lock);
    if (count == 0 && timeout_ms != 0)
        usleep(1000);
    return (int)count;
}

int millrace_consumer_copy(struct millrace_consumer *consumer, void *values, size_t value_bytes, struct millrace_meta *meta, uint32_t max)
{
    return 0;
}

int millrace_record_header(const struct millrace_record *record, uint32_t index, struct millrace_header *header)
{
    const struct stored *s = record->internal;

    if (index >= s->header_count)
        return -ENOENT;
    *header = (struct millrace_header){.key = s->header[index][0], .key_bytes = (uint32_t)strlen(s->header[index][0]),
                                       .value = s->header[index][1], .value_bytes = (uint32_t)strlen(s->header[index][1])};
    return 0;
}

int millrace_consumer_seek_offset(struct millrace_consumer *consumer, int32_t partition, uint64_t offset)
{
    consumer->next[partition] = offset;
    return 0;
}

int millrace_consumer_seek_start(struct millrace_consumer *consumer, int32_t partition)
{
    return millrace_consumer_seek_offset(consumer, partition, 0);
}

int millrace_consumer_seek_end(struct millrace_consumer *consumer, int32_t partition)
{
    return millrace_consumer_seek_offset(consumer, partition, the_log->end[partition]);
}

/* As the real one: the first that is not older, or the end. */
int millrace_consumer_seek_time(struct millrace_consumer *consumer, int32_t partition, int64_t time_ms)
{
    pthread_mutex_lock(&the_log->lock);
    for (int32_t p = 0; p < FAKE_PARTITIONS; p++)
        if (partition < 0 || partition == p)
            consumer->next[p] = the_log->end[p];
    for (uint32_t i = the_log->count; i-- > 0;) {
        const struct stored *s = &the_log->record[i];
        if ((partition < 0 || partition == s->partition) && s->timestamp_ms >= time_ms && s->offset >= the_log->faults.log_start[s->partition])
            consumer->next[s->partition] = s->offset;
    }
    pthread_mutex_unlock(&the_log->lock);
    return 0;
}

int millrace_consumer_position(struct millrace_consumer *consumer, int32_t partition, uint64_t *next, uint64_t *log_start, uint64_t *end)
{
    if (partition < 0 || partition >= FAKE_PARTITIONS)
        return -EINVAL;
    pthread_mutex_lock(&the_log->lock);
    if (next != NULL)
        *next = consumer->next[partition];
    if (log_start != NULL)
        *log_start = the_log->faults.log_start[partition];
    if (end != NULL)
        *end = the_log->end[partition];
    pthread_mutex_unlock(&the_log->lock);
    return 0;
}

uint32_t millrace_consumer_partition_count(const struct millrace_consumer *consumer)
{
    return FAKE_PARTITIONS;
}

void millrace_consumer_close(struct millrace_consumer *consumer)
{
    free(consumer);
}
