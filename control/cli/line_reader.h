/* SPDX-License-Identifier: Apache-2.0 */
/* Lines from a descriptor without blocking for longer than asked, so that acks are taken while a pipe is silent. */
#ifndef MR_CONTROL_CLI_LINE_READER_H
#define MR_CONTROL_CLI_LINE_READER_H

#include "shm/base/assert.h"

#include <stdbool.h>
#include <stddef.h>

struct mr_line_reader {
    int fd;
    bool ended;
    char *memory;
    size_t memory_bytes, begin, end; /* unread bytes lie in begin .. end */
    size_t line_bytes_max;
};

/** @param reader released by mr_line_reader_release(), which does not close fd  @return 0; -ENOMEM. */
int mr_line_reader_init(struct mr_line_reader *reader, int fd, size_t line_bytes_max) MR_MUST_USE;

/**
 * @param line set to the next line, without its newline, changeable; lives until the next call. The last line may lack its newline.
 * @return 1; 0 at the end; -EAGAIN after wait_ms, or when a signal came; -EMSGSIZE (a line longer than the most); -errno of read
 */
int mr_line_reader_next(struct mr_line_reader *reader, int wait_ms, char **line, size_t *bytes) MR_MUST_USE;

void mr_line_reader_release(struct mr_line_reader *reader);

#endif
