/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MR_STEWARD_INTERNAL_H
#define MR_STEWARD_INTERNAL_H

#include "dataplane/steward/steward.h"

struct mr_steward {
    struct mr_steward_options options;
    pthread_t thread;
    _Atomic uint32_t stop;
    _Atomic uint64_t memory_bytes; /* extents and slots together */
    bool said_budget, said_memory, said_space; /* each once */
};

void steward_answer(struct mr_steward *steward, const struct mr_topic_partition *partition, const struct mr_log_event *event);
void steward_notify(struct mr_steward *steward, const struct mr_steward_notice *notice);

/* extents.c */
void steward_make_extent(struct mr_steward *steward, struct mr_topic_partition *partition, bool slot);
void steward_take_extent(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_live_extent *extent);

/* segments.c */
void steward_make_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action);
void steward_allocate_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action);
void steward_close_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action);
void steward_delete_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action);

#endif
