/* SPDX-License-Identifier: Apache-2.0 */
/* A copy of a partition that other programs read: `millrace log export`. Each segment is cut where its last good batch ends, since Kafka's tools
 * fail on a preallocated tail of zeros; snapshots and the leader epoch checkpoint, which have Kafka's formats, go along, the sidecars, which are
 * ours, do not. The files read may be a running daemon's (it holds the lock of its data directory), and are not as its readers see them:
 *
 *   left out  what only its memory or journals hold, and what the part of the sidecar that is in the file does not vouch for yet; all from
 *             a rolled segment on that does not get closed within a second
 *   copied    whole segments: also records below log_start (deleted ones, with retention in mid-segment), which only journals and checkpoints
 *             know; also, on a `disk` topic, batches in place whose flush is not complete yet: not acknowledged, not visible, and not
 *             in the log any more if power goes then
 *
 * After a clean stop it is all that is in the log. After a crash, start the node first: its journals hold the rest. Cold; takes memory, opens
 * files. */
#ifndef MR_SEGMENT_EXPORT_H
#define MR_SEGMENT_EXPORT_H

#include "shm/segment/verify.h"

struct mr_export_report {
    uint64_t segments, batches, records, bytes; /* written */
    uint64_t first_offset, next_offset;
    uint64_t errors;   /* findings that neither a crash nor a running node explains: what is behind the first of them was not written */
    uint64_t warnings; /* other findings: of a torn tail, or of what was left out because its segment is not closed yet */
};

/** Make the directory that a copy goes into. @return 0; -EEXIST: it is there already; ...: with a message */
int mr_export_make_directory(const char *to, struct millrace_error *err) MR_MUST_USE;

/**
 * @param from a partition's directory, or the path of one .log
 * @param to   the directory that gets the files; made, must not be there yet
 * @param each called for each finding, in order; may be NULL
 * @return 0 (see report->errors); or -errno with a message: -EEXIST, -ENOSPC, ...; what was written so far stays. -ENOENT: a segment cannot
 *         be found, or retention, or the deletion of the topic, has taken them all meanwhile; -EAGAIN: retention is faster
 */
int mr_export_partition(const char *from, const char *to, mr_verify_each *each, void *context, struct mr_export_report *report,
                        struct millrace_error *err) MR_MUST_USE;

#endif
