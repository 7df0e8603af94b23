/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of faulty.c and their parser, faulty_parse.c. */
#ifndef MR_DRIVERS_DISK_FAULTY_INTERNAL_H
#define MR_DRIVERS_DISK_FAULTY_INTERNAL_H

#include "drivers/disk/faulty.h"

#define MR_FAULT_RULES_MAX 16u

enum mr_fault_operation {
    MR_FAULT_WRITE,
    MR_FAULT_SYNC,
    MR_FAULT_DIRSYNC,
    MR_FAULT_COLD,
    MR_FAULT_READ,
    MR_FAULT_OPEN,
    MR_FAULT_ALLOCATE,
    MR_FAULT_TRUNCATE,
    MR_FAULT_NAME,
    MR_FAULT_OPERATION_COUNT,
};

struct mr_fault_rule {
    enum mr_fault_operation operation;
    uint64_t nth;
    bool for_ever;
    int error;            /* positive; 0: only slow */
    int32_t torn_sectors; /* -1: none of the write is done */
    uint64_t slow_ns;
};

/** @return 0; -EINVAL with a message. */
int mr_fault_parse(const char *text, struct mr_fault_rule rules[MR_FAULT_RULES_MAX], uint32_t *count, struct millrace_error *err);

#endif
