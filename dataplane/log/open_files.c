/* SPDX-License-Identifier: Apache-2.0 */
/* Ten thousand partitions, and not as many open files: those whose tail lies open, in the order in which their files were last asked for, and
 * beyond files_max the first of them that rests gives its files back. It asks for them again when bytes are to be brought in place; until then
 * the journal takes what is appended. Soft: what is busy keeps its files. */
#include "dataplane/log/log_internal.h"

#define LOOKS_MAX 16u /* at an event, so that a step stays short where nothing rests */

static bool rests(const struct mr_partition *p)
{
    return !p->log->draining && p->commits_in_flight == 0 && p->queue != LOG_QUEUE_NOW && p->log->now_ns - p->last_append_ns >= MR_LOG_KEEP_SLOTS_NS;
}

static void unlink_files(struct mr_partition *p)
{
    if (!list_is_linked(&p->open))
        return;
    list_remove(&p->open);
    p->log->open_count--;
}

void mr_log_files_opened(struct mr_partition *p)
{
    struct mr_log *log = p->log;

    unlink_files(p);
    list_append(&log->open, &p->open);
    log->open_count++;
    for (uint32_t looks = 0; looks < LOOKS_MAX && log->options.files_max != 0 && log->open_count > log->options.files_max; looks++) {
        struct mr_partition *first = list_entry(log->open.next, struct mr_partition, open);
        struct log_segment *s = first->tail;
        bool open = s != NULL && s->file >= 0 && !s->closing;
        if (open && (s->file_state != LOG_FILE_READY || !rests(first))) {
            list_remove(&first->open);
            list_append(&log->open, &first->open);
            continue;
        }
        unlink_files(first);
        if (open) {
            s->file_state = LOG_FILE_RESTING;
            mr_log_pend(first, LOG_PENDING_SEGMENT);
        }
    }
}

/* A clean stop has work for all of them, and then none: it keeps to the bound by waiting. */
static bool must_wait(struct mr_partition *p, struct log_segment *s)
{
    struct mr_log *log = p->log;

    if (!log->draining || log->options.files_max == 0 || s->file_state != LOG_FILE_NONE)
        return false;
    if (log->reopened_count >= log->options.files_max) {
        if (!list_is_linked(&p->reopening))
            list_append(&log->reopening, &p->reopening);
        return true;
    }
    s->reopened = true;
    log->reopened_count++;
    return false;
}

void mr_log_files_needed(struct mr_partition *p, struct log_segment *s)
{
    if (s == NULL || s->closed)
        return;
    bool unplaced = s->data.placed < s->data.end || s->side.placed < s->side.end;
    if (s->file < 0 && (s->rested || unplaced) && !must_wait(p, s))
        mr_log_segment_want(p, s);
}

void mr_log_files_closed(struct mr_log *log, struct log_segment *s)
{
    if (!s->reopened)
        return;
    s->reopened = false;
    log->reopened_count--;
    if (list_is_empty(&log->reopening))
        return;
    struct mr_partition *next = list_entry(log->reopening.next, struct mr_partition, reopening);
    list_remove(&next->reopening);
    mr_log_files_needed(next, next->tail);
}

void mr_log_files_forgotten(struct mr_partition *p)
{
    unlink_files(p);
    if (list_is_linked(&p->reopening))
        list_remove(&p->reopening);
    for (uint32_t i = p->open_first; i < p->segment_count; i++)
        mr_log_files_closed(p->log, p->segment[i]);
}

bool mr_log_files_still_rest(struct mr_partition *p, struct log_segment *s)
{
    if (!p->log->draining && p->commits_in_flight == 0 && !s->closing)
        return true;
    s->file_state = LOG_FILE_READY;
    mr_log_files_opened(p);
    return false;
}
