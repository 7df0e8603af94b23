/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MR_STEWARD_INTERNAL_H
#define MR_STEWARD_INTERNAL_H

#include "dataplane/steward/steward.h"

struct mr_steward {
    struct mr_steward_options options;
    pthread_t thread;
    _Atomic uint32_t stop;
    _Atomic uint64_t memory_bytes; /* extents and slots together */
    struct mr_steward_job *later; /* ring: what takes long, in the order it was asked for */
    uint32_t later_first, later_count, later_capacity; /* capacity: a power of two, or 0 */
    _Atomic uint32_t plain_extents; /* made of ordinary pages though the node has hugepages */
    bool said_budget, said_memory, said_space; /* each once */
};

void steward_answer(struct mr_steward *steward, const struct mr_topic_partition *partition, const struct mr_log_event *event);
/** Carry out what commits wait for, and note the rest. To be called in the midst of anything that takes milliseconds. @param context steward */
void steward_attend(void *context);
void steward_notify(struct mr_steward *steward, const struct mr_steward_notice *notice);

/* extents.c */
void steward_make_extent(struct mr_steward *steward, struct mr_topic_partition *partition, bool slot);
void steward_take_extent(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_live_extent *extent);

void steward_say_memory(struct mr_steward *steward, const struct millrace_error *err);
void steward_refuse(struct mr_steward *steward, struct mr_topic_partition *partition, bool slot);
void steward_grant(struct mr_steward *steward, struct mr_topic_partition *partition, void *memory, uint32_t file_id, uint64_t bytes, bool slot);

/* slots.c */
void steward_make_slot(struct mr_steward *steward, struct mr_topic_partition *partition);
void steward_take_slot(struct mr_topic *topic, const struct mr_log_live_extent *extent);
void steward_release_slots(struct mr_steward *steward, struct mr_topic *topic);

/* segments.c */
void steward_forget(struct mr_steward *steward, struct mr_topic_partition *partition);
void steward_segment_path(struct mr_steward *steward, const struct mr_topic_partition *partition, uint64_t base_offset, const char *suffix, char *path);
void steward_write_shortcuts(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action);
void steward_rest_segment(struct mr_steward *steward, struct mr_topic_partition *partition, uint64_t base_offset);
void steward_make_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action);
void steward_allocate_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action);
void steward_close_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action);
void steward_delete_segment(struct mr_steward *steward, struct mr_topic_partition *partition, const struct mr_log_action *action);

#endif
