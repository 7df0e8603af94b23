/* SPDX-License-Identifier: Apache-2.0 */
#include "control/cli/read_back.h"

#include "control/cli/cli.h"
#include "control/cli/sender.h"
#include "control/cli/telemetry.h"
#include "shm/base/atomics.h"
#include "shm/base/bits.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BURST         256
#define ALL_PUBLISHED UINT64_MAX
#define START_MS      10000
enum { STARTING, READING, FAILED, DONE };

static uint64_t wall_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * MR_CLI_SECOND_NS + (uint64_t)now.tv_nsec;
}

/* One record: ours or another's, new or doubled. */
static void take(struct mr_read_back_shared *shared, uint64_t *seen, const struct millrace_record *record, uint64_t run, uint64_t now_ns)
{
    uint64_t its_run, sequence, time_ns;

    if (mr_telemetry_member(record->value, record->value_bytes, "run", &its_run) != 0 || its_run != run ||
        mr_telemetry_member(record->value, record->value_bytes, "sequence", &sequence) != 0 || sequence >= MR_READ_BACK_RECORDS_MAX ||
        mr_telemetry_member(record->value, record->value_bytes, "time_ns", &time_ns) != 0)
        return;
    if (seen[sequence / 64] >> (sequence % 64) & 1) {
        shared->doubled++;
        return;
    }
    seen[sequence / 64] |= 1ull << (sequence % 64);
    mr_histogram_record(&shared->latency, now_ns > time_ns ? now_ns - time_ns : 0);
    mr_store_release(&shared->read, mr_load_relaxed(&shared->read) + 1);
    size_t bytes = mr_min_u64(record->value_bytes, MR_READ_BACK_LAST_MAX - 1);
    memcpy(shared->last, record->value, bytes);
    shared->last[bytes] = '\0';
}

static int read_all(struct mr_read_back_shared *shared, struct millrace_consumer *consumer, uint64_t run, struct millrace_error *err)
{
    static struct millrace_record record[BURST];

    uint64_t *seen = mmap(NULL, MR_READ_BACK_RECORDS_MAX / 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (seen == MAP_FAILED)
        return mr_err(err, errno, "no memory for the reader: %s", strerror(errno));
    mr_store_release(&shared->state, READING);
    while (mr_load_relaxed(&shared->read) < mr_load_acquire(&shared->expected)) {
        int count = millrace_consumer_poll(consumer, record, BURST, 100);
        uint64_t now_ns = wall_ns();
        if (count < 0 && count != -EINTR)
            return mr_err(err, -count, "the reader stopped: %s", strerror(-count));
        for (int i = 0; i < count; i++)
            take(shared, seen, &record[i], run, now_ns);
    }
    return 0;
}

static void child_main(struct mr_read_back_shared *shared, const char *socket_path, const char *topic, uint64_t run)
{
    struct millrace_consumer_options options;
    struct millrace_consumer *consumer = NULL;
    struct millrace_client *client = NULL;

    millrace_consumer_options_init(&options);
    int rc = mr_cli_attach(&client, socket_path, &shared->error);
    if (rc == 0)
        rc = millrace_consumer_open(&consumer, client, topic, &options, &shared->error);
    if (rc == 0)
        rc = read_all(shared, consumer, run, &shared->error);
    millrace_detach(client);
    mr_store_release(&shared->state, rc == 0 ? DONE : FAILED);
}

/* @return 0 when the child is in `wanted` or past it; its error; -ETIMEDOUT. */
static int wait_for(struct mr_read_back *reader, uint32_t wanted, int timeout_ms, struct millrace_error *err)
{
    struct timespec pause = {.tv_nsec = 1000000};

    for (int waited_ms = 0; waited_ms < timeout_ms; waited_ms++) {
        uint32_t state = mr_load_acquire(&reader->shared->state);
        if (state == FAILED) {
            *err = reader->shared->error;
            return -(err->code != 0 ? err->code : EIO);
        }
        if (state >= wanted)
            return 0;
        if (waitpid(reader->child, NULL, WNOHANG) == reader->child) {
            reader->child = 0;
            /* It may have said DONE between our look and its end. */
            return mr_load_acquire(&reader->shared->state) >= wanted ? 0 : mr_err(err, ECHILD, "the reading process died");
        }
        nanosleep(&pause, NULL);
    }
    return mr_err(err, ETIMEDOUT, "the reader did not get there within %d ms", timeout_ms);
}

int mr_read_back_start(struct mr_read_back *reader, const char *socket_path, const char *topic, uint64_t run, struct millrace_error *err)
{
    void *memory = mmap(NULL, sizeof *reader->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        return mr_err(err, errno, "no memory for the reader: %s", strerror(errno));
    reader->shared = memory;
    mr_store_relaxed(&reader->shared->expected, ALL_PUBLISHED);
    fflush(NULL);
    pid_t parent = getpid();
    reader->child = fork();
    if (reader->child < 0)
        return mr_err(err, errno, "cannot start the reader: %s", strerror(errno));
    if (reader->child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGINT, SIG_IGN); /* Ctrl-C reaches both: the parent ends the run, the child reads the rest of it */
        if (getppid() == parent)
            child_main(reader->shared, socket_path, topic, run);
        _exit(0);
    }
    return wait_for(reader, READING, START_MS, err);
}

int mr_read_back_finish(struct mr_read_back *reader, uint64_t expected, int timeout_ms, struct millrace_error *err)
{
    mr_store_release(&reader->shared->expected, expected);
    return wait_for(reader, DONE, timeout_ms, err);
}

void mr_read_back_release(struct mr_read_back *reader)
{
    if (reader->child > 0) {
        kill(reader->child, SIGKILL);
        waitpid(reader->child, NULL, 0);
    }
    if (reader->shared != NULL)
        munmap(reader->shared, sizeof *reader->shared);
    memset(reader, 0, sizeof *reader);
}
