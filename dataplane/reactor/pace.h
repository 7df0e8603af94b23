/* SPDX-License-Identifier: Apache-2.0 */
/* When a reactor looks away on purpose.
 *
 * Each look at a ring takes the line of its index away from the client, who waits for it with all that it has stored since. Two kinds of client are
 * about throughput, and lose more by a look than a record gains by it:
 *
 *   - one that publishes in bulk: after a bulk the next look that would find nothing is put off;
 *   - one that publishes one by one, so fast that look after look finds some frames, of this client alone: the looks between are put off (a third
 *     more records a second on cores that share a cache). With more in a look the reactor is behind, and looks seldom enough by itself.
 *     Only while its ring alone is hot: another that is may be empty pass after pass, and what then comes to it is waited for one by one. (The
 *     end of a write may wait for a rest, too; a disk takes a hundred times as long.)
 *
 * A rest is about a microsecond, less than either needs to fill the ring. Who waits for a single record leaves the next look nothing to find, and
 * meets no rest but the one behind another's bulk. */
#ifndef MR_REACTOR_PACE_H
#define MR_REACTOR_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "shm/base/assert.h"
#include "shm/base/atomics.h"

#define MR_REST_SPINS         64u
#define MR_BULK_FRAMES        16u /* in a pass */
#define MR_STREAM_FRAMES_MIN  2u
#define MR_STREAM_FRAMES_MAX  48u
#define MR_STREAM_PASSES      8u  /* in a row, each with so many frames of one ring */

struct mr_pace {
    bool behind_bulk;
    uint32_t stream_passes;
};

/** After the drains of a pass. @param frames of all rings @param rings how many had something. Hot. */
static inline void mr_pace_note(struct mr_pace *pace, uint64_t frames, uint32_t rings)
{
    pace->behind_bulk |= frames >= MR_BULK_FRAMES;
    if (mr_likely(rings != 1 || frames < MR_STREAM_FRAMES_MIN || frames > MR_STREAM_FRAMES_MAX))
        pace->stream_passes = 0;
    else if (pace->stream_passes < MR_STREAM_PASSES)
        pace->stream_passes++;
}

static inline void mr_pace_rest(void)
{
    for (uint32_t i = 0; i < MR_REST_SPINS; i++)
        mr_cpu_relax();
}

/** @param hot_rings all that are looked at in a pass, empty ones too */
static inline bool mr_pace_is_stream(const struct mr_pace *pace, uint32_t hot_rings)
{
    return pace->stream_passes == MR_STREAM_PASSES && hot_rings == 1;
}

/** After a pass that found something; as above. Hot. */
static inline void mr_pace_busy(const struct mr_pace *pace, uint32_t hot_rings)
{
    if (mr_pace_is_stream(pace, hot_rings))
        mr_pace_rest();
}

/** After one that found nothing. */
static inline void mr_pace_idle(struct mr_pace *pace)
{
    if (pace->behind_bulk)
        mr_pace_rest();
    pace->behind_bulk = false;
}

#endif
