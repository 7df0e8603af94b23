/* SPDX-License-Identifier: Apache-2.0 */
/* What reaches stderr, byte for byte, and JSON strings from bytes that may be anything. */
#include "shm/base/json.h"
#include "shm/base/logging.h"
#include "tests/support/unit.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Log into a pipe in place of stderr; @return what came out. */
static const char *logged(bool journal, enum mr_logging_format format, enum mr_logging_level level, const char *message)
{
    static char out[8192];
    int end[2], saved = dup(STDERR_FILENO);
    char stream[64];
    struct stat st;

    assert_int_equal(pipe(end), 0);
    dup2(end[1], STDERR_FILENO);
    fstat(STDERR_FILENO, &st);
    snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino + (journal ? 0 : 1));
    setenv("JOURNAL_STREAM", stream, 1);
    mr_logging_init("millraced", MR_LOGGING_INFO, format);
    mr_logging_write(level, "%s", message);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(end[1]);
    ssize_t n = read(end[0], out, sizeof out - 1);
    assert_true(n >= 0);
    out[n] = '\0';
    close(end[0]);
    return out;
}

static void a_terminal_gets_program_and_message_on_one_line(void **state)
{
    assert_string_equal(logged(false, MR_LOGGING_TEXT, MR_LOGGING_ERROR, "cannot start"), "millraced: cannot start\n");
    assert_string_equal(logged(false, MR_LOGGING_TEXT, MR_LOGGING_WARN, "two\nlines"), "millraced: warning: two lines\n");
}

static void the_journal_gets_levels(void **state)
{
    assert_string_equal(logged(true, MR_LOGGING_TEXT, MR_LOGGING_ERROR, "x"), "<3>x\n");
    assert_string_equal(logged(true, MR_LOGGING_TEXT, MR_LOGGING_INFO, "x"), "<6>x\n");
}

static void below_the_level_nothing_is_written(void **state)
{
    assert_string_equal(logged(false, MR_LOGGING_TEXT, MR_LOGGING_DEBUG, "x"), "");
}

static void json_has_level_and_escaped_message(void **state)
{
    const char *line = logged(false, MR_LOGGING_JSON, MR_LOGGING_WARN, "a \"b\" \\c");

    assert_non_null(strstr(line, "\"level\":\"warn\",\"program\":\"millraced\",\"message\":\"a \\\"b\\\" \\\\c\"}\n"));
    assert_int_equal(strncmp(line, "{\"time\":\"20", 11), 0);
}

static void a_long_message_is_cut_and_still_one_line(void **state)
{
    static char message[5000];

    memset(message, '"', sizeof message - 1);
    for (int json = 0; json < 2; json++) {
        const char *line = logged(false, json ? MR_LOGGING_JSON : MR_LOGGING_TEXT, MR_LOGGING_INFO, message);
        size_t bytes = strlen(line);
        assert_true(bytes > 1000 && bytes < MR_LOGGING_LINE_MAX + 256);
        assert_string_equal(line + bytes - (json ? 3 : 4), json ? "\"}\n" : "...\n");
    }
}

static void json_strings_hold_only_utf8(void **state)
{
    static const struct {
        const char *in;
        const char *out;
    } expected[] = {
        {"plain", "plain"},
        {"\t\x01\x7f", "\\t\\u0001\\u007f"},
        {"gr\xc3\xbc\xc3\x9f\xe2\x82\xac\xf0\x9f\x98\x80", "gr\xc3\xbc\xc3\x9f\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"\xff\xc3", "\\ufffd\\ufffd"},
        {"\xc0\xaf", "\\ufffd\\ufffd"},             /* overlong '/' */
        {"\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd"},  /* a surrogate */
        {"\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"}, /* past U+10FFFF */
    };
    char out[64];

    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        size_t need = mr_json_escape(expected[i].in, strlen(expected[i].in), out, sizeof out);
        assert_string_equal(out, expected[i].out);
        assert_int_equal(need, strlen(expected[i].out));
    }
    assert_int_equal(mr_json_escape("\0a", 2, out, sizeof out), 7);
    assert_string_equal(out, "\\u0000a");
    assert_int_equal(mr_json_escape("ab\"cd", 5, out, 4), 6);
    assert_string_equal(out, "ab");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_terminal_gets_program_and_message_on_one_line),
        cmocka_unit_test(the_journal_gets_levels),
        cmocka_unit_test(below_the_level_nothing_is_written),
        cmocka_unit_test(json_has_level_and_escaped_message),
        cmocka_unit_test(a_long_message_is_cut_and_still_one_line),
        cmocka_unit_test(json_strings_hold_only_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
