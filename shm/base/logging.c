/* SPDX-License-Identifier: Apache-2.0 */
#include "shm/base/logging.h"

#include "shm/base/atomics.h"
#include "shm/base/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct {
    const char *program;
    _Atomic int level;
    enum mr_logging_format format;
    bool journal;
} logging = {.program = "millrace", .level = MR_LOGGING_INFO};

static const char *const level_name[] = {"error", "warn", "info", "debug"};
static const int level_syslog[] = {3, 4, 6, 7}; /* sd-daemon(3) */

/* JOURNAL_STREAM is "device:inode" of the stream that journald reads: another stderr, redirected by a user, is not it (systemd.exec(5)). */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat st;

    return stream != NULL && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device &&
           st.st_ino == inode;
}

void mr_logging_init(const char *program, enum mr_logging_level level, enum mr_logging_format format)
{
    logging.program = program;
    logging.format = format;
    logging.journal = stderr_is_journal();
    mr_logging_set_level(level);
}

void mr_logging_set_level(enum mr_logging_level level)
{
    mr_store_relaxed(&logging.level, (int)level);
}

bool mr_logging_enabled(enum mr_logging_level level)
{
    return (int)level <= mr_load_relaxed(&logging.level);
}

static size_t format_json(enum mr_logging_level level, const char *message, char *line, size_t line_bytes)
{
    char escaped[MR_LOGGING_LINE_MAX - 128], stamp[32];
    struct timespec now;
    struct tm utc;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    mr_json_escape(message, strlen(message), escaped, sizeof escaped);
    return (size_t)snprintf(line, line_bytes, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"program\":\"%s\",\"message\":\"%s\"}\n", stamp,
                            now.tv_nsec / 1000000, level_name[level], logging.program, escaped);
}

static size_t format_text(enum mr_logging_level level, const char *message, char *line, size_t line_bytes)
{
    const char *mark = level == MR_LOGGING_WARN ? "warning: " : level == MR_LOGGING_DEBUG ? "debug: " : "";

    if (logging.journal) /* journald adds program and time itself */
        return (size_t)snprintf(line, line_bytes, "<%d>%s\n", level_syslog[level], message);
    return (size_t)snprintf(line, line_bytes, "%s: %s%s\n", logging.program, mark, message);
}

void mr_logging_write(enum mr_logging_level level, const char *format, ...)
{
    char message[MR_LOGGING_LINE_MAX - 256], line[MR_LOGGING_LINE_MAX + 256];
    int saved = errno;
    va_list args;

    if (!mr_logging_enabled(level))
        return;
    va_start(args, format);
    int need = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (need >= (int)sizeof message)
        memcpy(message + sizeof message - 4, "...", 4);
    for (char *p = message; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20)
            *p = ' '; /* one message is one line, also when it quotes what a user typed */
    }
    size_t bytes = logging.format == MR_LOGGING_JSON ? format_json(level, message, line, sizeof line)
                                                     : format_text(level, message, line, sizeof line);
    if (bytes >= sizeof line)
        bytes = sizeof line - 1;
    while (write(STDERR_FILENO, line, bytes) < 0 && errno == EINTR)
        ;
    errno = saved;
}
