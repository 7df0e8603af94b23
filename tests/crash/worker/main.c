/* SPDX-License-Identifier: Apache-2.0 */
/* Options, signals, the panel, and the numbered record that both halves share. */
#include "tests/crash/worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define FAILURES_SAID_MAX 20u

_Atomic bool worker_stop;
struct worker_panel *worker_panel;
static struct worker_panel own_panel;

uint64_t worker_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void worker_fail(const char *format, ...)
{
    char text[700];
    va_list args;
    if (atomic_fetch_add(&worker_panel->failures, 1) >= FAILURES_SAID_MAX)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "worker: %s\n", text);
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t check_of(uint32_t producer, uint32_t partition, uint64_t sequence)
{
    return mix(sequence * 0x9e3779b97f4a7c15u + ((uint64_t)producer << 32 | partition));
}

/* The bytes behind the record are words check + 1, check + 2, ...: cheap to write and to compare, and no two records are alike. */
void worker_fill(void *value, uint32_t value_bytes, uint32_t producer, uint32_t partition, uint64_t sequence)
{
    struct worker_record record = {producer, partition, sequence, check_of(producer, partition, sequence)};
    memcpy(value, &record, sizeof record);
    uint64_t *word = value;
    for (uint32_t i = sizeof record / 8; i < value_bytes / 8; i++)
        word[i] = record.check + i;
}

bool worker_whole(const void *value, size_t value_bytes, struct worker_record *record)
{
    if (value_bytes < sizeof *record)
        return false;
    memcpy(record, value, sizeof *record);
    if (record->check != check_of(record->producer, record->partition, record->sequence))
        return false;
    uint64_t differ = 0;
    for (size_t i = sizeof *record / 8; i < value_bytes / 8; i++) {
        uint64_t word;
        memcpy(&word, (const char *)value + i * 8, 8);
        differ |= word ^ (record->check + i);
    }
    return differ == 0;
}

static void on_signal(int number)
{
    (void)number;
    atomic_store(&worker_stop, true);
}

static int open_panel(const char *path)
{
    worker_panel = &own_panel;
    if (path == NULL)
        return 0;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *worker_panel) != 0) {
        fprintf(stderr, "worker: cannot make the panel '%s': %s\n", path, strerror(errno));
        return -1;
    }
    void *at = mmap(NULL, sizeof *worker_panel, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED)
        return -1;
    worker_panel = at;
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: crash_worker produce|consume --topic T --folder DIR [--socket PATH] [--panel FILE] [--producers N] [--first-producer N]\n"
                    "       [--value-bytes N] [--batch N] [--rate R] [--first-sequence N] [--acks-bytes N] [--count N] [--seed N] [--linger-us N]\n"
                    "       [--allow ERRNO] [--leader-acks] [--follow] [--end-timeout-ms N]\n");
    return 2;
}

enum { SOCKET = 1, TOPIC, FOLDER, PANEL, PRODUCERS, FIRST_PRODUCER, VALUE_BYTES, BATCH, RATE, FIRST_SEQUENCE, ACKS_BYTES, COUNT, SEED, LINGER,
       ALLOW, LEADER_ACKS, FOLLOW, END_TIMEOUT };

static int parse(int argc, char **argv, struct worker_options *o)
{
    static const struct option options[] = {
        {"socket", 1, NULL, SOCKET}, {"topic", 1, NULL, TOPIC}, {"folder", 1, NULL, FOLDER}, {"panel", 1, NULL, PANEL},
        {"producers", 1, NULL, PRODUCERS}, {"first-producer", 1, NULL, FIRST_PRODUCER}, {"value-bytes", 1, NULL, VALUE_BYTES},
        {"batch", 1, NULL, BATCH}, {"rate", 1, NULL, RATE}, {"first-sequence", 1, NULL, FIRST_SEQUENCE}, {"acks-bytes", 1, NULL, ACKS_BYTES},
        {"count", 1, NULL, COUNT}, {"seed", 1, NULL, SEED}, {"linger-us", 1, NULL, LINGER}, {"allow", 1, NULL, ALLOW},
        {"leader-acks", 0, NULL, LEADER_ACKS}, {"follow", 0, NULL, FOLLOW}, {"end-timeout-ms", 1, NULL, END_TIMEOUT}, {0}};
    int which;
    while ((which = getopt_long(argc, argv, "", options, NULL)) != -1) {
        uint64_t number = optarg != NULL ? strtoull(optarg, NULL, 0) : 0;
        switch (which) {
        case SOCKET: o->socket = optarg; break;
        case TOPIC: o->topic = optarg; break;
        case FOLDER: o->folder = optarg; break;
        case PANEL: o->panel = optarg; break;
        case PRODUCERS: o->producers = (uint32_t)number; break;
        case FIRST_PRODUCER: o->first_producer = (uint32_t)number; break;
        case VALUE_BYTES: o->value_bytes = (uint32_t)number; break;
        case BATCH: o->batch = (uint32_t)number; break;
        case RATE: o->rate = number; break;
        case FIRST_SEQUENCE: o->first_sequence = number; break;
        case ACKS_BYTES: o->acks_bytes = number; break;
        case COUNT: o->count_max = number; break;
        case SEED: o->seed = number; break;
        case LINGER: o->linger_us = (uint32_t)number; break;
        case ALLOW: o->allow = (int)number; break;
        case LEADER_ACKS: o->leader_acks = true; break;
        case FOLLOW: o->follow = true; break;
        case END_TIMEOUT: o->end_timeout_ms = (int)number; break;
        default: return -1;
        }
    }
    bool fits = o->producers >= 1 && o->producers <= WORKER_THREADS_MAX && o->first_producer + o->producers <= WORKER_PRODUCERS_MAX &&
                o->value_bytes >= WORKER_VALUE_MIN && o->value_bytes <= WORKER_VALUE_MAX && o->value_bytes % 8 == 0 && o->batch >= 1 && o->batch <= 64;
    return o->topic != NULL && o->folder != NULL && fits ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct worker_options options = {.producers = 3, .value_bytes = 32, .batch = 64, .acks_bytes = 256u << 20, .seed = 1, .end_timeout_ms = 20000};
    if (argc < 2 || parse(argc - 1, argv + 1, &options) != 0)
        return usage();
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    if (open_panel(options.panel) != 0)
        return 1;
    int rc;
    if (strcmp(argv[1], "produce") == 0)
        rc = worker_produce(&options);
    else if (strcmp(argv[1], "consume") == 0)
        rc = worker_consume(&options);
    else
        return usage();
    atomic_store(&worker_panel->state, WORKER_DONE);
    return rc != 0 || atomic_load(&worker_panel->failures) != 0 ? 1 : 0;
}
