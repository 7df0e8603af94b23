/* SPDX-License-Identifier: Apache-2.0 */
/* millrace produce: lines to records. */
#include "control/cli/commands.h"

#include "control/cli/line_reader.h"
#include "control/cli/record_format.h"
#include "control/cli/sender.h"
#include "shm/base/bits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES_MAX (4u << 20) /* a record of 1 MiB in hexadecimal or base64 with its names */
#define FINISH_MS      150000     /* delivery.timeout.ms and a little: after it the node itself has failed the record */
#define WAIT_MS        20

const char mr_cmd_produce_details[] =
    "Each line of FILE, or of stdin, becomes a record. Rides through a restart of the node: what was not acked is sent again, once.\n"
    "Status 1 when a record failed.\n\n"
    "  echo hello | millrace produce greetings\n"
    "  millrace produce orders --key-separator : orders.txt         \"key:value\" a line\n"
    "  millrace consume old --from start --exit-at-end --format json | millrace produce new --format json\n";

struct produce {
    struct mr_record_format format;
    const char *key, *separator;
    struct mr_cli_texts header_texts;
    struct millrace_header header[MR_RECORD_HEADERS_MAX];
    int64_t partition; /* -1: any, or as a JSON line says */
    uint64_t rate;     /* 0: as fast as they come */
    struct mr_line_reader reader;
    struct mr_record_line line;
    struct mr_sender sender;
};

static int parse_headers(const struct mr_cli_command *command, struct produce *p)
{
    for (uint32_t i = 0; i < p->header_texts.count; i++) {
        const char *text = p->header_texts.text[i], *equals = strchr(text, '=');
        if (equals == NULL || equals == text)
            return mr_cli_usage(command, "--header %s: it must be name=value", text);
        p->header[i] = (struct millrace_header){.key = text, .key_bytes = (uint32_t)(equals - text), .value = equals + 1,
                                                .value_bytes = (uint32_t)strlen(equals + 1)};
    }
    return MR_CLI_GO_ON;
}

/* What the options say of every record wins over what its line says. */
static void apply_options(const struct produce *p, struct millrace_record *record)
{
    if (p->key != NULL) {
        record->key = p->key;
        record->key_bytes = strlen(p->key);
    }
    if (p->partition >= 0)
        record->partition = (int32_t)p->partition;
    if (p->header_texts.count > 0) {
        record->headers = p->header;
        record->header_count = p->header_texts.count;
    }
}

/* Open loop: record n is due at begin + n / rate, however late the one before was. @return when it was due. */
static uint64_t wait_until_due(struct produce *p, uint64_t begin_ns)
{
    if (p->rate == 0)
        return 0;
    uint64_t due_ns = begin_ns + (uint64_t)((double)p->sender.sent * 1e9 / (double)p->rate);
    for (uint64_t now_ns = mr_cli_now_ns(); now_ns < due_ns && !mr_cli_stop_asked(); now_ns = mr_cli_now_ns()) {
        uint64_t left_ns = mr_min_u64(due_ns - now_ns, WAIT_MS * 1000000ull);
        if (mr_sender_poll(&p->sender) <= 0 && left_ns > 100000) {
            struct timespec pause = {.tv_nsec = (long)left_ns};
            nanosleep(&pause, NULL);
        }
    }
    return due_ns;
}

static int publish_lines(struct produce *p, const char *file_name, struct millrace_error *err)
{
    uint64_t number = 0, begin_ns = mr_cli_now_ns();
    size_t bytes;
    char *text;

    while (!mr_cli_stop_asked()) {
        int rc = mr_line_reader_next(&p->reader, WAIT_MS, &text, &bytes);
        if (rc == 0)
            return 0;
        if (rc == -EAGAIN) {
            rc = mr_sender_poll(&p->sender);
            if (rc < 0)
                return mr_err(err, -rc, "the node has been away for too long; start it with 'millrace up' and run this again");
            continue;
        }
        number++;
        if (rc < 0)
            return mr_err(err, -rc, "%s:%llu: %s", file_name, (unsigned long long)number,
                          rc == -EMSGSIZE ? "a line longer than 4 MiB" : strerror(-rc));
        rc = mr_record_line_read(&p->line, &p->format, text, bytes, p->separator, err);
        if (rc == 0) {
            apply_options(p, &p->line.record);
            rc = mr_sender_send(&p->sender, &p->line.record, wait_until_due(p, begin_ns), err);
        }
        if (rc == -EINTR)
            break;
        if (rc != 0) {
            mr_err_within(err, "%s:%llu", file_name, (unsigned long long)number);
            return rc;
        }
    }
    return 0;
}

int mr_cmd_produce(const struct mr_cli_command *command, int argc, char **argv)
{
    static struct produce p = {.partition = -1};
    const char *socket_path = NULL, *format = "text", *acks = "all", *partition = NULL;
    const struct mr_cli_option options[] = {
        {"key", 'k', MR_CLI_TEXT, "KEY", &p.key, "the key of every record"},
        {"header", 'H', MR_CLI_TEXTS, "name=value", &p.header_texts, "a header of every record; may be repeated"},
        {"key-separator", 0, MR_CLI_TEXT, "C", &p.separator, "a line is KEY C VALUE (--format text)"},
        {"partition", 'p', MR_CLI_TEXT, "N", &partition, "instead of by key, or round robin"},
        {"acks", 0, MR_CLI_TEXT, "LEVEL", &acks, "ring, leader or all (also 0, 1); default all: the topic's durability"},
        {"rate", 'r', MR_CLI_COUNT, "R", &p.rate, "records a second; latency counts from when each was due"},
        {"format", 'f', MR_CLI_TEXT, "FORMAT", &format, "text, json or hex, as 'millrace consume' prints them"},
        {"socket", 0, MR_CLI_TEXT, "PATH", &socket_path, "the node's socket (default: MILLRACE_SOCKET, or the local node's)"},
    };
    struct millrace_client *client = NULL;
    struct millrace_error err = {0};
    struct mr_cli_texts words;
    int fd = STDIN_FILENO;

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 1, 2);
    if (status == MR_CLI_GO_ON)
        status = parse_headers(command, &p);
    if (status != MR_CLI_GO_ON)
        return status;
    if (mr_record_format_parse(&p.format, format, false, &err) != 0)
        return mr_cli_usage(command, "%s", err.text);
    enum millrace_acks level;
    if (mr_sender_parse_acks(acks, &level, &err) != 0)
        return mr_cli_usage(command, "%s", err.text);
    if (p.separator != NULL && (p.separator[0] == '\0' || p.format.form != MR_RECORD_TEXT || p.key != NULL))
        return mr_cli_usage(command, "--key-separator is not empty, and for --format text without --key");
    if (partition != NULL) {
        int32_t number;
        if (!mr_cli_parse_partition(partition, &number))
            return mr_cli_usage(command, "--partition %s: it must be a number from 0", partition);
        p.partition = number;
    }
    const char *file_name = words.count == 2 && strcmp(words.text[1], "-") != 0 ? words.text[1] : "stdin";
    if (words.count == 2 && strcmp(words.text[1], "-") != 0) {
        fd = open(words.text[1], O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return mr_cli_fail("cannot read '%s': %s", words.text[1], strerror(errno));
    }
    mr_cli_stop_install();
    int rc = mr_cli_attach(&client, socket_path, &err);
    if (rc == 0)
        rc = mr_sender_open(&p.sender, client, words.text[0], level, &err);
    if (rc == 0 && mr_line_reader_init(&p.reader, fd, LINE_BYTES_MAX) != 0)
        rc = mr_err(&err, ENOMEM, "no memory for lines");
    if (rc == 0)
        rc = publish_lines(&p, file_name, &err);
    status = rc != 0 ? mr_cli_fail("%s", err.text) : mr_cli_stop_status();
    if (p.sender.producer != NULL) {
        if (mr_sender_finish(&p.sender, FINISH_MS) != 0 && status == MR_CLI_DONE)
            status = MR_CLI_FAILED;
        int reported = mr_sender_report(&p.sender);
        status = status == MR_CLI_DONE ? reported : status;
    }
    mr_line_reader_release(&p.reader);
    mr_record_line_release(&p.line);
    mr_sender_release(&p.sender);
    millrace_detach(client);
    return status;
}
