/* SPDX-License-Identifier: Apache-2.0 */
/* millrace telemetry: this host's own counters, published at a steady rate. */
#include "control/cli/commands.h"

#include "control/cli/read_back.h"
#include "control/cli/sender.h"
#include "control/cli/telemetry.h"
#include "shm/base/bits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FINISH_MS    150000
#define READ_BACK_MS 10000
#define SWEEP_NS     (100 * 1000000ull) /* /proc is read at most so often, however high the rate */
#define PAUSE_NS     1000000

const char mr_cmd_telemetry_details[] =
    "Reads the counters under /proc and publishes each as a JSON object, with the metric's name as key. With --read-back a second process\n"
    "reads every record in place, from the same memory, and the run fails if one is missing or comes twice.\n\n"
    "  millrace topic create telemetry --config millrace.durability=leader\n"
    "  millrace telemetry --rate 10k --duration 5s --read-back\n"
    "  millrace telemetry &  millrace consume telemetry --format '%k %v'\n";

struct run {
    struct mr_telemetry telemetry;
    struct mr_sender sender;
    struct mr_read_back reader;
    uint64_t id, rate, duration_ns, limit;
    char host[65];
};

static int publish(struct run *run, struct millrace_error *err)
{
    uint64_t begin_ns = mr_cli_now_ns(), swept_ns = 0;
    char value[MR_TELEMETRY_VALUE_MAX];
    uint32_t next = 0;

    for (uint64_t n = 0; !mr_cli_stop_asked() && n < run->limit; n++, next++) {
        uint64_t due_ns = begin_ns + (uint64_t)((double)n * 1e9 / (double)run->rate), now_ns;
        if (run->duration_ns != 0 && due_ns - begin_ns >= run->duration_ns)
            break;
        while ((now_ns = mr_cli_now_ns()) < due_ns && !mr_cli_stop_asked()) {
            struct timespec pause = {.tv_nsec = (long)mr_min_u64(due_ns - now_ns, PAUSE_NS)};
            if (mr_sender_poll(&run->sender) <= 0)
                nanosleep(&pause, NULL);
        }
        if (next >= run->telemetry.count || now_ns - swept_ns > SWEEP_NS) {
            if (next >= run->telemetry.count)
                next = 0;
            if (now_ns - swept_ns > SWEEP_NS) {
                int count = mr_telemetry_sweep(&run->telemetry, "", err);
                if (count < 0)
                    return count;
                next %= (uint32_t)count;
                swept_ns = now_ns;
            }
        }
        const struct mr_telemetry_metric *metric = &run->telemetry.metric[next];
        struct timespec wall;
        clock_gettime(CLOCK_REALTIME, &wall);
        uint64_t time_ns = (uint64_t)wall.tv_sec * MR_CLI_SECOND_NS + (uint64_t)wall.tv_nsec;
        struct millrace_record record = {
            .key = metric->name, .key_bytes = strlen(metric->name), .value = value, .partition = MILLRACE_PARTITION_ANY,
            .timestamp_ms = (int64_t)(time_ns / 1000000),
            .value_bytes = mr_telemetry_value(metric, run->host, run->id, n, time_ns, value),
        };
        int rc = mr_sender_send(&run->sender, &record, now_ns, err);
        if (rc == -EINTR)
            break;
        if (rc != 0)
            return rc;
    }
    return 0;
}

/* What the other process saw. @return exit status. */
static int report_reader(const struct run *run, int rc, const struct millrace_error *err)
{
    const struct mr_read_back_shared *shared = run->reader.shared;
    uint64_t read = atomic_load(&shared->read);
    char summary[256];

    printf("read in place by another process: read=%llu of %llu, doubled=%llu\n", (unsigned long long)read, (unsigned long long)run->sender.acked,
           (unsigned long long)shared->doubled);
    printf("publish to read: %s\n", mr_histogram_summary(&shared->latency, summary, sizeof summary));
    if (shared->last[0] != '\0')
        printf("the last record: %s\n", shared->last);
    if (rc != 0 && rc != -ETIMEDOUT)
        return mr_cli_fail("%s", err->text);
    if (read != run->sender.acked || shared->doubled != 0)
        return mr_cli_fail("%llu records were acked, %llu were read once and %llu twice: look at the node's log, and run 'millrace log verify'",
                           (unsigned long long)run->sender.acked, (unsigned long long)read, (unsigned long long)shared->doubled);
    return MR_CLI_DONE;
}

int mr_cmd_telemetry(const struct mr_cli_command *command, int argc, char **argv)
{
    static struct run run = {.rate = 1000, .limit = UINT64_MAX};
    const char *socket_path = NULL, *topic = "telemetry", *acks = "all";
    bool read_back = false;
    const struct mr_cli_option options[] = {
        {"rate", 'r', MR_CLI_COUNT, "R", &run.rate, "records a second (default 1000)"},
        {"topic", 't', MR_CLI_TEXT, "NAME", &topic, "default telemetry"},
        {"duration", 0, MR_CLI_DURATION, "TIME", &run.duration_ns, "stop after so long (default: Ctrl-C)"},
        {"count", 'n', MR_CLI_COUNT, "COUNT", &run.limit, "stop after so many records"},
        {"acks", 0, MR_CLI_TEXT, "LEVEL", &acks, "ring, leader or all (default)"},
        {"read-back", 0, MR_CLI_FLAG, NULL, &read_back, "read each record in a second process and compare"},
        {"socket", 0, MR_CLI_TEXT, "PATH", &socket_path, "the node's socket (default: MILLRACE_SOCKET, or the local node's)"},
    };
    struct millrace_client *client = NULL;
    struct millrace_error err = {0}, reader_err = {0};
    struct mr_cli_texts words;

    int status = mr_cli_parse(command, options, MR_COUNT_OF(options), argc, argv, &words, 0, 0);
    if (status != MR_CLI_GO_ON)
        return status;
    enum millrace_acks level;
    if (mr_sender_parse_acks(acks, &level, &err) != 0)
        return mr_cli_usage(command, "%s", err.text);
    if (run.rate == 0)
        return mr_cli_usage(command, "--rate 0: it must be at least 1");
    if (read_back)
        run.limit = mr_min_u64(run.limit, MR_READ_BACK_RECORDS_MAX);
    if (gethostname(run.host, sizeof run.host - 1) != 0)
        snprintf(run.host, sizeof run.host, "localhost");
    run.id = ((uint64_t)mr_cli_wall_ms() << 20 | (uint64_t)getpid()) % 1000000000000000000ull;
    int rc = mr_telemetry_sweep(&run.telemetry, "", &err) < 0 ? -err.code : 0;
    if (rc == 0 && read_back)
        rc = mr_read_back_start(&run.reader, socket_path, topic, run.id, &err);
    mr_cli_stop_install();
    if (rc == 0)
        rc = mr_cli_attach(&client, socket_path, &err);
    if (rc == 0)
        rc = mr_sender_open(&run.sender, client, topic, level, &err);
    if (rc == 0)
        rc = publish(&run, &err);
    status = rc != 0 ? mr_cli_fail("%s", err.text) : mr_cli_stop_status();
    if (run.sender.producer != NULL) {
        if (mr_sender_finish(&run.sender, FINISH_MS) != 0)
            status = MR_CLI_FAILED;
        int reported = mr_sender_report(&run.sender);
        status = status == MR_CLI_DONE ? reported : status;
        if (run.reader.shared != NULL) {
            rc = mr_read_back_finish(&run.reader, run.sender.acked, READ_BACK_MS, &reader_err);
            reported = report_reader(&run, rc, &reader_err);
            status = reported != MR_CLI_DONE ? reported : status;
        }
    }
    mr_read_back_release(&run.reader);
    mr_sender_release(&run.sender);
    millrace_detach(client);
    return status;
}
