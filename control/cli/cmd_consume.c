/* SPDX-License-Identifier: Apache-2.0 */
/* millrace consume: records to text, from a place in the log to another, or for ever. */
#include "control/cli/commands.h"

#include "control/cli/record_format.h"
#include "control/cli/sender.h"
#include "control/cli/when.h"
#include "shm/base/bits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BURST   256
#define WAIT_MS 100 /* how soon a signal is noticed */

const char mr_cmd_consume_details[] =
    "Reads in place from the node's memory, and goes on to the last committed record while the node is down. Without --from it prints\n"
    "what comes from now on, until Ctrl-C. Places: start, end, an offset (in every partition read), or a time: 2026-01-31T12:00:00Z,\n"
    "-10m (ago), @1767225600000 (ms since 1970). From a time, each partition begins with its first record that is not older.\n\n"
    "  millrace consume orders                                         follow\n"
    "  millrace consume orders --from start --exit-at-end --format json\n"
    "  millrace consume orders --from -1h --format '%T %p/%o %k: %v'\n";

/* What is still wanted of one partition. */
struct span {
    uint64_t end_offset; /* --until end: what was committed at the start */
    bool done;
};

struct consume {
    struct millrace_consumer *consumer;
    struct mr_record_format format;
    struct mr_when from, until;
    bool bounded;       /* there is an --until */
    bool limited;       /* there is a -n */
    uint64_t left;      /* records, when limited */
    int32_t partition;  /* -1: all */
    uint32_t partition_count;
    struct span *span;  /* by partition */
    const char *topic;
};

static bool reads(const struct consume *c, uint32_t partition)
{
    return c->partition < 0 || (uint32_t)c->partition == partition;
}

/* Has the reader come to where it was to stop, in every partition? */
static bool all_done(struct consume *c)
{
    bool all = true;

    for (uint32_t i = 0; i < c->partition_count; i++) {
        struct span *span = &c->span[i];
        uint64_t next, end;
        if (!reads(c, i) || span->done)
            continue;
        if (millrace_consumer_position(c->consumer, (int32_t)i, &next, NULL, &end) != 0) {
            all = false;
            continue;
        }
        if (c->until.kind == MR_WHEN_TIME)
            span->done = next >= end && mr_cli_wall_ms() > c->until.time_ms; /* nothing older can come any more */
        else
            span->done = next >= span->end_offset;
        all = all && span->done;
    }
    return all;
}

/* Whether a record lies between --from and --until; moves its partition's span on. */
static bool wanted(struct consume *c, const struct millrace_record *record)
{
    struct span *span = &c->span[record->partition];

    if (span->done)
        return false;
    if (!c->bounded)
        return true;
    if (c->until.kind == MR_WHEN_TIME)
        span->done = record->timestamp_ms >= c->until.time_ms;
    else
        span->done = record->offset >= span->end_offset;
    return !span->done;
}

/* Retention has taken the place where some partition stood: say so, and go on at what is left. */
static int skip_removed(struct consume *c, struct millrace_error *err)
{
    for (uint32_t i = 0; i < c->partition_count; i++) {
        uint64_t next, start;
        if (!reads(c, i) || millrace_consumer_position(c->consumer, (int32_t)i, &next, &start, NULL) != 0 || next >= start)
            continue;
        fprintf(stderr, "millrace: warning: %s/%u: offsets %llu to %llu are gone by retention, going on at %llu\n", c->topic, i,
                (unsigned long long)next, (unsigned long long)start - 1, (unsigned long long)start);
        int rc = millrace_consumer_seek_offset(c->consumer, (int32_t)i, start);
        if (rc != 0)
            return mr_err(err, -rc, "cannot go on at offset %llu of %s/%u: %s", (unsigned long long)start, c->topic, i, strerror(-rc));
    }
    return 0;
}

static int say_why(struct consume *c, int rc, struct millrace_error *err)
{
    if (rc == -ERANGE)
        return skip_removed(c, err);
    if (rc == -EBADMSG)
        return mr_err(err, EBADMSG, "a damaged batch in topic '%s': run 'millrace log verify' on its directories", c->topic);
    if (rc == -ESTALE)
        return mr_err(err, ESTALE, "whoever reads this output did not for so long that the node had to use the records' memory for others: what was "
                      "printed last may be damaged; run this again, to a file, or raise millrace.memory.bytes");
    if (rc == -ENOTCONN)
        return mr_err(err, ENOTCONN, "the node has been away for too long; start it with 'millrace up' and run this again");
    return mr_err(err, -rc, "reading topic '%s': %s", c->topic, strerror(-rc));
}

/* @return 0 at the end or when asked to stop; -EPIPE when nobody reads stdout any more; -errno with a message. */
static int print_records(struct consume *c, struct millrace_error *err)
{
    static struct millrace_record record[BURST];

    while (!mr_cli_stop_asked() && !(c->limited && c->left == 0)) {
        uint32_t most = c->limited && c->left < BURST ? (uint32_t)c->left : BURST;
        int count = millrace_consumer_poll(c->consumer, record, most, 0);
        if (count == 0) {
            /* Only now may it be over: the position is at the end of what was asked for, and all of it is printed. */
            if (c->bounded && all_done(c))
                return 0;
            if (fflush(stdout) != 0)
                return -errno;
            count = millrace_consumer_poll(c->consumer, record, most, WAIT_MS);
        }
        if (count < 0 && count != -EINTR) {
            int rc = say_why(c, count, err);
            if (rc != 0)
                return rc;
            continue;
        }
        for (int i = 0; i < count; i++) {
            if (record[i].partition < 0 || (uint32_t)record[i].partition >= c->partition_count || !wanted(c, &record[i]))
                continue;
            mr_record_format_write(&c->format, stdout, c->topic, &record[i], millrace_record_header);
            c->left -= c->limited;
        }
        if (ferror(stdout))
            return -(errno != 0 ? errno : EIO);
        if (c->bounded && count > 0 && all_done(c))
            return 0;
    }
    return 0;
}

static int open_consumer(struct consume *c, struct millrace_client *client, struct millrace_error *err)
{
    struct millrace_consumer_options options;

    millrace_consumer_options_init(&options);
    options.start = c->from.kind == MR_WHEN_END ? MILLRACE_START_END : c->from.kind == MR_WHEN_OFFSET ? MILLRACE_START_OFFSET : MILLRACE_START_BEGIN;
    options.start_offset = c->from.offset;
    if (c->partition >= 0) {
        options.partitions = &c->partition;
        options.partition_count = 1;
    }
    int rc = millrace_consumer_open(&c->consumer, client, c->topic, &options, err);
    if (rc != 0)
        return rc;
    if (c->from.kind == MR_WHEN_TIME && (rc = millrace_consumer_seek_time(c->consumer, -1, c->from.time_ms)) != 0)
        return mr_err(err, -rc, "looking for the time in '%s' failed: %s", c->topic, strerror(-rc));
    c->partition_count = millrace_consumer_partition_count(c->consumer);
    if (c->partition >= 0 && (uint32_t)c->partition >= c->partition_count)
        c->partition_count = (uint32_t)c->partition + 1;
    c->span = calloc(c->partition_count, sizeof *c->span);
    if (c->span == NULL)
        return mr_err(err, ENOMEM, "no memory for %u partitions", c->partition_count);
    for (uint32_t i = 0; i < c->partition_count && rc == 0; i++) {
        if (reads(c, i))
            rc = millrace_consumer_position(c->consumer, (int32_t)i, NULL, NULL, &c->span[i].end_offset);
    }
    return rc == 0 ? 0 : mr_err(err, -rc, "cannot find the end of topic '%s': %s", c->topic, strerror(-rc));
}

int mr_cmd_consume(const struct mr_cli_command *command, int argc, char **argv)
{
    struct consume c = {.partition = -1};
    const char *socket_path = NULL, *format = "text", *from = "end", *until = NULL, *partition = NULL, *limit = NULL;
    bool exit_at_end = false;
    const struct mr_cli_option options[] = {
        {"from", 0, MR_CLI_TEXT, "PLACE", &from, "where to begin (default end: only what comes from now on)"},
        {"until", 0, MR_CLI_TEXT, "PLACE", &until, "where to stop: end (what is there now) or a time (default: never)"},
        {"exit-at-end", 'e', MR_CLI_FLAG, NULL, &exit_at_end, "the same as --until end"},
        {"count", 'n', MR_CLI_TEXT, "COUNT", &limit, "stop after so many records"},
        {"partition", 'p', MR_CLI_TEXT, "N", &partition, "only this one"},
        {"format", 'f', MR_CLI_TEXT, "FORMAT", &format, "text, json, hex, or letters as in '%t %p %o %T %k %v %h'"},
        {"socket", 0, MR_CLI_TEXT, "PATH", &socket_path, "the node's socket (default: MILLRACE_SOCKET, or the local node's)"},
    };
    struct millrace_client *client = NULL;
    struct millrace_error err = {0};
    struct mr_cli_texts words;

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 1, 1);
    if (status != MR_CLI_GO_ON)
        return status;
    if (exit_at_end && until != NULL && strcmp(until, "end") != 0)
        return mr_cli_usage(command, "--exit-at-end and --until %s exclude each other", until);
    until = exit_at_end ? "end" : until;
    c.topic = words.text[0];
    c.bounded = until != NULL;
    c.limited = limit != NULL;
    if (mr_record_format_parse(&c.format, format, true, &err) != 0 || mr_when_parse(&c.from, from, mr_cli_wall_ms(), &err) != 0 ||
        (until != NULL && mr_when_parse(&c.until, until, mr_cli_wall_ms(), &err) != 0))
        return mr_cli_usage(command, "%s", err.text);
    if (c.bounded && c.until.kind != MR_WHEN_END && c.until.kind != MR_WHEN_TIME)
        return mr_cli_usage(command, "--until %s: it must be end or a time such as @-1h", until);
    if (limit != NULL && !mr_cli_parse_count(limit, &c.left))
        return mr_cli_usage(command, "--count %s: it must be a number such as 1000, 10k or 1M", limit);
    if (partition != NULL && !mr_cli_parse_partition(partition, &c.partition))
        return mr_cli_usage(command, "--partition %s: it must be a number from 0", partition);
    mr_cli_stop_install();
    int rc = mr_cli_attach(&client, socket_path, &err);
    if (rc == 0)
        rc = open_consumer(&c, client, &err);
    if (rc == 0)
        rc = print_records(&c, &err);
    if (rc == 0 && fflush(stdout) != 0)
        rc = -errno;
    if (mr_cli_stdout_closed(-rc))
        status = MR_CLI_DONE;
    else if (rc != 0)
        status = mr_cli_fail("%s", err.text[0] != '\0' ? err.text : strerror(-rc));
    else
        status = mr_cli_stop_status();
    millrace_consumer_close(c.consumer);
    millrace_detach(client);
    free(c.span);
    return status;
}
