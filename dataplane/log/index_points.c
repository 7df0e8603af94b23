/* SPDX-License-Identifier: Apache-2.0 */
/* What the indexes of a segment will say when it is closed: batch boundaries noted at milestones while it grows, so that nobody has to read it again
 * for them. Only of a segment that began within this start: of another the greatest timestamp before is known, but not where it stands. */
#include "dataplane/log/log_internal.h"

void mr_log_index_note(struct mr_partition *p, struct log_segment *s)
{
    struct mr_log *log = p->log;
    uint64_t last_position = s->index_count > 0 ? s->index[s->index_count - 1].position : 0;

    if (!s->index_whole || s->data.end == 0 || (s->index_count > 0 && s->last_position == last_position))
        return;
    if (!s->rolled && s->last_position - last_position < MR_LOG_INDEX_BYTES)
        return;
    if (s->index_count == s->index_room) {
        uint32_t room = s->index_room == 0 ? 8 : 2 * s->index_room;
        struct mr_index_point *grown = log_allocate(log, room * sizeof *grown);
        if (grown == NULL) {
            mr_log_index_free(log, s); /* then there is none */
            s->index_whole = false;
            return;
        }
        if (s->index_count > 0)
            memcpy(grown, s->index, s->index_count * sizeof *grown);
        log_free(log, s->index);
        s->index = grown;
        s->index_room = room;
    }
    s->index[s->index_count++] = (struct mr_index_point){.last_offset = p->end_offset - 1, .position = s->last_position,
                                                         .max_timestamp_ms = s->max_timestamp_ms, .max_offset = s->max_offset};
}

void mr_log_index_free(struct mr_log *log, struct log_segment *s)
{
    log_free(log, s->index);
    s->index = NULL;
    s->index_count = s->index_room = 0;
}
