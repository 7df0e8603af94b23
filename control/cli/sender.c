/* SPDX-License-Identifier: Apache-2.0 */
#include "control/cli/sender.h"

#include "control/cli/cli.h"
#include "shm/base/bits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RECORD_BYTES_MAX (1u << 20)
#define TIMES_MAX        (1u << 20) /* over all partitions: 16 MiB */
#define WINDOW_MAX       65536u
#define WINDOW_MIN       64u
#define ACKS_A_POLL      256
#define ACKS_EVERY       64 /* sends between two polls of acks while there is room */
#define WAIT_NS_MIN      20000
#define WAIT_NS_MAX      1000000
#define SAY_AFTER_NS     (2 * MR_CLI_SECOND_NS)

int mr_cli_attach(struct millrace_client **client, const char *socket_path, struct millrace_error *err)
{
    struct millrace_client_options options;

    millrace_client_options_init(&options);
    options.name = "millrace";
    return millrace_attach(client, socket_path, &options, err);
}

int mr_sender_parse_acks(const char *text, enum millrace_acks *acks, struct millrace_error *err)
{
    static const struct {
        const char *word;
        enum millrace_acks acks;
    } known[] = {{"0", MILLRACE_ACKS_RING},        {"ring", MILLRACE_ACKS_RING}, {"1", MILLRACE_ACKS_LEADER},
                 {"leader", MILLRACE_ACKS_LEADER}, {"all", MILLRACE_ACKS_ALL},   {"-1", MILLRACE_ACKS_ALL}};

    for (uint32_t i = 0; i < MR_COUNT_OF(known); i++) {
        if (strcmp(text, known[i].word) == 0) {
            *acks = known[i].acks;
            return 0;
        }
    }
    return mr_err(err, EINVAL, "--acks %s: it must be ring (0), leader (1) or all", text);
}

int mr_sender_open(struct mr_sender *sender, struct millrace_client *client, const char *topic, enum millrace_acks acks, struct millrace_error *err)
{
    struct millrace_producer_options options;

    millrace_producer_options_init(&options);
    options.record_bytes_max = RECORD_BYTES_MAX;
    options.acks = acks;
    int rc = millrace_producer_open(&sender->producer, client, topic, &options, err);
    if (rc != 0)
        return rc;
    sender->partition_count = millrace_producer_partition_count(sender->producer);
    sender->window = WINDOW_MAX;
    while (sender->window > WINDOW_MIN && (uint64_t)sender->window * sender->partition_count > TIMES_MAX)
        sender->window /= 2;
    sender->time = calloc((size_t)sender->window * sender->partition_count, sizeof *sender->time);
    if (sender->time == NULL)
        return mr_err(err, ENOMEM, "no memory for the send times of %u partitions", sender->partition_count);
    return 0;
}

static struct mr_sender_time *time_of(struct mr_sender *sender, int32_t partition, uint64_t sequence)
{
    if (partition < 0 || (uint32_t)partition >= sender->partition_count)
        return NULL; /* the topic has grown since: not timed */
    return &sender->time[(uint64_t)partition * sender->window + (sequence & (sender->window - 1))];
}

int mr_sender_poll(struct mr_sender *sender)
{
    struct millrace_ack ack[ACKS_A_POLL];
    uint64_t records = 0;

    int count = millrace_producer_poll_acks(sender->producer, ack, ACKS_A_POLL);
    if (count <= 0)
        return count;
    uint64_t now_ns = mr_cli_now_ns();
    for (int i = 0; i < count; i++) {
        records += ack[i].count;
        if (ack[i].error == -ESTALE) { /* said in addition to their acks */
            sender->gone += ack[i].count;
            continue;
        }
        if (ack[i].error != 0) {
            sender->failed += ack[i].count;
            sender->first_error = sender->first_error == 0 ? ack[i].error : sender->first_error;
            continue;
        }
        sender->acked += ack[i].count;
        for (uint64_t sequence = ack[i].first_sequence; sequence < ack[i].first_sequence + ack[i].count; sequence++) {
            const struct mr_sender_time *time = time_of(sender, ack[i].partition, sequence);
            if (time != NULL && time->sent_ns != 0 && time->sequence == sequence)
                mr_histogram_record(&sender->latency, now_ns > time->sent_ns ? now_ns - time->sent_ns : 0);
        }
    }
    sender->last_ns = now_ns;
    return (int)mr_min_u64(records, INT32_MAX);
}

/* A claimed record carries no null value: those few go by publish, and are not timed. */
static int try_send(struct mr_sender *sender, const struct millrace_record *record, uint64_t sent_ns)
{
    struct millrace_record_options options;
    struct millrace_slot slot;

    if (record->value == NULL) {
        int taken = millrace_producer_publish(sender->producer, record, 1);
        return taken == 1 ? 0 : taken == 0 ? -EAGAIN : taken;
    }
    millrace_record_options_init(&options);
    options.partition = record->partition;
    options.timestamp_ms = record->timestamp_ms;
    options.key = record->key;
    options.key_bytes = (uint32_t)record->key_bytes;
    options.headers = record->headers;
    options.header_count = record->header_count;
    int rc = millrace_producer_claim(sender->producer, record->value_bytes, &options, &slot);
    if (rc != 0)
        return rc;
    memcpy(slot.value, record->value, record->value_bytes);
    rc = millrace_producer_commit(sender->producer, &slot, 1);
    if (rc != 1)
        return rc < 0 ? rc : -EIO;
    struct mr_sender_time *time = time_of(sender, slot.partition, slot.sequence);
    if (time != NULL)
        *time = (struct mr_sender_time){.sequence = slot.sequence, .sent_ns = sent_ns};
    return 0;
}

static void wait_a_little(uint64_t *wait_ns)
{
    struct timespec pause = {.tv_nsec = (long)*wait_ns};

    nanosleep(&pause, NULL);
    *wait_ns = mr_min_u64(*wait_ns * 2, WAIT_NS_MAX);
}

int mr_sender_send(struct mr_sender *sender, const struct millrace_record *record, uint64_t sent_ns, struct millrace_error *err)
{
    uint64_t begin_ns = mr_cli_now_ns(), wait_ns = WAIT_NS_MIN;
    bool said = false;
    int rc;

    sent_ns = sent_ns != 0 ? sent_ns : begin_ns;
    if (sender->first_ns == 0)
        sender->first_ns = sent_ns;
    if (sender->sent % ACKS_EVERY == ACKS_EVERY - 1)
        mr_sender_poll(sender);
    while ((rc = try_send(sender, record, sent_ns)) == -EAGAIN) {
        if (mr_cli_stop_asked())
            return -EINTR;
        rc = mr_sender_poll(sender);
        if (rc < 0)
            break;
        if (rc == 0)
            wait_a_little(&wait_ns);
        if (!said && mr_cli_now_ns() - begin_ns > SAY_AFTER_NS) {
            said = true;
            fprintf(stderr, "millrace: waiting: the ring is full of unacked records, or the node is away\n");
        }
    }
    if (rc == -EMSGSIZE)
        return mr_err(err, EMSGSIZE, "a record of %zu bytes is too large: at most %u, and the topic's max.message.bytes",
                      record->key_bytes + record->value_bytes, RECORD_BYTES_MAX);
    if (rc == -EINVAL)
        return mr_err(err, EINVAL, "partition %d: the topic has %u, numbered from 0", record->partition, sender->partition_count);
    if (rc == -ENOTCONN)
        return mr_err(err, ENOTCONN, "the node has been away for too long; start it with 'millrace up' and run this again");
    if (rc != 0)
        return mr_err(err, -rc, "a record cannot be published: %s", strerror(-rc));
    sender->sent++;
    return 0;
}

int mr_sender_finish(struct mr_sender *sender, int timeout_ms)
{
    uint64_t end_ns = mr_cli_now_ns() + (uint64_t)timeout_ms * 1000000, wait_ns = WAIT_NS_MIN;

    while (sender->acked + sender->failed < sender->sent) {
        int count = mr_sender_poll(sender);
        if (count < 0)
            return count;
        if (count > 0) {
            wait_ns = WAIT_NS_MIN;
            continue;
        }
        if (mr_cli_now_ns() > end_ns)
            return -ETIMEDOUT;
        wait_a_little(&wait_ns);
    }
    return 0;
}

int mr_sender_report(const struct mr_sender *sender)
{
    double seconds = (double)(sender->last_ns > sender->first_ns ? sender->last_ns - sender->first_ns : 1) / 1e9;
    uint64_t lost = sender->sent - sender->acked - sender->failed;
    char summary[256];

    if (sender->failed > 0)
        fprintf(stderr, "millrace: %llu records failed, the first with: %s\n", (unsigned long long)sender->failed, strerror(-sender->first_error));
    if (sender->gone > 0)
        fprintf(stderr, "millrace: %llu records that were acknowledged are gone: the node lost the end of its log, see its messages\n",
                (unsigned long long)sender->gone);
    if (lost > 0)
        fprintf(stderr, "millrace: %llu records have no ack yet: whether they are stored is not known\n", (unsigned long long)lost);
    fprintf(stderr, "sent=%llu acked=%llu failed=%llu", (unsigned long long)sender->sent, (unsigned long long)sender->acked,
            (unsigned long long)sender->failed);
    if (sender->acked > 0)
        fprintf(stderr, "  %.0f records/s  ack %s", (double)sender->acked / seconds,
                mr_histogram_summary(&sender->latency, summary, sizeof summary));
    fputc('\n', stderr);
    return sender->failed > 0 || sender->gone > 0 || lost > 0 ? MR_CLI_FAILED : MR_CLI_DONE;
}

void mr_sender_release(struct mr_sender *sender)
{
    if (sender == NULL)
        return;
    millrace_producer_close(sender->producer);
    free(sender->time);
    memset(sender, 0, sizeof *sender);
}
