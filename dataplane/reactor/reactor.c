/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/reactor/reactor_internal.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "shm/base/logging.h"

static void housekeep(struct mr_reactor *reactor)
{
    reactor->housekeep_ns = reactor->now_ns + MR_HOUSEKEEP_NS;
    for (uint32_t i = 0; i < reactor->partition_count; i++)
        if (reactor->partitions[i]->waiting_first != NULL)
            reactor_fail_waiting(reactor, reactor->partitions[i], MR_COMPLETION_TIMED_OUT, reactor->now_ns);
    reactor_make_cold(reactor, false);
}

static bool pass(struct mr_reactor *reactor)
{
    bool any = false;

    reactor->now_ns = mr_clock_now_ns(reactor->options.clock);
    if (mr_unlikely(reactor->now_ns >= reactor->wall_next_ns)) {
        reactor->wall_ms = mr_clock_wall_ms(reactor->options.clock);
        reactor->wall_next_ns = reactor->now_ns + MR_WALL_NS;
    }
    reactor_count(&reactor->counters.passes, 1);
    if (mr_unlikely(reactor->unsent_count > 0))
        reactor_send_replies(reactor);
    any |= reactor_messages(reactor);
    if (reactor->hot_count < reactor->ring_count && reactor->now_ns >= reactor->doorbells_ns)
        reactor_look_at_doorbells(reactor);
    mr_log_time(reactor->log, reactor->now_ns);
    uint64_t frames = mr_load_relaxed(&reactor->counters.frames);
    uint32_t senders = 0;
    for (uint32_t i = 0; i < reactor->hot_count; i++) {
        struct mr_ring_session *ring = reactor->rings[i];
        if (mr_unlikely(ring->closing))
            continue;
        if (mr_unlikely(reactor_has_arms(ring))) {
            reactor_take_arms(reactor, ring);
            any = true;
        }
        senders += reactor_drain(reactor, ring);
        if (mr_unlikely(reactor->due_first != NULL))
            reactor_wake_due(reactor);
    }
    any |= senders > 0;
    mr_pace_note(&reactor->pace, mr_load_relaxed(&reactor->counters.frames) - frames, senders);
    if (mr_unlikely(reactor->leaving_count > 0)) {
        reactor_wake_sleepers(reactor); /* nobody's wake-up waits for others' goodbyes */
        reactor_leave(reactor);
    }
    any |= reactor_poll_disk(reactor);
    if (mr_unlikely(reactor->freeing_count > 0 && reactor->now_ns >= reactor->recheck_ns)) {
        reactor->recheck_ns = reactor->now_ns + MR_RECHECK_NS;
        reactor_recheck_freeing(reactor);
    }
    any |= reactor_step_log(reactor);
    if (mr_unlikely(reactor->trims != NULL))
        reactor_answer_trims(reactor);
    if (mr_unlikely(reactor->removing.topic != NULL))
        reactor_go_on_removing(reactor);
    if (mr_unlikely(reactor->now_ns >= reactor->housekeep_ns))
        housekeep(reactor);
    reactor_wake_sleepers(reactor);
    if (mr_unlikely(reactor->closing_handles_count > 0))
        reactor_close_handles(reactor);
    if (mr_unlikely(reactor->close_due)) /* after the sleepers: what is given back must not be in their list */
        reactor_close_rings(reactor);
    return any;
}

static void stop_when_drained(struct mr_reactor *reactor)
{
    reactor->log_due = true;
    if (reactor->leaving_count > 0) /* a log that drains takes no more records */
        return;
    if (!mr_log_drain(reactor->log) || reactor->event_count > 0 || reactor->write_count > 0)
        return;
    /* What still waits now is of partitions that are offline, and will not come. */
    for (uint32_t i = 0; i < reactor->partition_count; i++)
        reactor_fail_waiting(reactor, reactor->partitions[i], MR_COMPLETION_TIMED_OUT, UINT64_MAX);
    reactor_wake_sleepers(reactor);
    reactor_close_handles(reactor);
    reactor_close_rings(reactor);
    for (uint32_t i = 0; i < reactor->ring_count; i++)
        mr_store_release(&reactor->rings[i]->ring.daemon->state, MR_RING_CLOSED);
    struct mr_reactor_reply reply = {.kind = MR_REACTOR_STOP};
    reactor_reply(reactor, &reply);
    while (reactor->unsent_count > 0) {
        usleep(1000);
        reactor_send_replies(reactor);
    }
    reactor->stopped = true;
}

static void *run(void *argument)
{
    struct mr_reactor *reactor = argument;
    char name[16];
    snprintf(name, sizeof name, "reactor-%u", reactor->options.index);
    pthread_setname_np(pthread_self(), name);
    if (reactor->options.cpu >= 0) {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET((size_t)reactor->options.cpu, &cpus);
        if (pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus) != 0)
            mr_say_warn("cannot pin reactor %u to cpu %d (millrace.reactors): it runs where the kernel puts it", reactor->options.index,
                        reactor->options.cpu);
    }
    while (!reactor->stopped) {
        if (pass(reactor)) {
            reactor->active_ns = reactor->now_ns;
            mr_pace_busy(&reactor->pace, reactor->hot_count);
        } else if (!reactor->stopping) {
            reactor_idle(reactor);
        }
        if (mr_unlikely(reactor->stopping)) {
            stop_when_drained(reactor);
            sched_yield(); /* the steward has work */
        }
    }
    return NULL;
}

static void *allocate(void *context, size_t bytes)
{
    void *memory = aligned_alloc(MR_CACHE_LINE, mr_align_up(bytes, MR_CACHE_LINE));
    (void)context;
    return memory != NULL ? memset(memory, 0, bytes) : NULL;
}

static void release(void *context, void *memory)
{
    (void)context;
    free(memory);
}

static int watch(struct mr_reactor *reactor, int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = NULL};
    return fd < 0 || epoll_ctl(reactor->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

int mr_reactor_start(struct mr_reactor **out, const struct mr_reactor_options *options, struct millrace_error *err)
{
    struct mr_reactor *reactor = aligned_alloc(MR_CACHE_LINE, mr_align_up(sizeof *reactor, MR_CACHE_LINE));
    struct mr_log_options log_options = options->log;
    if (reactor == NULL)
        return mr_err(err, ENOMEM, "no memory for reactor %u", options->index);
    memset(reactor, 0, sizeof *reactor);
    reactor->options = *options;
    reactor->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (reactor->epoll < 0)
        return mr_err(err, errno, "no descriptor for reactor %u: %s", options->index, strerror(errno));
    log_options.allocator = (struct mr_allocator){.allocate = allocate, .release = release};
    int rc = mr_log_init(&reactor->log, &log_options);
    if (rc != 0)
        return mr_err(err, -rc, "cannot start the log of reactor %u: %s", options->index, strerror(-rc));
    reactor->now_ns = reactor->active_ns = mr_clock_now_ns(options->clock);
    rc = watch(reactor, options->bell->eventfd, EPOLLIN);
    if (rc == 0) /* the driver never drains it (disk.h) */
        rc = watch(reactor, mr_disk_wait_fd(options->disk), EPOLLIN | EPOLLET);
    if (rc == 0)
        rc = -pthread_create(&reactor->thread, NULL, run, reactor);
    if (rc != 0)
        return mr_err(err, -rc, "cannot start reactor %u: %s", options->index, strerror(-rc));
    *out = reactor;
    return 0;
}

void mr_reactor_join(struct mr_reactor *reactor)
{
    if (reactor == NULL)
        return;
    pthread_join(reactor->thread, NULL);
    mr_log_release(reactor->log);
    mr_disk_release(reactor->options.disk);
    close(reactor->epoll);
    free(reactor->freeing);
    free(reactor->closing_handles);
    free(reactor->removing.partitions);
    free(reactor->removing.extents);
    while (reactor->trims != NULL) {
        struct mr_trim *trim = reactor->trims;
        reactor->trims = trim->next;
        free(trim);
    }
    free(reactor->unsent);
    free(reactor->partitions);
    free(reactor->rings);
    free(reactor);
}

struct mr_ring_session *mr_ring_session_new(void *memory, struct mr_ring_shape shape, int doorbell, int wake, void *session, uint32_t reactor)
{
    struct mr_ring_session *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        return NULL;
    ring->acks_max = shape.submission_bytes / MR_BYTES_PER_ACK;
    ring->acks_max = ring->acks_max < MR_ACKS_MIN ? MR_ACKS_MIN : ring->acks_max > MR_ACKS_MAX ? MR_ACKS_MAX : ring->acks_max;
    ring->acks = calloc(ring->acks_max, sizeof *ring->acks);
    if (ring->acks == NULL) {
        free(ring);
        return NULL;
    }
    mr_ring_consumer_init(&ring->ring, memory, shape);
    ring->doorbell = doorbell;
    ring->wake = wake;
    ring->owner = session;
    ring->reactor = reactor;
    return ring;
}

void mr_ring_session_free(struct mr_ring_session *ring)
{
    if (ring == NULL)
        return;
    free(ring->acks);
    free(ring);
}

void *mr_ring_session_owner(const struct mr_ring_session *ring)
{
    return ring->owner;
}

enum mr_poison_reason mr_ring_session_reason(const struct mr_ring_session *ring)
{
    return ring->ring.reason;
}

const struct mr_reactor_counters *mr_reactor_counters(const struct mr_reactor *reactor)
{
    return &reactor->counters;
}
