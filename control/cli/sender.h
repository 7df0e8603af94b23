/* SPDX-License-Identifier: Apache-2.0 */
/* Publishing for commands: waits while the ring is full or the node is away, keeps account of acks, and times them. One thread.
 *
 * An ack's latency runs from the call of mr_sender_send() (or the time it is told) to its poll. Send times are kept in a window per
 * partition; a record that is acked after the window has moved on is counted, but not timed. */
#ifndef MR_CONTROL_CLI_SENDER_H
#define MR_CONTROL_CLI_SENDER_H

#include "millrace/millrace.h"
#include "shm/base/err.h"
#include "shm/base/histogram.h"

struct mr_sender_time {
    uint64_t sequence;
    uint64_t sent_ns;
};

struct mr_sender {
    struct millrace_producer *producer;
    struct mr_sender_time *time; /* [partition * window + sequence % window] */
    uint32_t window;             /* a power of two */
    uint32_t partition_count;
    uint64_t sent, acked, failed, gone;
    uint64_t first_ns, last_ns; /* of the first send and the last ack */
    int first_error;            /* of a failed record: -errno */
    struct mr_histogram latency;
};

/** --acks as users write it. @return 0; -EINVAL with a message that names what is allowed */
int mr_sender_parse_acks(const char *text, enum millrace_acks *acks, struct millrace_error *err) MR_MUST_USE;

/**
 * @param sender  zeroed by the caller, who calls mr_sender_release(), also after an error
 * @param acks    "0", "1", "all", "ring" or "leader"
 * @return 0; -EINVAL (acks), -ENOMEM, or as millrace_producer_open()
 */
int mr_sender_open(struct mr_sender *sender, struct millrace_client *client, const char *topic, enum millrace_acks acks,
                   struct millrace_error *err) MR_MUST_USE;

/**
 * Publish one record. Blocks while there is no room.
 * @param sent_ns when it was meant to be sent; 0: now
 * @return 0; -EINTR when a signal asked to stop; -EMSGSIZE, -EINVAL, -ENOTCONN with a message
 */
int mr_sender_send(struct mr_sender *sender, const struct millrace_record *record, uint64_t sent_ns, struct millrace_error *err) MR_MUST_USE;

/** Take the acks that are there. Never blocks. @return how many records they were for; -ENOTCONN. */
int mr_sender_poll(struct mr_sender *sender);

/** Wait until every record is acked or failed; a second signal ends the process. @return 0; -ENOTCONN; -ETIMEDOUT. */
int mr_sender_finish(struct mr_sender *sender, int timeout_ms) MR_MUST_USE;

/** "sent=N acked=N failed=N", rate and latency, on stderr. @return exit status: 1 when a record failed or has no ack. */
int mr_sender_report(const struct mr_sender *sender);

void mr_sender_release(struct mr_sender *sender);

/** Attach as all commands do. @param socket_path NULL: default. @return as millrace_attach(). */
int mr_cli_attach(struct millrace_client **client, const char *socket_path, struct millrace_error *err) MR_MUST_USE;

#endif
