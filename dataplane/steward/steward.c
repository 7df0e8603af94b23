/* SPDX-License-Identifier: Apache-2.0 */
#include "dataplane/steward/steward.h"
#include "dataplane/steward/steward_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shm/base/logging.h"

#define ANSWER_RETRY_US 200 /* a reactor's mailbox is full: it is behind, give it the core */

void steward_answer(struct mr_steward *steward, const struct mr_topic_partition *partition, const struct mr_log_event *event)
{
    struct mr_mailbox *answers = &steward->options.answers[partition->reactor];
    while (!mr_mailbox_send(answers, event)) {
        mr_bell_ring(answers->bell);
        usleep(ANSWER_RETRY_US);
        if (mr_load_acquire(&steward->stop) != 0)
            return; /* whoever would have read it has ended */
    }
    mr_bell_ring(answers->bell);
}

void steward_notify(struct mr_steward *steward, const struct mr_steward_notice *notice)
{
    while (!mr_mailbox_send(steward->options.notices, notice)) {
        mr_bell_ring(steward->options.notices->bell);
        usleep(ANSWER_RETRY_US);
        if (mr_load_acquire(&steward->stop) != 0)
            return; /* whoever would have read it has ended */
    }
    mr_bell_ring(steward->options.notices->bell);
}

static void carry_out(struct mr_steward *steward, const struct mr_steward_job *job)
{
    switch (job->action.kind) {
    case MR_LOG_ACTION_WANT_EXTENT:
        steward_make_extent(steward, job->partition, job->action.slot);
        break;
    case MR_LOG_ACTION_GIVE_EXTENT:
        steward_take_extent(steward, job->partition, &job->action.extent);
        break;
    case MR_LOG_ACTION_WANT_SEGMENT:
        steward_make_segment(steward, job->partition, &job->action);
        break;
    case MR_LOG_ACTION_WANT_ALLOCATE:
        steward_allocate_segment(steward, job->partition, &job->action);
        break;
    case MR_LOG_ACTION_REST_SEGMENT:
        steward_rest_segment(steward, job->partition, job->action.base_offset);
        break;
    case MR_LOG_ACTION_CLOSE_SEGMENT:
        steward_close_segment(steward, job->partition, &job->action);
        break;
    case MR_LOG_ACTION_DELETE_SEGMENT:
        steward_delete_segment(steward, job->partition, &job->action);
        break;
    case MR_STEWARD_FORGET:
        steward_forget(steward, job->partition);
        break;
    case MR_LOG_ACTION_SECURED: {
        struct mr_steward_notice notice = {.kind = MR_STEWARD_SECURED};
        steward_notify(steward, &notice);
        break;
    }
    default:
        mr_assert(!"a job that is not the steward's");
    }
}

static struct mr_steward_job *later_at(const struct mr_steward *steward, uint32_t index)
{
    return &steward->later[(steward->later_first + index) & (steward->later_capacity - 1)];
}

/* What commits wait for, and what makes room for it, unless something that was asked for before it about the same segment is still to be done. */
static bool is_urgent(const struct mr_steward *steward, const struct mr_steward_job *job)
{
    if (job->action.kind == MR_LOG_ACTION_WANT_EXTENT && job->action.slot)
        return true; /* had in a microsecond, while an extent takes tens of milliseconds */
    if (job->action.kind != MR_LOG_ACTION_WANT_SEGMENT && job->action.kind != MR_LOG_ACTION_WANT_ALLOCATE &&
        job->action.kind != MR_LOG_ACTION_REST_SEGMENT)
        return false;
    for (uint32_t i = 0; i < steward->later_count; i++) {
        const struct mr_steward_job *other = later_at(steward, i);
        bool of_file = other->action.kind != MR_LOG_ACTION_WANT_EXTENT && other->action.kind != MR_LOG_ACTION_GIVE_EXTENT;
        if (of_file && other->partition == job->partition && other->action.base_offset == job->action.base_offset)
            return false;
    }
    return true;
}

static bool put_off(struct mr_steward *steward, const struct mr_steward_job *job)
{
    if (steward->later_count == steward->later_capacity) {
        uint32_t capacity = steward->later_capacity == 0 ? 64 : 2 * steward->later_capacity;
        struct mr_steward_job *grown = calloc(capacity, sizeof *grown);
        if (grown == NULL)
            return false;
        for (uint32_t i = 0; i < steward->later_count; i++)
            grown[i] = *later_at(steward, i);
        free(steward->later);
        steward->later = grown;
        steward->later_first = 0;
        steward->later_capacity = capacity;
    }
    *later_at(steward, steward->later_count++) = *job;
    return true;
}

static bool attend(struct mr_steward *steward)
{
    struct mr_steward_job job;
    bool any = false;
    for (uint32_t r = 0; r < steward->options.reactor_count; r++) {
        while (mr_mailbox_receive(&steward->options.jobs[r], &job)) {
            if (is_urgent(steward, &job) || !put_off(steward, &job))
                carry_out(steward, &job);
            any = true;
        }
    }
    return any;
}

void steward_attend(void *context)
{
    attend(context);
}

static bool pass(struct mr_steward *steward)
{
    bool any = attend(steward);
    if (steward->later_count > 0) {
        struct mr_steward_job job = *later_at(steward, 0);
        carry_out(steward, &job);
        steward->later_first++;
        steward->later_count--;
        any = true;
    }
    return any;
}

static void *run(void *argument)
{
    struct mr_steward *steward = argument;
    struct pollfd wake = {.fd = steward->options.bell->eventfd, .events = POLLIN};
    pthread_setname_np(pthread_self(), "steward");
    for (;;) {
        if (pass(steward))
            continue;
        if (mr_load_acquire(&steward->stop) != 0)
            break;
        mr_bell_sleep(steward->options.bell);
        if (!pass(steward) && mr_load_acquire(&steward->stop) == 0)
            poll(&wake, 1, -1);
        mr_bell_wake(steward->options.bell);
    }
    return NULL;
}

int mr_steward_start(struct mr_steward **out, const struct mr_steward_options *options, struct millrace_error *err)
{
    struct mr_steward *steward = calloc(1, sizeof *steward);
    if (steward == NULL)
        return mr_err(err, ENOMEM, "no memory for the steward");
    steward->options = *options;
    int rc = pthread_create(&steward->thread, NULL, run, steward);
    if (rc != 0) {
        free(steward);
        return mr_err(err, rc, "cannot start the steward thread: %s", strerror(rc));
    }
    *out = steward;
    return 0;
}

void mr_steward_account(struct mr_steward *steward, uint64_t bytes)
{
    mr_fetch_add_relaxed(&steward->memory_bytes, bytes);
}

uint32_t mr_steward_plain_extents(const struct mr_steward *steward)
{
    return mr_load_relaxed(&((struct mr_steward *)(uintptr_t)steward)->plain_extents); /* a load only */
}

void mr_steward_stop(struct mr_steward *steward)
{
    uint64_t one = 1;
    if (steward == NULL)
        return;
    mr_store_release(&steward->stop, 1);
    ssize_t ignored = write(steward->options.bell->eventfd, &one, sizeof one);
    (void)ignored;
    pthread_join(steward->thread, NULL);
    free(steward->later);
    uint32_t plain = mr_steward_plain_extents(steward);
    if (plain > 0)
        mr_say_info("%u extents were made of ordinary pages because hugepages had run out", plain);
    free(steward);
}
