/* SPDX-License-Identifier: Apache-2.0 */
/* millraced: the data plane of one node. This file names the implementations and puts the parts together; what they do is theirs.
 *
 *   directories locked -> memory found -> adopt or recover -> journals of this start -> steward, reactors -> door serves -> (signal)
 *   -> sessions closed, everything in place -> clean-shutdown written -> memory removed */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataplane/config/daemon.h"
#include "dataplane/door/door.h"
#include "dataplane/log/recover.h"
#include "dataplane/node/datadirs.h"
#include "dataplane/node/producer_ids.h"
#include "dataplane/node/registry.h"
#include "dataplane/node/start.h"
#include "dataplane/node/trash.h"
#include "dataplane/reactor/reactor.h"
#include "dataplane/steward/steward.h"
#include "drivers/clock/clock.h"
#include "drivers/disk/disk.h"
#include "drivers/disk/faulty.h"
#include "shm/base/logging.h"
#include "shm/base/notify.h"
#include "shm/base/random.h"
#include "shm/session/socket.h"

#define PIN_GRACE_MS 5000 /* a program that looks longer at one batch has a debugger in it, or its user */
#define PINNED_SHARE 4    /* of memory, that readers may hold back from logs that want it */
#define REACTORS_MAX    64u
#define OPEN_TAILS_MAX  4096u /* partitions whose segment files stay open while they rest, two each: these, or a quarter of the limit of open files */
#define DISK_DEPTH      256u
#define DISK_THREADS    4u
#define STAGING_BYTES   (8u << 20)
#define STAGING_FIRST   (512u << 10) /* of it is touched before the door opens; the rest while producers already come back */
#define COMMIT_BYTES    (4u << 20)
#define MARK_NS         100000000u

struct node {
    struct mr_node_config config;
    struct mr_config origin;
    struct mr_clock *clock;
    struct mr_datadirs directories;
    struct mr_memory memory;
    struct mr_registry registry;
    struct mr_producer_ids producer_ids;
    struct mr_start start;
    struct mr_disk *cold_disk; /* the steward's, and start's */
    uint32_t reactor_count;
    uint64_t memory_bytes_max;
    struct mr_reactor *reactors[REACTORS_MAX];
    uint8_t *staging[REACTORS_MAX][MR_LOG_DIRECTORIES_MAX]; /* of the journals */
    struct mr_bell reactor_bells[REACTORS_MAX], steward_bell, door_bell;
    struct mr_mailbox messages[REACTORS_MAX], answers[REACTORS_MAX], jobs[REACTORS_MAX], replies[REACTORS_MAX], notices;
    struct mr_steward *steward;
    struct mr_door *door;
    struct mr_trash *trash;
    char socket_path[MR_SESSION_PATH_MAX];
    pthread_t retiring, touching;
    bool is_retiring, is_touching;
};

static uint64_t physical_memory(void)
{
    return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static int choose_socket(struct node *node, struct millrace_error *err)
{
    char folder[MR_SESSION_PATH_MAX];
    mr_session_listen_path(node->config.socket, (uint32_t)node->config.broker_id, node->socket_path);
    if (node->config.socket[0] != '\0')
        return 0;
    snprintf(folder, sizeof folder, "%s", node->socket_path);
    *strrchr(folder, '/') = '\0';
    if (mkdir(folder, 0755) != 0 && errno != EEXIST)
        return mr_err(err, errno, "cannot make '%s' for the socket: %s; set millrace.socket to a path you may write", folder, strerror(errno));
    return 0;
}

/* The disk as configured, with io_uring's refusal replaced by threads, said once. */
static int open_disk(struct node *node, uint32_t depth, bool say, struct mr_disk **disk, struct millrace_error *err)
{
    const char *faults = getenv("MR_FAULTS");
    int rc = -ENOSYS;
    int locks[MR_LOG_DIRECTORIES_MAX]; /* of every directory: this reactor writes to all of them */
    for (uint32_t d = 0; d < node->config.log_dirs.count; d++)
        locks[d] = node->directories.item[d].lock_fd;
    if (node->config.disk != MR_CONFIG_DISK_THREADS) {
        rc = mr_disk_uring_open(disk, depth, locks, node->config.log_dirs.count, err);
        if (rc != 0 && node->config.disk == MR_CONFIG_DISK_URING)
            return rc;
        if (rc != 0 && say)
            mr_say_info("disk: threads instead of io_uring (%s): some 20 us more for each durable ack", err->text);
    }
    if (rc != 0)
        rc = mr_disk_threads_open(disk, depth, DISK_THREADS, err);
    if (rc == 0 && faults != NULL && say)
        rc = mr_disk_faulty_open(disk, *disk, faults, err);
    return rc;
}

static int open_mailboxes(struct node *node, struct millrace_error *err)
{
    int rc = mr_bell_init(&node->steward_bell, err);
    if (rc == 0)
        rc = mr_bell_init(&node->door_bell, err);
    if (rc == 0)
        rc = mr_mailbox_init(&node->notices, sizeof(struct mr_steward_notice), 4096, &node->door_bell, err);
    for (uint32_t r = 0; r < node->reactor_count && rc == 0; r++) {
        rc = mr_bell_init(&node->reactor_bells[r], err);
        if (rc == 0)
            rc = mr_mailbox_init(&node->messages[r], sizeof(struct mr_reactor_message), 4096, &node->reactor_bells[r], err);
        if (rc == 0)
            rc = mr_mailbox_init(&node->answers[r], sizeof(struct mr_log_event), 4096, &node->reactor_bells[r], err);
        if (rc == 0)
            rc = mr_mailbox_init(&node->jobs[r], sizeof(struct mr_steward_job), 4096, &node->steward_bell, err);
        if (rc == 0)
            rc = mr_mailbox_init(&node->replies[r], sizeof(struct mr_reactor_reply), 4096, &node->door_bell, err);
    }
    return rc;
}

static uint32_t open_tails_max(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        files.rlim_cur = 1024;
    return (uint32_t)mr_min_u64(files.rlim_cur / 8, OPEN_TAILS_MAX);
}

static int start_reactor(struct node *node, uint32_t r, struct millrace_error *err)
{
    struct mr_random random;
    struct mr_uuid seed;
    struct mr_reactor_options options = {
        .index = r, .cpu = node->config.reactors.pinned ? node->config.reactors.cpu[r] : -1, .idle = node->config.idle,
        .delivery_timeout_ms = (uint64_t)node->config.delivery_timeout_ms, .pin_grace_ms = PIN_GRACE_MS,
        .pinned_bytes_max = mr_max_u64(node->memory_bytes_max / PINNED_SHARE / node->reactor_count, 1), .clock = node->clock, .messages = &node->messages[r],
        .answers = &node->answers[r], .jobs = &node->jobs[r], .replies = &node->replies[r], .bell = &node->reactor_bells[r]};
    if (mr_uuid_random(&seed) != 0)
        return mr_err(err, EIO, "no random bytes from the kernel");
    memcpy(&random.state, seed.bytes, sizeof random.state);
    options.log = (struct mr_log_options){.reactor = r, .directory_count = node->config.log_dirs.count, .random_seed = mr_random_next(&random),
                                          .flush_ns = (uint64_t)node->config.flush_ms * 1000000u, .mark_ns = MARK_NS, .commit_bytes_max = COMMIT_BYTES,
                                          .producer_expiration_ms = (uint64_t)node->config.producer_expiration_ms,
                                          .files_max = open_tails_max() / node->reactor_count + 1};
    int rc = open_disk(node, DISK_DEPTH, r == 0, &options.disk, err);
    for (uint32_t d = 0; d < node->config.log_dirs.count && rc == 0; d++) {
        struct mr_log_journal *journal = &options.log.journal[d];
        options.directory_path[d] = node->config.log_dirs.item[d];
        rc = mr_journal_create(node->cold_disk, node->config.log_dirs.item[d], r, node->registry.generation, (uint64_t)node->config.journal_bytes,
                               mr_random_next(&random), journal, err);
        if (rc == 0 && r == 0 && !mr_disk_is_direct(node->cold_disk, journal->file))
            mr_say_info("disk: the file system of '%s' refuses O_DIRECT: buffered writes and flushes instead, with a copy more and slower acks",
                        node->config.log_dirs.item[d]);
        journal->staging_bytes = STAGING_BYTES;
        journal->staging = rc == 0 ? aligned_alloc(2u << 20, STAGING_BYTES) : NULL;
        node->staging[r][d] = journal->staging;
        if (rc == 0 && journal->staging == NULL)
            rc = mr_err(err, ENOMEM, "no memory for a journal's staging");
        if (rc == 0)
            (void)madvise(journal->staging, STAGING_FIRST, MADV_POPULATE_WRITE); /* or the first commit does it */
    }
    if (rc == 0)
        rc = mr_reactor_start(&node->reactors[r], &options, err);
    if (rc != 0)
        mr_disk_release(options.disk); /* a reactor that runs releases its own */
    return rc;
}

/* A thread of its own: touching new memory goes at some 0.4 GB/s, and after a crash somebody waits for acks. What reactors write there stays. */
static void *touch_staging(void *context)
{
    const struct node *node = context;
    for (uint32_t r = 0; r < node->reactor_count; r++)
        for (uint32_t d = 0; d < node->config.log_dirs.count; d++)
            (void)madvise(node->staging[r][d] + STAGING_FIRST, STAGING_BYTES - STAGING_FIRST, MADV_POPULATE_WRITE);
    return NULL;
}

/* A thread of its own: writing a spare journal takes longer than a client that attaches should wait. */
static void *retire_journals(void *context)
{
    struct node *node = context;
    struct millrace_error err;
    for (uint32_t d = 0; d < node->config.log_dirs.count; d++) {
        const char *directory = node->config.log_dirs.item[d];
        int rc = node->start.recovery[d] != NULL ? mr_recovery_retire(node->start.recovery[d], &err)
                                                 : mr_journals_retire(node->cold_disk, directory, node->registry.generation, &err);
        mr_recovery_close(node->start.recovery[d]);
        node->start.recovery[d] = NULL;
        if (rc != 0)
            mr_say_warn("%s; old journals stay until the next start", err.text);
        else if (mr_journal_spares(node->cold_disk, directory, node->reactor_count, (uint64_t)node->config.journal_bytes, &err) != 0)
            mr_say_warn("%s; the next start takes longer", err.text);
    }
    mr_start_release(&node->start);
    mr_say_debug("everything that was found is secured; old journals are retired");
    return NULL;
}

/* Called by the door once all reactors have said that everything is secured through their own journals. */
static void on_secured(void *context)
{
    struct node *node = context;
    if (pthread_create(&node->retiring, NULL, retire_journals, node) == 0)
        node->is_retiring = true;
    else
        retire_journals(node);
}

static int start_threads(struct node *node, struct millrace_error *err)
{
    struct mr_steward_options steward = {
        .memory = &node->memory, .disk = node->cold_disk, .config = &node->config, .memory_bytes_max = (uint64_t)node->config.memory_bytes,
        .reactor_count = node->reactor_count, .jobs = node->jobs, .answers = node->answers, .notices = &node->notices, .bell = &node->steward_bell};
    for (uint32_t r = 0; r < REACTORS_MAX; r++)
        steward.cpu_of_reactor[r] = node->config.reactors.pinned && r < node->reactor_count ? node->config.reactors.cpu[r] : -1;
    if (steward.memory_bytes_max == 0)
        steward.memory_bytes_max = (node->memory.huge_free_bytes > 0 ? node->memory.huge_free_bytes : physical_memory()) / 4;
    node->memory_bytes_max = steward.memory_bytes_max;
    int rc = open_mailboxes(node, err);
    if (rc == 0)
        rc = mr_steward_start(&node->steward, &steward, err);
    if (rc != 0)
        return rc;
    mr_steward_account(node->steward, node->start.memory_bytes);
    for (uint32_t r = 0; r < node->reactor_count && rc == 0; r++)
        rc = start_reactor(node, r, err);
    return rc;
}

static int open_door(struct node *node, struct millrace_error *err)
{
    struct mr_door_options options = {
        .config = &node->config, .home = mr_datadirs_home(&node->directories), .data_id = mr_datadirs_home(&node->directories)->id,
        .registry = &node->registry, .producer_ids = &node->producer_ids, .memory = &node->memory, .reactor_count = node->reactor_count,
        .messages = node->messages,
        .replies = node->replies, .notices = &node->notices, .bell = &node->door_bell, .secured = on_secured, .context = node};
    int rc = choose_socket(node, err);
    if (rc == 0)
        rc = mr_trash_start(&node->trash, &node->config, err);
    options.trash = node->trash;
    if (rc == 0)
        rc = mr_door_open(&node->door, &options, node->socket_path, err);
    for (uint32_t t = 0; t < node->start.topic_count && rc == 0; t++)
        rc = mr_door_add_topic(node->door, node->start.topics[t].topic, (const struct mr_log_recovered *const *)node->start.topics[t].recovered, err);
    if (rc == 0)
        mr_door_begin(node->door);
    return rc;
}

static int start(struct node *node, struct millrace_error *err)
{
    node->clock = mr_clock_machine();
    node->reactor_count = node->config.reactors.count;
    if (node->reactor_count == 0)
        node->reactor_count = (uint32_t)mr_max_u64(1, (uint64_t)sysconf(_SC_NPROCESSORS_ONLN) / 2);
    if (node->reactor_count > REACTORS_MAX)
        return mr_err(err, EINVAL, "millrace.reactors=%u: at most %u are possible", node->reactor_count, REACTORS_MAX);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    int rc = mr_datadirs_open(&node->directories, &node->config.log_dirs, node->config.broker_id, err);
    const struct mr_datadir *home = mr_datadirs_home(&node->directories);
    if (rc == 0)
        rc = mr_memory_open(&node->memory, node->config.hugepages, &home->id, (uint64_t)node->config.extent_bytes, err);
    if (rc == 0)
        rc = mr_disk_threads_open(&node->cold_disk, 1, 1, err);
    if (rc == 0 && getenv(MR_FAULTS_VARIABLE) != NULL)
        rc = mr_disk_faulty_open(&node->cold_disk, node->cold_disk, getenv(MR_FAULTS_VARIABLE), err);
    if (rc == 0)
        rc = mr_registry_open(&node->registry, home, &node->config, node->reactor_count, err);
    if (rc == 0)
        rc = mr_producer_ids_open(&node->producer_ids, home, err);
    if (rc == 0)
        rc = mr_start_find(&node->start, &node->registry, &node->memory, node->cold_disk, &node->config, node->clock, err);
    if (rc == 0)
        rc = start_threads(node, err);
    if (rc == 0)
        rc = open_door(node, err);
    if (rc != 0)
        return rc;
    node->is_touching = pthread_create(&node->touching, NULL, touch_staging, node) == 0; /* else first use does */
    mr_say_info("%s", node->memory.said);
    mr_say_info("log: %s, %u topics, %llu partitions (%u adopted from memory with %llu MiB, %u recovered from disk, %u offline) in %.1f ms",
                node->config.log_dirs.item[0], node->registry.topic_count, (unsigned long long)node->registry.partition_count,
                node->start.adopted_count, (unsigned long long)(node->start.adopted_bytes >> 20), node->start.recovered_count,
                node->start.offline_count, (double)node->start.adopt_ns / 1e6);
    mr_say_info("ready: %s, %u reactor%s, default durability %s", node->socket_path, node->reactor_count, node->reactor_count == 1 ? "" : "s",
                node->config.topic.durability == MR_DURABILITY_LEADER ? "leader" : "disk");
    return 0;
}

/* Everything is in place: say so on disk, then the memory may go. */
static int mark_clean(struct node *node, struct millrace_error *err)
{
    char (*names)[MR_TOPIC_NAME_MAX + 12] = calloc(node->registry.partition_count + 1, sizeof *names);
    struct mr_clean_partition *partitions = calloc(node->registry.partition_count + 1, sizeof *partitions);
    int rc = names == NULL || partitions == NULL ? mr_err(err, ENOMEM, "no memory to note the clean stop") : 0;
    for (uint32_t d = 0; d < node->config.log_dirs.count && rc == 0; d++) {
        uint32_t count = 0;
        for (struct mr_topic *topic = node->registry.topics; topic != NULL; topic = topic->next)
            for (uint32_t p = 0; p < topic->partition_count; p++) {
                struct mr_topic_partition *partition = topic->partitions[p];
                if (partition->directory != d || partition->head == NULL || partition->log == NULL ||
                    mr_load_relaxed(&partition->head->state) != MR_PARTITION_ONLINE)
                    continue;
                snprintf(names[count], sizeof names[count], "%s-%u", topic->name, p);
                partitions[count] = (struct mr_clean_partition){.name = names[count], .topic_id = topic->id,
                                                                .generation = mr_partition_generation(partition->log),
                                                                .log_start = mr_load_relaxed(&partition->head->log_start),
                                                                .next_offset = mr_load_relaxed(&partition->head->log_end)};
                count++;
            }
        rc = mr_recovery_mark_clean(node->cold_disk, node->config.log_dirs.item[d], partitions, count, err);
    }
    free(names);
    free(partitions);
    return rc;
}

/* What an offline partition holds in memory may be nowhere else: only its disk failed. */
static bool is_any_offline(const struct node *node)
{
    for (struct mr_topic *topic = node->registry.topics; topic != NULL; topic = topic->next)
        for (uint32_t p = 0; p < topic->partition_count; p++)
            if (topic->partitions[p]->head != NULL && mr_load_relaxed(&topic->partitions[p]->head->state) != MR_PARTITION_ONLINE)
                return true;
    return false;
}

static int stop(struct node *node, int signal_fd)
{
    struct millrace_error err;
    mr_notify("STOPPING=1");
    mr_say_info("stopping: bringing the log in place");
    if (!mr_door_stop(node->door, signal_fd)) {
        mr_say_warn("stopped at once: the next start adopts what is in memory");
        return 130;
    }
    if (node->is_retiring)
        pthread_join(node->retiring, NULL);
    if (node->is_touching)
        pthread_join(node->touching, NULL);
    mr_steward_stop(node->steward);
    mr_trash_stop(node->trash);
    int rc = mark_clean(node, &err);
    if (rc != 0)
        mr_say_warn("%s; the next start looks at the whole tail", err.text);
    for (uint32_t r = 0; r < node->reactor_count; r++)
        mr_reactor_join(node->reactors[r]);
    for (uint32_t r = 0; r < node->reactor_count; r++)
        for (uint32_t d = 0; d < node->config.log_dirs.count; d++)
            free(node->staging[r][d]);
    if (rc == 0 && is_any_offline(node))
        mr_say_warn("partitions are offline: memory is kept, for what their disk does not hold");
    else if (rc == 0)
        mr_memory_clear(&node->memory);
    mr_door_close(node->door);
    mr_disk_release(node->cold_disk);
    mr_datadirs_close(&node->directories);
    mr_say_info("stopped");
    return 0;
}

int main(int argc, char **argv)
{
    static const struct mr_daemon daemon = {
        .name = "millraced", .about = "The data plane of a Millrace node; `millrace up` starts it and keeps it running.", .version = MR_VERSION};
    static struct node node;
    struct millrace_error err = {0};
    bool has_file;

    int status = mr_daemon_begin(&daemon, argc, argv, &node.config, &node.origin, &has_file);
    if (status != MR_DAEMON_GO_ON)
        return status;
    if (node.origin.ignored_count > 0)
        mr_say_warn("accepted and not needed here: %s", node.origin.ignored);
    if (!has_file)
        mr_say_info("no --config: a partition keeps at most %lld MiB (log.retention.bytes)", (long long)node.config.topic.retention_bytes >> 20);
    int signal_fd = mr_daemon_signals(&err);
    if (signal_fd < 0 || start(&node, &err) != 0) {
        mr_say_error("cannot start: %s", err.text);
        /* A start that failed early leaves no trace; folders that hold a dead daemon's tail are not empty and stay. */
        if (node.memory.plain_folder[0] != '\0')
            (void)rmdir(node.memory.plain_folder);
        if (node.memory.huge_folder[0] != '\0')
            (void)rmdir(node.memory.huge_folder);
        mr_datadirs_close(&node.directories);
        return 1;
    }
    mr_door_serve(node.door, signal_fd);
    return stop(&node, signal_fd);
}
