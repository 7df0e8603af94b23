/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <unistd.h>

#include "shm/segment/source.h"

static int64_t read_fd(const struct mr_segment_source *source, uint64_t position, void *buffer, size_t bytes)
{
    int fd = (int)(intptr_t)source->context;
    size_t done = 0;

    while (done < bytes) {
        ssize_t n = pread(fd, (uint8_t *)buffer + done, bytes - done, (off_t)(position + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        done += (size_t)n;
        if (done % 512 != 0)
            break; /* the end of the file; O_DIRECT could not go on from here */
    }
    return (int64_t)done;
}

struct mr_segment_source mr_segment_source_fd(int fd, uint64_t bytes)
{
    return (struct mr_segment_source){.read = read_fd, .context = (void *)(intptr_t)fd, .bytes = bytes};
}
