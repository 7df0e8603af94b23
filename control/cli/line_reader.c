/* SPDX-License-Identifier: Apache-2.0 */
#include "control/cli/line_reader.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int mr_line_reader_init(struct mr_line_reader *reader, int fd, size_t line_bytes_max)
{
    *reader = (struct mr_line_reader){.fd = fd, .line_bytes_max = line_bytes_max, .memory_bytes = 2 * line_bytes_max + 2};
    reader->memory = malloc(reader->memory_bytes);
    return reader->memory == NULL ? -ENOMEM : 0;
}

int mr_line_reader_next(struct mr_line_reader *reader, int wait_ms, char **line, size_t *bytes)
{
    size_t searched = 0;

    for (;;) {
        char *begin = reader->memory + reader->begin;
        size_t have = reader->end - reader->begin;
        char *newline = memchr(begin + searched, '\n', have - searched);
        if (newline != NULL || (reader->ended && have > 0)) {
            *line = begin;
            *bytes = newline != NULL ? (size_t)(newline - begin) : have;
            reader->begin += *bytes + (newline != NULL);
            return *bytes > reader->line_bytes_max ? -EMSGSIZE : 1;
        }
        if (reader->ended)
            return 0;
        if (have > reader->line_bytes_max)
            return -EMSGSIZE;
        searched = have;
        if (reader->begin > 0 && reader->memory_bytes - reader->end < reader->line_bytes_max) {
            memmove(reader->memory, begin, have);
            reader->begin = 0;
            reader->end = have;
        }
        struct pollfd watch = {.fd = reader->fd, .events = POLLIN};
        if (poll(&watch, 1, wait_ms) <= 0)
            return -EAGAIN;
        ssize_t n = read(reader->fd, reader->memory + reader->end, reader->memory_bytes - reader->end);
        if (n < 0)
            return errno == EINTR ? -EAGAIN : -errno;
        reader->ended = n == 0;
        reader->end += (size_t)n;
    }
}

void mr_line_reader_release(struct mr_line_reader *reader)
{
    free(reader->memory);
    memset(reader, 0, sizeof *reader);
}
